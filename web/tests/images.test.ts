/** Contrast, colours and the viewport of pictures. */
import { expect, test } from "vitest";
import { contrastTable, render } from "../src/images/render";
import { formatSettings, parseSettings, usualSettings } from "../src/images/settings";
import { levelFor, moved, scaleBarLength, WHOLE, zoomedAt } from "../src/images/viewport";
import { fixtureDocument } from "../fixture.mjs";
import type { PlateDocument } from "../src/data/contract";

const plate = fixtureDocument("images/EXP-01/1.json") as PlateDocument;

test("contrast is linear between low and high", () => {
  const table = contrastTable(10, 20, 30);
  expect([table[0], table[10], table[15], table[20], table[30]]).toEqual([0, 0, 128, 255, 255]);
});

test("channels add up in their colours, and one channel alone is grey", () => {
  const planes = { nChannels: 2, height: 1, width: 2, data: Uint8Array.from([100, 0, 50, 100]) };
  const channels = [{ isOn: true, colour: "#ff0000", low: 0, high: 100 }, { isOn: true, colour: "#0000ff", low: 0, high: 100 }];
  const out = new Uint8ClampedArray(8);
  render(planes, { channels, grey: null }, WHOLE, out, 2, 1);
  expect([...out]).toEqual([255, 0, 128, 255, 0, 0, 255, 255]);
  render(planes, { channels, grey: 1 }, WHOLE, out, 2, 1);
  expect([...out]).toEqual([128, 128, 128, 255, 255, 255, 255, 255]);
});

test("six channels at full light are dimmed by the square root of three, as in the contact sheets", () => {
  const planes = { nChannels: 6, height: 1, width: 1, data: Uint8Array.from([255, 0, 0, 0, 0, 0]) };
  const channels = Array.from({ length: 6 }, () => ({ isOn: true, colour: "#ff0000", low: 0, high: 255 }));
  const out = new Uint8ClampedArray(4);
  render(planes, { channels, grey: null }, WHOLE, out, 1, 1);
  expect([...out]).toEqual([Math.round(255 / Math.sqrt(3)), 0, 0, 255]);
});

test("a zoom keeps the place under the pointer", () => {
  const before = { x: 0.5, y: 0.5, zoom: 2 };
  const place = (view: typeof before) => view.x + 0.2 / view.zoom;
  expect(place(zoomedAt(before, 1.7, 0.2, 0, 50))).toBeCloseTo(place(before), 12);
  expect(moved({ x: 0.5, y: 0.5, zoom: 1 }, 0.3, 0, 50)).toEqual(WHOLE); // all is seen: nothing to move
});

test("the level is the coarsest that still fills the screen", () => {
  expect(levelFor(WHOLE, 512, 2048, 4)).toBe(2);
  expect(levelFor({ ...WHOLE, zoom: 4 }, 512, 2048, 4)).toBe(0);
  expect(levelFor(WHOLE, 100, 2048, 4)).toBe(3);
});

test("a scale bar is round and at most a quarter wide", () => {
  expect([scaleBarLength(250), scaleBarLength(90), scaleBarLength(40)]).toEqual([50, 20, 10]);
});

test("settings survive the address; those of another plate give the usual ones", () => {
  const settings = usualSettings(plate);
  settings.channels[1] = { isOn: false, colour: "#123456", low: 5, high: 900 };
  settings.grey = 2;
  expect(parseSettings(formatSettings(settings), plate)).toEqual(settings);
  expect(parseSettings("1.ffffff.0.10", plate)).toEqual(usualSettings(plate));
});
