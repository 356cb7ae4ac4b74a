/** Search, pasted names and matching on the made-up map. */
import { expect, test } from "vitest";
import { fixtureDocument } from "../fixture.mjs";
import { MapData } from "../src/data/mapData";
import { pointsInside } from "../src/maths/geometry";
import { rowsOfList, search } from "../src/maths/search";

const home = fixtureDocument("home.json") as { maps: ConstructorParameters<typeof MapData>[0][] };
const map = new MapData(home.maps[0], fixtureDocument("maps/demo/alpha/index.json") as never);

test("an exact name comes before names that hold it", () => {
  expect(map.index.gene_symbol[search(map, "kras")[0]]).toBe("KRAS");
  expect(search(map, "nocod").map((row) => map.index.compound_id[row])).toContain("nocodazole");
  expect(search(map, "no such gene")).toEqual([]);
});

test("a pasted gene selects all its guides; unknown names are named", () => {
  const { rows, unknown } = rowsOfList(map, "tp53, KRAS_g1\nnothing");
  expect(rows.map((row) => map.id(row)).sort()).toEqual(["KRAS_g1", "TP53_g1", "TP53_g2"]);
  expect(unknown).toEqual(["nothing"]);
});

test("a lasso holds the points inside it, also in a notch", () => {
  const arrow: [number, number][] = [[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]];
  expect(pointsInside([1, 2, 3.5, 9], [1, 3, 3, 9], arrow)).toEqual([0, 2]);
});
