/** Both heat maps of the same perturbations, in the order of the first. */
import { useMemo } from "preact/hooks";
import { goTo } from "../data/address";
import type { MapData } from "../data/mapData";
import { useLoaded } from "../data/useDocument";
import { reordered } from "../heatmap/clustered";
import { ColourScale, HeatMap } from "../heatmap/HeatMap";
import { TooMany } from "../heatmap/HeatMapView";
import { heatMapRows, type HeatMapData } from "../heatmap/picture";
import { MOST_ROWS, useClustered, useShownRows } from "../heatmap/useClustered";
import { cosineMatrix } from "../maths/cosine";
import { count, counted, fixed } from "../maths/numbers";
import { csv, download } from "../parts/download";
import { EmptyLine, ErrorLine, LoadingLine } from "../parts/Notice";
import { useTheme } from "../parts/theme";
import { swap, type Sides } from "./BesideView";
import { matchRow, matrixAgreement } from "./matching";

/** Returns the other map's cosines at the places of the first map's rows; NaN where it lacks a row. */
async function matchedMatrix(first: MapData, rows: number[], second: MapData): Promise<Float64Array> {
  const matches = rows.map((row) => matchRow(first, row, second));
  const present = [...new Set(matches.filter((row): row is number => row !== null))];
  const units = await second.vectors(present);
  return reordered(cosineMatrix(units), present.length, matches.map((row) => (row === null ? -1 : present.indexOf(row))));
}

function agreementText(one: Float64Array, other: Float64Array, n: number): string {
  const { r, nPairs } = matrixAgreement(one, other, n);
  if (nPairs < 3) return "The second map has too few of these perturbations to compare.";
  return `Over the ${counted(nPairs, "pair")} that both maps have, their cosines correlate with r = ${fixed(r)}. Grey: not in the second map.`;
}

function Pair({ sides, rows, matrices }: { sides: Sides; rows: number[]; matrices: [Float64Array, Float64Array] }) {
  const { first, second, address } = sides;
  const theme = useTheme();
  const labels = useMemo(() => rows.map((row) => first.map.labels[row]), [rows]);
  const marked = useMemo(() => new Set(first.focus === null ? [] : [rows.indexOf(first.focus)]), [rows, first.focus]);
  const open = (place: number) => goTo({ focus: first.map.id(rows[place]) });
  const data = matrices.map<HeatMapData>((matrix) => ({ labels, matrix, tree: null }));
  const save = () => {
    const ids = rows.map((row) => first.map.id(row));
    data.forEach((one, i) => download(`heatmap-${(i ? second : first).map.key.replace("/", "-")}.csv`, csv(heatMapRows(one, ids)), "text/csv"));
  };
  return (
    <section class="heatmap-view" aria-label="Two heat maps">
      <div class="toolbar">
        <p class="soft">{agreementText(...matrices, rows.length)}</p>
        <ColourScale theme={theme} />
        <div class="buttons">
          <button type="button" onClick={save}>CSV of both</button>
          <button type="button" onClick={() => swap(address)}>Swap</button>
        </div>
      </div>
      <div class="two-maps">
        {[first, second].map(({ map }, i) => (
          <section key={map.key} aria-label={map.key}>
            <h2 class="map-name">{map.key}</h2>
            <HeatMap data={data[i]} theme={theme} cell={0} marked={marked} label={`Cosines of ${count(rows.length)} perturbations in ${map.key}, in the order of ${first.map.key}`} onOpen={open} />
          </section>
        ))}
      </div>
    </section>
  );
}

export function BesideHeatMaps(sides: Sides) {
  const { first, second } = sides;
  const shown = useShownRows(first.map, first.focus, first.selected);
  const result = useClustered(first.map, shown.value);
  const rows = useMemo(() => result.value && shown.value && result.value.order.map((i) => shown.value![i]), [result.value, shown.value]);
  const other = useLoaded(rows && `${second.map.key}/${rows.join()}`, () => matchedMatrix(first.map, rows!, second.map));
  const error = shown.error ?? result.error ?? other.error;
  if (error) return <ErrorLine message={error} />;
  if (shown.value && shown.value.length < 2) return <EmptyLine>Select at least two perturbations, or put one in focus, to compare heat maps. At most {MOST_ROWS} fit.</EmptyLine>;
  if (shown.value && shown.value.length > MOST_ROWS) return <TooMany map={first.map} rows={shown.value} />;
  if (!rows || !result.value || !other.value) return <LoadingLine what="vectors of both maps" />;
  return <Pair sides={sides} rows={rows} matrices={[result.value.matrix, other.value]} />;
}
