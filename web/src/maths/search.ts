/** Finds perturbations by what a person types: names that start so first, then names that hold it. */
import type { MapData } from "../data/mapData";

const TEXTS = new WeakMap<MapData, string[][]>();

function textsOf(map: MapData): string[][] {
  const known = TEXTS.get(map);
  if (known) return known;
  const { gene_symbol, compound_id, perturbation_id, guide_id } = map.index;
  const texts = perturbation_id.map((id, row) =>
    [gene_symbol[row], compound_id[row], id, guide_id[row]].filter((text): text is string => Boolean(text)).map((text) => text.toLowerCase()),
  );
  TEXTS.set(map, texts);
  return texts;
}

function rank(texts: string[], wanted: string): number {
  let best = 9;
  for (const text of texts) {
    if (text === wanted) return 0;
    if (text.startsWith(wanted)) best = Math.min(best, 1);
    else if (text.includes(wanted)) best = Math.min(best, 2);
  }
  return best;
}

/** Returns the rows that match, best first, at most `limit`. */
export function search(map: MapData, typed: string, limit = 12): number[] {
  const wanted = typed.trim().toLowerCase();
  if (!wanted) return [];
  const found: [number, number][] = [];
  textsOf(map).forEach((texts, row) => {
    const place = rank(texts, wanted);
    if (place < 9) found.push([place, row]);
  });
  found.sort(([a, i], [b, j]) => a - b || map.labels[i].length - map.labels[j].length || (map.labels[i] < map.labels[j] ? -1 : 1));
  return found.slice(0, limit).map(([, row]) => row);
}

/** Splits pasted text into names (commas, semicolons, tabs, new lines) and finds their rows. */
export function rowsOfList(map: MapData, text: string): { rows: number[]; unknown: string[] } {
  const names = [...new Set(text.split(/[,;\t\n\r]+/).map((name) => name.trim()).filter(Boolean))];
  const rows = new Set<number>();
  const unknown: string[] = [];
  for (const name of names) {
    const found = map.rowsNamed(name);
    const parts = found.length ? [] : name.split(/\s+/);
    const byPart = parts.length > 1 ? parts.flatMap((part) => map.rowsNamed(part)) : [];
    if (found.length + byPart.length === 0) unknown.push(name);
    for (const row of [...found, ...byPart]) rows.add(row);
  }
  return { rows: [...rows], unknown };
}
