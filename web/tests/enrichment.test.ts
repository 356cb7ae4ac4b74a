/** Enrichment counts genes, cuts to the background and corrects over all tested sets. */
import { expect, test } from "vitest";
import { enrich } from "../src/maths/enrichment";
import { upperTail } from "../src/maths/hypergeometric";

const GENES = ["A", "A", "B", "B", "C", "D", "E", "F", "G", "H"]; // two guides of A and of B
const entity = (row: number) => GENES[row];
const SOURCE = {
  kind: "complex",
  name: "Complexes",
  background: [0, 1, 2, 3, 4, 5, 6, 7, 8], // H is unknown to the source
  sets: [
    { id: "AB", rows: [0, 1, 2, 3] },
    { id: "CDE", rows: [4, 5, 6] },
    { id: "unknown", rows: [9] },
  ],
};

test("guides of one gene count once", () => {
  const { results, nBackground, nDrawn } = enrich([0, 1, 2, 3], SOURCE, entity);
  expect([nBackground, nDrawn]).toEqual([7, 2]);
  expect(results[0]).toMatchObject({ id: "AB", overlap: 2, size: 2, members: ["A", "B"] });
  expect(results[0].p).toBeCloseTo(1 / 21, 12); // one of the 21 pairs of 7 genes
  expect(results[0].expected).toBeCloseTo(4 / 7, 12);
});

test("what the source cannot know is neither drawn nor tested", () => {
  const { nDrawn, nTested, results } = enrich([0, 9], SOURCE, entity);
  expect([nDrawn, nTested]).toEqual([1, 2]);
  expect(results.map(({ id }) => id)).not.toContain("unknown");
});

test("sets without an overlap enter the correction", () => {
  const { results } = enrich([0, 2], SOURCE, entity);
  expect(results[0].q).toBeCloseTo(2 * upperTail(2, 7, 2, 2), 12);
  expect(results[1]).toMatchObject({ id: "CDE", overlap: 0, p: 1, q: 1 });
});
