/** Matching of two maps and the agreement of two matrices. */
import { expect, test } from "vitest";
import { fixtureDocument } from "../fixture.mjs";
import { matchRow, matrixAgreement, sharedRows } from "../src/beside/matching";
import { MapData } from "../src/data/mapData";

const home = fixtureDocument("home.json") as { maps: ConstructorParameters<typeof MapData>[0][] };
const alpha = new MapData(home.maps[0], fixtureDocument("maps/demo/alpha/index.json") as never);
const plain = fixtureDocument("maps/demo/beta/index.json") as typeof alpha.index;

/** The other map names its genes and compounds differently and knows no guides. */
const other = new MapData(home.maps[1], {
  ...plain,
  perturbation_id: plain.perturbation_id.map((id) => (id === "EGFR_g1" ? id : `other-${id}`)),
  guide_id: plain.guide_id.map(() => null),
  concentration_um: plain.concentration_um.map((um) => (um === 30 ? 31 : um)),
});

test("the same id wins over the gene", () => {
  expect(other.id(matchRow(alpha, alpha.rowOf("EGFR_g1")!, other)!)).toBe("EGFR_g1");
});

test("without the id the gene is taken, and of its guides the one farthest from the controls", () => {
  const match = matchRow(alpha, alpha.rowOf("KRAS_g2")!, other)!;
  const rows = other.rowsNamed("KRAS");
  expect(rows).toContain(match);
  expect(other.index.distance_sd[match]).toBe(Math.max(...rows.map((row) => other.index.distance_sd[row]!)));
});

test("a compound is matched at the same dose only", () => {
  expect(other.id(matchRow(alpha, alpha.rowOf("nocodazole@6")!, other)!)).toBe("other-nocodazole@6");
  expect(matchRow(alpha, alpha.rowOf("nocodazole@30")!, other)).toBeNull();
});

test("shared rows are those whose match is listed by the other map", () => {
  const rows = [alpha.rowOf("TP53_g1")!, alpha.rowOf("KRAS_g1")!];
  const match = matchRow(alpha, rows[1], other)!;
  expect([...sharedRows(alpha, rows, other, [match])]).toEqual([rows[1]]);
});

test("the correlation of two matrices leaves out what one of them lacks", () => {
  const one = Float64Array.from([1, 0.1, 0.2, 0.3, 0.1, 1, 0.4, 0.6, 0.2, 0.4, 1, 0, 0.3, 0.6, 0, 1]);
  const other = one.map((value, i) => (i % 4 === 3 || i >= 12 ? NaN : 2 * value - 1));
  const { r, nPairs } = matrixAgreement(one, other, 4);
  expect(nPairs).toBe(3);
  expect(r).toBeCloseTo(1, 12);
});
