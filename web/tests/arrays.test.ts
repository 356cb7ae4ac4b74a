/** The contract's arrays, and what draws them. */
import { expect, test } from "vitest";
import { encoded, halfBits } from "../fixture/random.mjs";
import { decodeArray, halfToFloat } from "../src/data/arrays";

test("half-precision bits have the values of IEEE 754", () => {
  // bits, value: 1, -2, largest, smallest normal, smallest subnormal, third
  const known: [number, number][] = [[0x3c00, 1], [0xc000, -2], [0x7bff, 65504], [0x0400, 2 ** -14], [0x0001, 2 ** -24], [0x3555, 0.333251953125]];
  for (const [bits, value] of known) expect(halfToFloat(bits)).toBe(value);
});

test("float16 arrays come back to a thousandth", () => {
  const values = [0.1234, -0.5, 0.9999, 0];
  const { data, shape } = decodeArray(encoded(values, [2, 2], "float16"));
  expect(shape).toEqual([2, 2]);
  values.forEach((value, i) => expect(Math.abs(data[i] - value)).toBeLessThan(0.001));
  expect(halfBits(1)).toBe(0x3c00);
});

test("an array whose bytes do not fit its shape is refused", () => {
  expect(() => decodeArray({ dtype: "uint16", shape: [2, 2], base64: "AAAA" })).toThrow("shape 2 x 2");
});
