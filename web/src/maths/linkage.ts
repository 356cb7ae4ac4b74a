/**
 * Average linkage on a distance matrix, by the nearest-neighbour chain, and an order of the leaves in which the ends
 * that meet are alike.
 *
 * Source: Müllner (2011), "Modern hierarchical, agglomerative clustering algorithms", arXiv:1109.2378; the order is that
 * of Gruvaeus and Wainer (1972).
 */

/** Children below n are leaves; n + i is the cluster that merge i made (as in scipy.cluster.hierarchy.linkage). */
export interface Merge {
  left: number;
  right: number;
  height: number;
  size: number;
}

interface RawMerge {
  one: number;
  other: number;
  height: number;
}

/** Returns the merges in the order in which the chain finds them, named by a leaf that each cluster holds. */
function chainMerges(distance: Float64Array, n: number): RawMerge[] {
  const size = new Float64Array(n).fill(1);
  const isThere = new Uint8Array(n).fill(1);
  const merges: RawMerge[] = [];
  const chain: number[] = [];
  while (merges.length < n - 1) {
    if (chain.length === 0) chain.push(isThere.indexOf(1));
    for (;;) {
      const tip = chain[chain.length - 1];
      const before = chain.length > 1 ? chain[chain.length - 2] : -1;
      const nearest = nearestTo(tip, before, distance, isThere, n);
      if (nearest === before) break;
      chain.push(nearest);
    }
    const one = chain.pop()!;
    const other = chain.pop()!;
    merges.push({ one, other, height: distance[one * n + other] });
    absorb(one, other, distance, size, isThere, n);
  }
  return merges;
}

/** The previous link of the chain wins ties, so that the chain ends. */
function nearestTo(tip: number, before: number, distance: Float64Array, isThere: Uint8Array, n: number): number {
  let best = before;
  let lowest = before >= 0 ? distance[tip * n + before] : Infinity;
  for (let k = 0; k < n; k++) {
    if (k === tip || !isThere[k]) continue;
    if (best < 0 || distance[tip * n + k] < lowest) {
      lowest = distance[tip * n + k];
      best = k;
    }
  }
  return best;
}

function absorb(one: number, other: number, distance: Float64Array, size: Float64Array, isThere: Uint8Array, n: number): void {
  const all = size[one] + size[other];
  for (let k = 0; k < n; k++) {
    if (!isThere[k] || k === one || k === other) continue;
    const mean = (size[one] * distance[one * n + k] + size[other] * distance[other * n + k]) / all;
    distance[other * n + k] = distance[k * n + other] = mean;
  }
  size[other] = all;
  isThere[one] = 0;
}

function findRoot(parent: Int32Array, node: number): number {
  let root = node;
  while (parent[root] !== root) root = parent[root] = parent[parent[root]];
  return root;
}

/** Returns the n - 1 merges of average linkage, lowest first. `distance` is n x n, row by row; it is not changed. */
export function averageLinkage(distance: Float64Array, n: number): Merge[] {
  const raw = chainMerges(distance.slice(), n)
    .map((merge, found) => ({ ...merge, found }))
    .sort((a, b) => a.height - b.height || a.found - b.found);
  const parent = Int32Array.from({ length: 2 * n - 1 }, (_, i) => i);
  const size = new Int32Array(2 * n - 1).fill(1, 0, n);
  return raw.map(({ one, other, height }, i) => {
    const [left, right] = [findRoot(parent, one), findRoot(parent, other)].sort((a, b) => a - b);
    parent[left] = parent[right] = n + i;
    size[n + i] = size[left] + size[right];
    return { left, right, height, size: size[n + i] };
  });
}

/** Joins two runs of leaves so that the ends that meet are the nearest pair of ends. */
function joined(left: number[], right: number[], distance: Float64Array, n: number): number[] {
  const [a, b] = [left[0], left[left.length - 1]];
  const [c, d] = [right[0], right[right.length - 1]];
  const ends = [distance[b * n + c], distance[b * n + d], distance[a * n + c], distance[a * n + d]];
  const best = ends.indexOf(Math.min(...ends));
  const first = best < 2 ? left : left.slice().reverse();
  const second = best % 2 === 0 ? right : right.slice().reverse();
  return first.concat(second);
}

/** Returns the leaves from first to last. */
export function leafOrder(merges: Merge[], distance: Float64Array, n: number): number[] {
  if (n === 1) return [0];
  const runs = new Map<number, number[]>(Array.from({ length: n }, (_, i) => [i, [i]]));
  merges.forEach(({ left, right }, i) => {
    runs.set(n + i, joined(runs.get(left)!, runs.get(right)!, distance, n));
    runs.delete(left);
    runs.delete(right);
  });
  return runs.get(2 * n - 2) ?? [];
}
