/** Draws planes into screen pixels: each channel through its contrast and colour, added up. */
import { rgbOf } from "../colour/palettes";
import type { ImageSettings } from "./settings";
import type { Viewport } from "./viewport";

export interface Planes {
  nChannels: number;
  height: number;
  width: number;
  data: Uint8Array | Uint16Array;
}

/** Returns the highest value that the planes' type holds. */
export function highestValue({ data }: Planes): number {
  return data.BYTES_PER_ELEMENT === 1 ? 255 : 65535;
}

/** Returns the brightness (0 to 255) of each grey level. */
export function contrastTable(low: number, high: number, maxValue: number): Uint8Array {
  const table = new Uint8Array(maxValue + 1);
  const span = Math.max(1, high - low);
  for (let value = 0; value <= maxValue; value++) table[value] = Math.max(0, Math.min(255, Math.round(((value - low) * 255) / span)));
  return table;
}

interface Layer {
  offset: number;
  table: Uint8Array;
  colour: [number, number, number];
}

function layersOf(planes: Planes, settings: ImageSettings): Layer[] {
  return settings.channels
    .map((setting, channel) => ({ setting, channel }))
    .filter(({ setting, channel }) => channel < planes.nChannels && (settings.grey === null ? setting.isOn : channel === settings.grey))
    .map(({ setting, channel }) => ({
      offset: channel * planes.height * planes.width,
      table: contrastTable(setting.low, setting.high, highestValue(planes)),
      colour: settings.grey === null ? (rgbOf(setting.colour).map((part) => part / 255) as [number, number, number]) : [1, 1, 1],
    }));
}

/** Returns for each screen pixel of a line the source pixel that it shows. */
function sourcePixels(nScreen: number, nSource: number, centre: number, zoom: number): Int32Array {
  return Int32Array.from({ length: nScreen }, (_, i) => {
    const at = centre + ((i + 0.5) / nScreen - 0.5) / zoom;
    return Math.max(0, Math.min(nSource - 1, Math.floor(at * nSource)));
  });
}

/**
 * Returns how much each of several channels counts, so that their sum does not drown in white: the same as in the
 * contact sheets of the reports.
 */
export function channelWeight(nShown: number): number {
  return 1 / Math.sqrt(Math.max(1, nShown / 2));
}

/** Fills `out` (RGBA, width x height) with what the viewport shows. */
export function render(planes: Planes, settings: ImageSettings, view: Viewport, out: Uint8ClampedArray, width: number, height: number): void {
  const layers = layersOf(planes, settings);
  const columns = sourcePixels(width, planes.width, view.x, view.zoom);
  const lines = sourcePixels(height, planes.height, view.y, view.zoom);
  const sums = new Float32Array(3 * width);
  const weight = channelWeight(layers.length);
  for (let line = 0; line < height; line++) {
    sums.fill(0);
    for (const { offset, table, colour } of layers) {
      const start = offset + lines[line] * planes.width;
      const [r, g, b] = colour.map((part) => part * weight);
      for (let i = 0, at = 0; i < width; i++, at += 3) {
        const bright = table[planes.data[start + columns[i]]];
        sums[at] += bright * r;
        sums[at + 1] += bright * g;
        sums[at + 2] += bright * b;
      }
    }
    let to = line * width * 4;
    for (let at = 0; at < sums.length; at += 3, to += 4) {
      out[to] = sums[at];
      out[to + 1] = sums[at + 1];
      out[to + 2] = sums[at + 2];
      out[to + 3] = 255;
    }
  }
}
