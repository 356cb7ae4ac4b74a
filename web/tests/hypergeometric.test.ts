/** The numbers were made by scipy 1: hypergeom.sf(overlap - 1, all, members, drawn) and false_discovery_control(p). */
import { expect, test } from "vitest";
import { benjaminiHochberg, logFactorial, upperTail } from "../src/maths/hypergeometric";

const SCIPY: [number, number, number, number, number][] = [
  // overlap, all, members, drawn, scipy.stats.hypergeom.sf(overlap - 1, all, members, drawn)
  [3, 20, 7, 12, 0.9478844169246646],
  [12, 20000, 50, 400, 2.126314042565919e-10],
  [1, 100, 5, 10, 0.41624763307384816],
  [40, 20000, 60, 900, 1.0297798394608505e-39],
  [0, 50, 5, 5, 1.0],
  [5, 10, 5, 5, 0.003968253968253969],
  [200, 19000, 2500, 900, 1.295207925916827e-14],
  [9, 30, 15, 18, 0.6448091743601884],
];

test.each(SCIPY)("the upper tail of %i of %i, %i members, %i drawn is scipy's", (overlap, all, members, drawn, expected) => {
  expect(Math.abs(upperTail(overlap, all, members, drawn) / expected - 1)).toBeLessThan(1e-9);
});

test("an overlap that cannot happen has probability 0, one that must happen 1", () => {
  expect(upperTail(6, 10, 5, 8)).toBe(0);
  expect(upperTail(3, 10, 5, 8)).toBe(1);
});

test("the tail of a draw of 3 from 5 with 2 members is counted by hand", () => {
  // both members are in 3 of the 10 draws
  expect(upperTail(2, 5, 2, 3)).toBeCloseTo(0.3, 14);
});

test("ln(170!) is that of Stirling's series", () => {
  expect(Math.abs(logFactorial(170) - 706.5730622457874)).toBeLessThan(1e-10);
});

test("q-values are those of scipy.stats.false_discovery_control", () => {
  const q = benjaminiHochberg([0.01, 0.04, 0.03, 0.2, 0.6, 0.005]);
  [0.03, 0.06, 0.06, 0.24, 0.6, 0.03].forEach((expected, i) => expect(q[i]).toBeCloseTo(expected, 14));
});

test("no p-values give no q-values", () => expect(benjaminiHochberg([])).toEqual([]));
