/** Loads the vectors of rows and clusters them; tells its progress. */
import { useState } from "preact/hooks";
import type { MapData } from "../data/mapData";
import { useLoaded, type Loading } from "../data/useDocument";
import { clustered, type Clustered } from "./clustered";

export const MOST_ROWS = 500;

/** Returns the rows that a heat map shows: the selection, or the focus with its neighbours. */
export function useShownRows(map: MapData, focus: number | null, selected: number[]): Loading<number[]> {
  const isSelection = selected.length > 1 || focus === null;
  const key = isSelection ? `${map.key}/s/${selected.join()}` : `${map.key}/f/${focus}`;
  return useLoaded(key, async () => {
    if (isSelection) return selected;
    const { nearest, opposite } = await map.neighbours(focus!);
    return [...new Set([focus!, ...nearest.slice(0, 30).map(({ row }) => row), ...opposite.slice(0, 10).map(({ row }) => row)])];
  });
}

export function useClustered(map: MapData, rows: number[] | null): Loading<Clustered> & { progress: string } {
  const [progress, setProgress] = useState("");
  const isFit = rows !== null && rows.length > 1 && rows.length <= MOST_ROWS;
  const loaded = useLoaded(isFit ? `${map.key}/${rows.join()}` : null, async () => {
    const units = await map.vectors(rows!, (done, all) => setProgress(`block ${done} of ${all}`));
    return clustered(units);
  });
  return { ...loaded, progress };
}
