/** Turns the contract's base64 arrays into typed arrays. float16 becomes float32. */
import type { EncodedArray } from "./contract";

export interface NumberArray {
  shape: number[];
  data: Float64Array | Float32Array | Uint8Array | Uint16Array | Int32Array;
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Returns the value of one half-precision number, given as its 16 bits (IEEE 754 binary16). */
export function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

let halfTable: Float32Array | null = null;

function halves(bits: Uint16Array): Float32Array {
  if (!halfTable) {
    halfTable = new Float32Array(65536);
    for (let i = 0; i < 65536; i++) halfTable[i] = halfToFloat(i);
  }
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) values[i] = halfTable[bits[i]];
  return values;
}

/** Returns the array's numbers and shape; an array whose bytes do not fit its shape is refused. */
export function decodeArray(array: EncodedArray): NumberArray {
  const { buffer } = bytesOf(array.base64);
  const size = array.shape.reduce((product, n) => product * n, 1);
  const width = { float64: 8, float32: 4, float16: 2, uint8: 1, uint16: 2, int32: 4 }[array.dtype];
  if (buffer.byteLength !== size * width) {
    throw new Error(`An array of shape ${array.shape.join(" x ")} and type ${array.dtype} came with ${buffer.byteLength} bytes.`);
  }
  if (array.dtype === "float32") return { shape: array.shape, data: new Float32Array(buffer) };
  if (array.dtype === "float64") return { shape: array.shape, data: new Float64Array(buffer) };
  if (array.dtype === "float16") return { shape: array.shape, data: halves(new Uint16Array(buffer)) };
  if (array.dtype === "int32") return { shape: array.shape, data: new Int32Array(buffer) };
  if (array.dtype === "uint16") return { shape: array.shape, data: new Uint16Array(buffer) };
  return { shape: array.shape, data: new Uint8Array(buffer) };
}
