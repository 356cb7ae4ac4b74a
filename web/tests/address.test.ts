/** An address says the same after it was read and written. */
import { expect, test } from "vitest";
import { EMPTY, formatAddress, parseAddress, type Address } from "../src/data/address";

test("every field survives, with ids that hold commas and slashes", () => {
  const address: Address = {
    dataset: "HUVEC", model: "cp-1", focus: "drug, (R)/S@1", selected: ["a,b", "c/d", "e%f&g=h"], view: "images", colour: "sets:CORUM:26S proteasome",
    beside: "U2OS/cp-1", panel: "selection", well: "EXP-01/1/B07", site: 2, controls: ["B01", "C01"], channels: "1.4f7dff.120.2400~0", at: "0.5000,0.2500,3.000",
  };
  expect(parseAddress(formatAddress(address))).toEqual(address);
});

test("the contract's own example is read", () => {
  const read = parseAddress("#/HUVEC/champion?focus=TP53&selected=TP53,MDM2&view=heatmap&colour=cluster&beside=HUVEC/other");
  expect(read).toMatchObject({ dataset: "HUVEC", model: "champion", focus: "TP53", selected: ["TP53", "MDM2"], view: "heatmap", colour: "cluster", beside: "HUVEC/other" });
});

test("nothing and nonsense give the empty address", () => {
  expect(parseAddress("")).toEqual(EMPTY);
  expect(parseAddress("#/?view=nonsense&site=x&%")).toEqual(EMPTY);
});
