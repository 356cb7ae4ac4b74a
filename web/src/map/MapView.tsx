/** The view "map": the scatter with its tools and legend, and the same as a table. */
import { useMemo, useState } from "preact/hooks";
import { colourChoices, colouring, sourceOfChoice, validChoice } from "../colour/encodings";
import { goTo } from "../data/address";
import type { AnnotationSource } from "../data/contract";
import type { MapData } from "../data/mapData";
import { useLoaded } from "../data/useDocument";
import { counted } from "../maths/numbers";
import { EmptyLine } from "../parts/Notice";
import { useTheme } from "../parts/theme";
import { PasteSelection } from "../selection/PasteSelection";
import type { ViewProps } from "../Workspace";
import { Legend } from "./Legend";
import { MapTable } from "./MapTable";
import { Scatter } from "./Scatter";

const N_RINGS = 10;
const NOBODY: number[] = [];

/** Returns the colours for the address's choice, loading sets where it needs them. */
export function useColouring(map: MapData, choice: string | null) {
  const theme = useTheme();
  const wanted = validChoice(map, choice);
  const isSets = sourceOfChoice(wanted, (map.index.annotation_sources ?? []).map(({ name }) => name)) !== null;
  const sets = useLoaded(isSets ? map.key : null, () => map.sets());
  const colours = useMemo(() => colouring(map, wanted, sets.value?.sources ?? null, theme), [map, wanted, sets.value, theme]);
  return { colours, theme, sources: sets.value?.sources ?? null, error: sets.error };
}

/** The nearest neighbours of the focus that are tested and certain, for rings on the map. */
export function useNeighbourRows(map: MapData, focus: number | null): number[] {
  const loaded = useLoaded(focus === null ? null : `${map.key}/${focus}`, () => map.neighbours(focus!));
  return useMemo(() => loaded.value?.nearest.slice(0, N_RINGS).map(({ row }) => row) ?? NOBODY, [loaded.value]);
}

function SetChooser({ source, value, onChange }: { source: AnnotationSource; value: string | null; onChange: (set: string | null) => void }) {
  return (
    <label class="field">
      <span class="visually-hidden">One set of {source.name}</span>
      <input
        key={value ?? ""}
        list="set-names"
        placeholder="Largest sets; or type one"
        defaultValue={value ?? ""}
        onChange={(event) => {
          const typed = event.currentTarget.value.trim();
          if (!typed || source.sets.some(({ id }) => id === typed)) onChange(typed || null);
        }}
      />
      <datalist id="set-names">{source.sets.map(({ id }) => <option key={id} value={id} />)}</datalist>
    </label>
  );
}

export function ColourChooser({ map, choice, sources }: { map: MapData; choice: string; sources: AnnotationSource[] | null }) {
  const names = (map.index.annotation_sources ?? []).map(({ name }) => name);
  const sets = sourceOfChoice(choice, names);
  const source = sets && sources?.find(({ name }) => name === sets.source);
  return (
    <>
      <label class="field">
        <span>Colour by</span>
        <select value={sets ? `sets:${sets.source}` : choice} onChange={(event) => goTo({ colour: event.currentTarget.value }, false)}>
          {colourChoices(map).map(({ value, label }) => <option key={value} value={value}>{label}</option>)}
        </select>
      </label>
      {source && <SetChooser source={source} value={sets.set} onChange={(set) => goTo({ colour: `sets:${sets.source}${set ? `:${set}` : ""}` }, false)} />}
    </>
  );
}

export function selectRows(map: MapData, rows: number[]): void {
  goTo({ selected: rows.map((row) => map.id(row)), panel: "selection" });
}

export function MapView({ map, address, focus, selected }: ViewProps) {
  const [isLasso, setLasso] = useState(false);
  const [isTable, setTable] = useState(false);
  const [failure, setFailure] = useState<string | null>(null);
  const { colours, theme, sources, error } = useColouring(map, address.colour);
  const neighbours = useNeighbourRows(map, focus);
  const onLasso = (rows: number[], isAdding: boolean) => {
    setLasso(false);
    if (rows.length) selectRows(map, isAdding ? [...new Set([...selected, ...rows])] : rows);
  };
  const isDrawn = map.hasLayout && failure === null;
  return (
    <section class="map-view" aria-label="Map">
      <div class="toolbar">
        <ColourChooser map={map} choice={validChoice(map, address.colour)} sources={sources} />
        <div class="buttons">
          {isDrawn && <button type="button" aria-pressed={isLasso} onClick={() => setLasso(!isLasso)}>Lasso</button>}
          <PasteSelection map={map} selected={selected} />
          {isDrawn && <button type="button" aria-pressed={isTable} onClick={() => setTable(!isTable)}>Table</button>}
        </div>
      </div>
      {error && <p class="notice error" role="alert">{error}</p>}
      {!map.hasLayout && <EmptyLine>This map has no 2-D layout, so its points cannot be drawn. The table has all of them; search, neighbours and heat maps work as usual.</EmptyLine>}
      {failure && <EmptyLine>The points cannot be drawn because this browser offers no WebGL 2 ({failure}). The table has all of them.</EmptyLine>}
      {isDrawn && (
        <div class={isLasso ? "map-frame lassoing" : "map-frame"}>
          <Scatter
            map={map}
            colouring={colours}
            theme={theme}
            focus={focus}
            selected={selected}
            neighbours={neighbours}
            isLasso={isLasso}
            covered={200}
            label={`Map of ${counted(map.n, "perturbation")}. Arrow keys move it, plus and minus zoom, 0 shows all. The button Table shows the same as text.`}
            onFocus={(row) => goTo({ focus: map.id(row), panel: "focus", well: null, site: null })}
            onLasso={onLasso}
            onFailure={setFailure}
          />
          <Legend colouring={colours} theme={theme} onSelect={(rows) => selectRows(map, rows)} />
          {isLasso && <p class="lasso-hint" role="status">Draw around points. Hold Shift to add to the selection.</p>}
        </div>
      )}
      {isDrawn && map.nPlaced < map.n && <p class="soft small">{counted(map.n - map.nPlaced, "perturbation")} without a place in the plane: only in the table.</p>}
      {(isTable || !isDrawn) && <MapTable map={map} selected={selected} />}
    </section>
  );
}
