/** The view "heatmap": the clustered cosines of the selection, or of the focus and its neighbours. */
import { useMemo, useState } from "preact/hooks";
import { goTo } from "../data/address";
import type { MapData } from "../data/mapData";
import { selectRows } from "../map/MapView";
import { count, counted, fixed } from "../maths/numbers";
import { csv, download } from "../parts/download";
import { Name } from "../parts/Name";
import { EmptyLine, ErrorLine, LoadingLine } from "../parts/Notice";
import { useTheme } from "../parts/theme";
import { PasteSelection } from "../selection/PasteSelection";
import type { ViewProps } from "../Workspace";
import { strongestPairs, type Clustered, type Pair } from "./clustered";
import { ColourScale, HeatMap } from "./HeatMap";
import { heatMapPng, heatMapRows, heatMapSvg, type HeatMapData } from "./picture";
import { MOST_ROWS, useClustered, useShownRows } from "./useClustered";

export function TooMany({ map, rows }: { map: MapData; rows: number[] }) {
  const strongest = () => rows.slice().sort((a, b) => (map.index.distance_sd[b] ?? -1) - (map.index.distance_sd[a] ?? -1)).slice(0, MOST_ROWS);
  return (
    <EmptyLine>
      A heat map holds at most {MOST_ROWS} perturbations, and {count(rows.length)} are selected. Select fewer, or{" "}
      <button type="button" class="link" onClick={() => selectRows(map, strongest())}>keep the {MOST_ROWS} farthest from the controls</button>.
    </EmptyLine>
  );
}

function PairRows({ map, rows, pairs }: { map: MapData; rows: number[]; pairs: Pair[] }) {
  return (
    <>
      {pairs.map(({ i, j, cosine }) => (
        <tr key={`${i}/${j}`}>
          <td><Name map={map} row={rows[i]} /></td>
          <td><Name map={map} row={rows[j]} /></td>
          <td class="n">{fixed(cosine)}</td>
        </tr>
      ))}
    </>
  );
}

/** The heat map as text: its strongest pairs. */
function PairTable({ map, rows, matrix }: { map: MapData; rows: number[]; matrix: Float64Array }) {
  const { alike, opposite } = useMemo(() => strongestPairs(matrix, rows.length, 15), [matrix]);
  return (
    <details class="pairs">
      <summary>Strongest pairs as a table</summary>
      <table>
        <thead><tr><th scope="col">One</th><th scope="col">Other</th><th scope="col" class="n">Cosine</th></tr></thead>
        <tbody><PairRows map={map} rows={rows} pairs={alike} /></tbody>
        <tbody><PairRows map={map} rows={rows} pairs={opposite} /></tbody>
      </table>
    </details>
  );
}

function Exports({ map, rows, data }: { map: MapData; rows: number[]; data: HeatMapData }) {
  const title = `${map.key}: cosines of ${counted(rows.length, "perturbation")}, average linkage`;
  const name = `heatmap-${map.index.dataset_id}-${map.index.model_key}`;
  return (
    <div class="buttons">
      <button type="button" onClick={() => download(`${name}.svg`, heatMapSvg(data, title), "image/svg+xml")}>SVG</button>
      <button type="button" onClick={async () => download(`${name}.png`, await heatMapPng(data, title))}>PNG</button>
      <button type="button" onClick={() => download(`${name}.csv`, csv(heatMapRows(data, rows.map((row) => map.id(row)))), "text/csv")}>CSV</button>
    </div>
  );
}

function Drawn({ map, shown, result, focus, isSelection }: { map: MapData; shown: number[]; result: Clustered; focus: number | null; isSelection: boolean }) {
  const theme = useTheme();
  const [isLarge, setLarge] = useState(false);
  const rows = useMemo(() => result.order.map((i) => shown[i]), [result, shown]);
  const data = useMemo<HeatMapData>(() => ({ labels: rows.map((row) => map.labels[row]), matrix: result.matrix, tree: result }), [rows, result]);
  const marked = useMemo(() => new Set(focus === null ? [] : [rows.indexOf(focus)]), [rows, focus]);
  return (
    <>
      <div class="toolbar">
        <p class="soft">
          {isSelection ? `The ${counted(rows.length, "selected perturbation")}.` : `${map.labels[focus!]} with its nearest and most opposite neighbours; select perturbations to see others.`}
        </p>
        <ColourScale theme={theme} />
        {rows.length > 60 && <button type="button" aria-pressed={isLarge} onClick={() => setLarge(!isLarge)}>All names</button>}
        <Exports map={map} rows={rows} data={data} />
      </div>
      <HeatMap
        data={data}
        theme={theme}
        cell={isLarge ? 12 : 0}
        marked={marked}
        label={`Cosines of ${counted(rows.length, "perturbation")}, clustered. Arrow keys move between cells; the table below lists the strongest pairs.`}
        onOpen={(place) => goTo({ focus: map.id(rows[place]), panel: "focus" })}
      />
      <p class="soft small">Cosine between aligned, aggregated vectors; average linkage on 1 − cosine, neighbouring ends of branches alike.</p>
      <PairTable map={map} rows={rows} matrix={result.matrix} />
    </>
  );
}

export function HeatMapView({ map, focus, selected }: ViewProps) {
  const shown = useShownRows(map, focus, selected);
  const result = useClustered(map, shown.value);
  const isSelection = selected.length > 1 || focus === null;
  if (shown.error || result.error) return <ErrorLine message={(shown.error ?? result.error)!} />;
  if (shown.value && shown.value.length < 2) {
    return (
      <>
        <EmptyLine>A heat map needs at least two perturbations. Draw a lasso on the map, paste names, or put a perturbation in focus to see it among its neighbours. At most {MOST_ROWS} fit.</EmptyLine>
        <div><PasteSelection map={map} selected={selected} /></div>
      </>
    );
  }
  if (shown.value && shown.value.length > MOST_ROWS) return <TooMany map={map} rows={shown.value} />;
  if (!shown.value || !result.value) return <LoadingLine what={`vectors${result.progress ? `, ${result.progress}` : ""}`} />;
  return (
    <section class="heatmap-view" aria-label="Heat map">
      <Drawn map={map} shown={shown.value} result={result.value} focus={focus} isSelection={isSelection} />
    </section>
  );
}
