/** Merges are those of scipy.cluster.hierarchy.linkage(squareform(distance), "average"). */
import { expect, test } from "vitest";
import { uniform } from "../fixture/random.mjs";
import { averageLinkage, leafOrder } from "../src/maths/linkage";

// 1 - cosine of numpy.random.default_rng(3).normal(size=(7, 4)) rounded to 2 digits
const DISTANCE = [
  [0.0, 1.152884, 1.86167, 0.795176, 0.43619, 1.590477, 1.114313],
  [1.152884, 0.0, 1.099867, 0.109276, 1.878571, 1.372656, 1.911872],
  [1.86167, 1.099867, 0.0, 1.449763, 1.238962, 0.087423, 0.646919],
  [0.795176, 0.109276, 1.449763, 0.0, 1.608391, 1.61765, 1.826072],
  [0.43619, 1.878571, 1.238962, 1.608391, 0.0, 0.860988, 0.254251],
  [1.590477, 1.372656, 0.087423, 1.61765, 0.860988, 0.0, 0.419765],
  [1.114313, 1.911872, 0.646919, 1.826072, 0.254251, 0.419765, 0.0],
];
const SCIPY = [
  [2, 5, 0.087423, 2], [1, 3, 0.109276, 2], [4, 6, 0.254251, 2], [0, 9, 0.7752515000000001, 3], [7, 10, 1.1031301666666666, 5], [8, 11, 1.4712901999999999, 7],
];

test("merges, heights and sizes are scipy's", () => {
  const merges = averageLinkage(Float64Array.from(DISTANCE.flat()), 7);
  merges.forEach(({ left, right, height, size }, i) => {
    expect([left, right, size]).toEqual([SCIPY[i][0], SCIPY[i][1], SCIPY[i][3]]);
    expect(height).toBeCloseTo(SCIPY[i][2], 12);
  });
});

/** Average linkage by its definition: all pairs of all clusters at each step. */
function slowHeights(distance: Float64Array, n: number): number[] {
  let clusters = Array.from({ length: n }, (_, i) => [i]);
  const heights: number[] = [];
  while (clusters.length > 1) {
    let best: [number, number, number] = [0, 1, Infinity];
    clusters.forEach((one, a) => clusters.slice(a + 1).forEach((other, k) => {
      const mean = one.flatMap((i) => other.map((j) => distance[i * n + j])).reduce((x, y) => x + y, 0) / (one.length * other.length);
      if (mean < best[2]) best = [a, a + 1 + k, mean];
    }));
    const [a, b, height] = best;
    heights.push(height);
    clusters = [...clusters.filter((_, i) => i !== a && i !== b), [...clusters[a], ...clusters[b]]];
  }
  return heights;
}

test("heights on 40 random points follow the definition, and every leaf has one place", () => {
  const n = 40;
  const random = uniform(4);
  const points = Array.from({ length: n }, () => [random(), random()]);
  const distance = Float64Array.from(points.flatMap(([x, y]) => points.map(([u, v]) => Math.hypot(x - u, y - v))));
  const merges = averageLinkage(distance, n);
  slowHeights(distance, n).forEach((height, i) => expect(merges[i].height).toBeCloseTo(height, 12));
  expect(leafOrder(merges, distance, n).sort((a, b) => a - b)).toEqual(points.map((_, i) => i));
});

test("points on a line are ordered along the line", () => {
  const at = [5, 0, 4, 1, 9, 10];
  const distance = Float64Array.from(at.flatMap((x) => at.map((y) => Math.abs(x - y))));
  const along = leafOrder(averageLinkage(distance, 6), distance, 6).map((leaf) => at[leaf]);
  expect([along, along.slice().reverse()]).toContainEqual([0, 1, 4, 5, 9, 10]);
});
