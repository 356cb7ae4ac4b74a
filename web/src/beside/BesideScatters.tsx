/** Both scatters and both lists of neighbours; neighbours that both maps have are marked. */
import { useMemo, useState } from "preact/hooks";
import { validChoice } from "../colour/encodings";
import { goTo, type Address } from "../data/address";
import type { NeighbourRow } from "../data/contract";
import type { MapData } from "../data/mapData";
import { useLoaded } from "../data/useDocument";
import { NeighbourList, WhyNotTested } from "../focus/Neighbours";
import { Legend } from "../map/Legend";
import { ColourChooser, useColouring } from "../map/MapView";
import { Scatter } from "../map/Scatter";
import { counted } from "../maths/numbers";
import { EmptyLine, ErrorLine, LoadingLine } from "../parts/Notice";
import { PasteSelection } from "../selection/PasteSelection";
import { swap, type Side, type Sides } from "./BesideView";
import { matchRow, sharedRows } from "./matching";

interface ColumnProps {
  side: Side;
  primary: MapData;
  address: Address;
  isLasso: boolean;
  neighbours: ReturnType<typeof useLoaded<NeighbourRow>>;
  shared: Set<number>;
  onLasso: (map: MapData, rows: number[], isAdding: boolean) => void;
}

/** Returns what a name of either map changes: the focus of the first map where it is there, else the maps swap places. */
function changeFor(map: MapData, primary: MapData, row: number): Partial<Address> {
  const match = map === primary ? row : matchRow(map, row, primary);
  if (match !== null) return { focus: primary.id(match), well: null, site: null };
  return { dataset: map.index.dataset_id, model: map.index.model_key, beside: primary.key, focus: map.id(row), well: null, site: null };
}

function Neighbourhood({ side, primary, address, neighbours, shared }: ColumnProps) {
  const { map, focus } = side;
  if (!address.focus) return null;
  if (focus === null) return <EmptyLine>{address.focus} is not in this map.</EmptyLine>;
  if (neighbours.error) return <ErrorLine message={neighbours.error} />;
  if (!neighbours.value) return <LoadingLine what="its neighbours" />;
  const change = (row: number) => changeFor(map, primary, row);
  return (
    <>
      <h3>{map.labels[focus]}</h3>
      <WhyNotTested why={neighbours.value.why_not_tested} />
      <NeighbourList title="Nearest" map={map} neighbours={neighbours.value.nearest} shared={shared} nameChange={change} />
      <NeighbourList title="Opposite" map={map} neighbours={neighbours.value.opposite} shared={shared} nameChange={change} />
    </>
  );
}

const NOBODY: number[] = [];
const N_RINGS = 10;

function Column(props: ColumnProps) {
  const { side, primary, address, isLasso, neighbours, shared, onLasso } = props;
  const { map, focus, selected } = side;
  const [failure, setFailure] = useState<string | null>(null);
  const { colours, theme } = useColouring(map, address.colour);
  const rings = useMemo(() => neighbours.value?.nearest.map(({ row }) => row).filter((row) => shared.has(row)).slice(0, N_RINGS) ?? NOBODY, [neighbours.value, shared]);
  return (
    <section class="map-column" aria-label={map.key}>
      <h2 class="map-name">{map.key}</h2>
      {!map.hasLayout && <EmptyLine>This map has no 2-D layout, so its points cannot be drawn.</EmptyLine>}
      {failure && <EmptyLine>The points cannot be drawn because this browser offers no WebGL 2 ({failure}).</EmptyLine>}
      {map.hasLayout && !failure && (
        <div class={isLasso ? "map-frame lassoing" : "map-frame"}>
          <Scatter
            map={map}
            colouring={colours}
            theme={theme}
            focus={focus}
            selected={selected}
            neighbours={rings}
            isLasso={isLasso}
            label={`Map ${map.key} of ${counted(map.n, "perturbation")}. Arrow keys move it, plus and minus zoom, 0 shows all.`}
            onFocus={(row) => goTo(changeFor(map, primary, row))}
            onLasso={(rows, isAdding) => onLasso(map, rows, isAdding)}
            onFailure={setFailure}
          />
        </div>
      )}
      <Legend of={map.key} colouring={colours} theme={theme} onSelect={(rows) => onLasso(map, rows, false)} />
      <Neighbourhood {...props} />
    </section>
  );
}

function useNeighbours({ map, focus }: Side) {
  return useLoaded(focus === null ? null : `${map.key}/${focus}`, () => map.neighbours(focus!));
}

const rowsOf = (neighbours: NeighbourRow | null) => (neighbours ? [...neighbours.nearest, ...neighbours.opposite].map(({ row }) => row) : NOBODY);

function summary({ first, second, address }: Sides, nShared: number | null): string {
  const parts: string[] = [];
  if (address.selected.length) parts.push(`Of ${counted(address.selected.length, "selected perturbation")}, ${first.selected.length} are in ${first.map.key} and ${second.selected.length} in ${second.map.key}.`);
  if (nShared !== null) parts.push(`${counted(nShared, "of the listed nearest neighbours is", "of the listed nearest neighbours are")} the same in both.`);
  return parts.join(" ") || "The same focus and selection in both maps: matched by perturbation id, then by gene.";
}

export function BesideScatters(sides: Sides) {
  const { first, second, address } = sides;
  const [isLasso, setLasso] = useState(false);
  const { sources } = useColouring(first.map, address.colour);
  const [near, far] = [useNeighbours(first), useNeighbours(second)];
  const [ours, theirs] = useMemo(() => {
    const [one, other] = [rowsOf(near.value), rowsOf(far.value)];
    return [sharedRows(first.map, one, second.map, other), sharedRows(second.map, other, first.map, one)];
  }, [near.value, far.value]);
  const nShared = near.value && far.value ? sharedRows(first.map, near.value.nearest.map(({ row }) => row), second.map, far.value.nearest.map(({ row }) => row)).size : null;
  const onLasso = (map: MapData, rows: number[], isAdding: boolean) => {
    setLasso(false);
    const ids = rows.map((row) => {
      const match = map === first.map ? row : matchRow(map, row, first.map);
      return match === null ? map.id(row) : first.map.id(match);
    });
    if (rows.length) goTo({ selected: [...new Set([...(isAdding ? address.selected : []), ...ids])] });
  };
  const column = { primary: first.map, address, isLasso, onLasso };
  return (
    <section class="map-view" aria-label="Two maps">
      <div class="toolbar">
        <ColourChooser map={first.map} choice={validChoice(first.map, address.colour)} sources={sources} />
        <p class="soft">{summary(sides, nShared)}</p>
        <div class="buttons">
          <button type="button" aria-pressed={isLasso} onClick={() => setLasso(!isLasso)}>Lasso</button>
          <PasteSelection map={first.map} selected={first.selected} />
          <button type="button" onClick={() => swap(address)}>Swap</button>
        </div>
      </div>
      <div class="two-maps">
        <Column side={first} neighbours={near} shared={ours} {...column} />
        <Column side={second} neighbours={far} shared={theirs} {...column} />
      </div>
    </section>
  );
}
