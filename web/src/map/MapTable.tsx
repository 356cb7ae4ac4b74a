/** The map as a table: the same points as text, for readers who cannot see or point at the scatter. */
import { useMemo, useState } from "preact/hooks";
import { goTo } from "../data/address";
import type { MapData } from "../data/mapData";
import { count, fixed } from "../maths/numbers";
import { Name } from "../parts/Name";

const PAGE = 50;
type Column = "name" | "kind" | "cluster" | "distance_sd" | "agreement";
const TITLES: Record<Column, string> = { name: "Name", kind: "Kind", cluster: "Cluster", distance_sd: "Distance (SD)", agreement: "Agreement" };
const COLUMNS = Object.keys(TITLES) as Column[];

function valueOf(map: MapData, row: number, column: Column): string | number | null {
  if (column === "name") return map.labels[row];
  if (column === "kind") return map.kind(row);
  return map.index[column]?.[row] ?? null;
}

function sorted(map: MapData, rows: number[], column: Column, isDown: boolean): number[] {
  const sign = isDown ? -1 : 1;
  return rows.slice().sort((a, b) => {
    const [one, other] = [valueOf(map, a, column), valueOf(map, b, column)];
    if (one === null || other === null) return Number(one === null) - Number(other === null);
    return one === other ? a - b : one < other ? -sign : sign;
  });
}

export function MapTable({ map, selected }: { map: MapData; selected: number[] }) {
  const [order, setOrder] = useState<{ column: Column; isDown: boolean }>({ column: "name", isDown: false });
  const [page, setPage] = useState(0);
  const [isOnly, setOnly] = useState(false);
  const all = useMemo(() => (isOnly && selected.length ? selected : Array.from({ length: map.n }, (_, row) => row)), [map, selected, isOnly]);
  const rows = useMemo(() => sorted(map, all, order.column, order.isDown), [map, all, order]);
  const chosen = useMemo(() => new Set(selected), [selected]);
  const toggle = (row: number) => {
    const next = chosen.has(row) ? selected.filter((other) => other !== row) : [...selected, row];
    goTo({ selected: next.map((other) => map.id(other)) });
  };
  const nPages = Math.ceil(rows.length / PAGE);
  const here = Math.min(page, nPages - 1);
  const by = (column: Column) => setOrder({ column, isDown: order.column === column ? !order.isDown : column !== "name" && column !== "kind" });
  return (
    <div class="map-table">
      <table>
        <caption>{count(rows.length)} perturbations{isOnly && selected.length ? " of the selection" : ""}, page {here + 1} of {nPages}</caption>
        <thead>
          <tr>
            <th scope="col"><span class="visually-hidden">Selected</span></th>
            {COLUMNS.map((column) => (
              <th key={column} scope="col" aria-sort={order.column === column ? (order.isDown ? "descending" : "ascending") : "none"} class={column === "name" || column === "kind" ? "" : "n"}>
                <button type="button" onClick={() => by(column)}>{TITLES[column]}</button>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(here * PAGE, (here + 1) * PAGE).map((row) => (
            <tr key={row}>
              <td><input type="checkbox" aria-label={`Select ${map.labels[row]}`} checked={chosen.has(row)} onChange={() => toggle(row)} /></td>
              <td><Name map={map} row={row} /></td>
              <td class="soft">{map.kind(row) ?? "–"}</td>
              <td class="n">{map.index.cluster?.[row] ?? "–"}</td>
              <td class="n">{fixed(map.index.distance_sd[row], 1)}</td>
              <td class="n">{fixed(map.index.agreement[row])}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <div class="pager">
        <button type="button" aria-pressed={isOnly} disabled={!selected.length} onClick={() => setOnly(!isOnly)}>Only the selection</button>
        <button type="button" disabled={here === 0} onClick={() => setPage(here - 1)}>Previous</button>
        <button type="button" disabled={here >= nPages - 1} onClick={() => setPage(here + 1)}>Next</button>
      </div>
    </div>
  );
}
