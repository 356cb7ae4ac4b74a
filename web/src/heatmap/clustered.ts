/** The data of a heat map: cosines of a few hundred perturbations in the order of their clustering. */
import { cosineMatrix, distances } from "../maths/cosine";
import { averageLinkage, leafOrder, type Merge } from "../maths/linkage";

export interface Clustered {
  /** order[i] is which of the given vectors stands at place i. */
  order: number[];
  merges: Merge[];
  /** Cosines in this order, row by row. */
  matrix: Float64Array;
}

/** Returns a square matrix with rows and columns taken in an order; -1 in the order gives unknown (NaN). */
export function reordered(matrix: Float64Array, n: number, order: number[]): Float64Array {
  const m = order.length;
  const result = new Float64Array(m * m).fill(NaN);
  order.forEach((from, i) => {
    if (from < 0) return;
    order.forEach((other, j) => {
      if (other >= 0) result[i * m + j] = matrix[from * n + other];
    });
  });
  return result;
}

/** Clusters unit vectors by average linkage on 1 - cosine. */
export function clustered(units: Float32Array[]): Clustered {
  const n = units.length;
  const cosines = cosineMatrix(units);
  const distance = distances(cosines);
  const merges = averageLinkage(distance, n);
  const order = leafOrder(merges, distance, n);
  return { order, merges, matrix: reordered(cosines, n, order) };
}

export interface Branch {
  /** Places (0 to n - 1) and heights of the three lines of a merge. */
  from: [number, number];
  to: [number, number];
  height: number;
}

/** Returns the lines of the dendrogram. */
export function branches({ merges, order }: Pick<Clustered, "merges" | "order">): Branch[] {
  const n = order.length;
  const places = new Map<number, [number, number]>();
  order.forEach((leaf, place) => places.set(leaf, [place, 0]));
  return merges.map(({ left, right, height }, i) => {
    const [from, to] = [places.get(left)!, places.get(right)!];
    places.set(n + i, [(from[0] + to[0]) / 2, height]);
    return { from, to, height };
  });
}

export interface Pair {
  i: number;
  j: number;
  cosine: number;
}

/** Returns the most alike and the most opposite pairs of different things. */
export function strongestPairs(matrix: Float64Array, n: number, limit: number): { alike: Pair[]; opposite: Pair[] } {
  const pairs: Pair[] = [];
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) if (!Number.isNaN(matrix[i * n + j])) pairs.push({ i, j, cosine: matrix[i * n + j] });
  pairs.sort((a, b) => b.cosine - a.cosine);
  return { alike: pairs.slice(0, limit), opposite: pairs.slice(-limit).reverse().filter(({ cosine }) => cosine < 0) };
}
