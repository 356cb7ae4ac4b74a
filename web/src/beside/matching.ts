/** Which perturbation of one map is which of another: the same id, or the same gene, or the same compound and dose. */
import type { MapData } from "../data/mapData";

/** Of several guides of the gene, the same guide is taken, else the one farthest from the controls. */
function byGene(from: MapData, row: number, to: MapData): number | null {
  const gene = from.index.gene_symbol[row];
  if (!gene) return null;
  const rows = to.rowsNamed(gene).filter((other) => to.index.gene_symbol[other] === gene);
  const same = rows.find((other) => to.index.guide_id[other] !== null && to.index.guide_id[other] === from.index.guide_id[row]);
  const far = (other: number) => to.index.distance_sd[other] ?? -1;
  return same ?? rows.sort((a, b) => far(b) - far(a))[0] ?? null;
}

function byDose(from: MapData, row: number, to: MapData): number | null {
  const compound = from.index.compound_id[row];
  if (!compound) return null;
  const isSame = (other: number) => to.index.compound_id[other] === compound && to.index.concentration_um[other] === from.index.concentration_um[row];
  return to.rowsNamed(compound).find(isSame) ?? null;
}

/** Returns the row of `to` that is the row of `from`, or null. */
export function matchRow(from: MapData, row: number, to: MapData): number | null {
  return to.rowOf(from.id(row)) ?? byGene(from, row, to) ?? byDose(from, row, to);
}

/** Returns which of one map's rows have a match among the other map's rows. */
export function sharedRows(from: MapData, rows: number[], to: MapData, others: number[]): Set<number> {
  const wanted = new Set(others);
  return new Set(rows.filter((row) => {
    const match = matchRow(from, row, to);
    return match !== null && wanted.has(match);
  }));
}

/** Returns Pearson's correlation of the pairs (upper triangle) that both matrices know, and their number. */
export function matrixAgreement(one: Float64Array, other: Float64Array, n: number): { r: number; nPairs: number } {
  let [count, sx, sy, sxx, syy, sxy] = [0, 0, 0, 0, 0, 0];
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      const [x, y] = [one[i * n + j], other[i * n + j]];
      if (Number.isNaN(x) || Number.isNaN(y)) continue;
      count++;
      sx += x;
      sy += y;
      sxx += x * x;
      syy += y * y;
      sxy += x * y;
    }
  }
  const covariance = sxy - (sx * sy) / count;
  return { r: covariance / Math.sqrt((sxx - (sx * sx) / count) * (syy - (sy * sy) / count)), nPairs: count };
}
