/**
 * Which annotation sets are over-represented in a selection. Genes and compounds are counted, not rows: several guides
 * of one gene, or doses of one compound, count once, since they are not independent.
 */
import { benjaminiHochberg, upperTail } from "./hypergeometric";
import type { AnnotationSource } from "../data/contract";

const SMALLEST_SET = 2;

export interface Enriched {
  id: string;
  overlap: number;
  size: number;
  expected: number;
  p: number;
  q: number;
  members: string[];
}

export interface Enrichment {
  nBackground: number;
  nDrawn: number;
  nTested: number;
  results: Enriched[];
}

/**
 * Returns the tests of one source, best first. The background is what the source could know; the selection is cut to
 * it. Every set with two members or more in the background is tested, and all of them enter the correction.
 */
export function enrich(selected: number[], source: AnnotationSource, entity: (row: number) => string): Enrichment {
  const background = new Set(source.background.map(entity));
  const drawn = new Set(selected.map(entity).filter((name) => background.has(name)));
  const tested = source.sets
    .map(({ id, rows }) => ({ id, all: new Set(rows.map(entity).filter((name) => background.has(name))) }))
    .filter(({ all }) => all.size >= SMALLEST_SET);
  const overlaps = tested.map(({ all }) => [...all].filter((name) => drawn.has(name)).sort());
  const p = tested.map(({ all }, i) => upperTail(overlaps[i].length, background.size, all.size, drawn.size));
  const q = benjaminiHochberg(p);
  const results = tested.map(({ id, all }, i) => ({
    id,
    overlap: overlaps[i].length,
    size: all.size,
    expected: background.size ? (all.size * drawn.size) / background.size : 0,
    p: p[i],
    q: q[i],
    members: overlaps[i],
  }));
  results.sort((one, other) => one.p - other.p || other.overlap - one.overlap || (one.id < other.id ? -1 : 1));
  return { nBackground: background.size, nDrawn: drawn.size, nTested: tested.length, results };
}
