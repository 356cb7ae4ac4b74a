/** A heat map as pixels and as an SVG document, for the page and for the files that a reader takes away. */
import { diverging, hexOf, type Rgb } from "../colour/palettes";
import type { Theme } from "../colour/encodings";
import { branches, type Clustered } from "./clustered";

const UNKNOWN: Record<Theme, Rgb> = { light: [205, 209, 213], dark: [58, 64, 70] };
const MOST_RECTANGLES = 22_500;

export interface HeatMapData {
  labels: string[];
  matrix: Float64Array;
  tree: Pick<Clustered, "merges" | "order"> | null;
}

function colourOf(cosine: number, theme: Theme): Rgb {
  return Number.isNaN(cosine) ? UNKNOWN[theme] : diverging(cosine, theme);
}

/** Returns a canvas with one pixel per cell. */
export function cellCanvas(matrix: Float64Array, n: number, theme: Theme): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = n;
  const context = canvas.getContext("2d")!;
  const image = context.createImageData(n, n);
  matrix.forEach((cosine, i) => image.data.set([...colourOf(cosine, theme), 255], 4 * i));
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Returns SVG path data of the dendrogram: places run down in steps of `cell`, heights run left from `width`. */
export function treePath(tree: Pick<Clustered, "merges" | "order">, cell: number, width: number): string {
  const top = Math.max(1e-9, ...tree.merges.map(({ height }) => height));
  const x = (height: number) => (width * (1 - height / top)).toFixed(2);
  const y = (place: number) => ((place + 0.5) * cell).toFixed(2);
  return branches(tree).map(({ from, to, height }) => `M${x(from[1])},${y(from[0])}H${x(height)}V${y(to[0])}H${x(to[1])}`).join("");
}

function escaped(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

function cellsSvg({ matrix, labels }: HeatMapData, cell: number): string {
  const n = labels.length;
  if (n * n > MOST_RECTANGLES) {
    const url = cellCanvas(matrix, n, "light").toDataURL("image/png");
    return `<image href="${url}" width="${n * cell}" height="${n * cell}" preserveAspectRatio="none" style="image-rendering:pixelated"/>`;
  }
  const rectangles = Array.from(matrix, (cosine, i) => {
    const [x, y] = [(i % n) * cell, Math.floor(i / n) * cell];
    return `<rect x="${x}" y="${y}" width="${cell}" height="${cell}" fill="${hexOf(colourOf(cosine, "light"))}"/>`;
  });
  return `<g shape-rendering="crispEdges">${rectangles.join("")}</g>`;
}

function scaleSvg(x: number, y: number): string {
  const steps = Array.from({ length: 41 }, (_, i) => `<rect x="${x + i * 4}" y="${y}" width="4.2" height="10" fill="${hexOf(diverging(i / 20 - 1, "light"))}"/>`);
  const text = [-1, 0, 1].map((value, i) => `<text x="${x + i * 82}" y="${y + 22}" text-anchor="middle" font-size="10">${value < 0 ? "\u2212" : ""}${Math.abs(value)}</text>`);
  return `${steps.join("")}${text.join("")}<text x="${x + 176}" y="${y + 9}" font-size="10">cosine</text>`;
}

/** Returns a self-contained SVG document on white: dendrogram, cells, names on both sides, colour scale, title. */
export function heatMapSvg(data: HeatMapData, title: string): string {
  const n = data.labels.length;
  const cell = n > 150 ? 6 : n > 60 ? 9 : 13;
  const font = Math.min(11, cell * 0.86);
  const longest = Math.max(...data.labels.map((label) => label.length));
  const name = Math.ceil(longest * font * 0.62) + 8;
  const tree = data.tree ? 80 : 0;
  const [left, top] = [20 + tree, 44 + name];
  const size = n * cell;
  const rows = data.labels.map((label, i) => `<text x="${size + 5}" y="${((i + 0.5) * cell + font * 0.35).toFixed(1)}">${escaped(label)}</text>`);
  const columns = data.labels.map((label, i) => `<text transform="translate(${((i + 0.5) * cell + font * 0.35).toFixed(1)},-5) rotate(-90)">${escaped(label)}</text>`);
  const dendrogram = data.tree ? `<path d="${treePath(data.tree, cell, tree - 6)}" transform="translate(${-tree},0)" fill="none" stroke="#5b646d" stroke-width="0.8"/>` : "";
  const [width, height] = [left + size + name + 20, top + size + 56];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="Helvetica, Arial, sans-serif" fill="#1c2024">
<rect width="${width}" height="${height}" fill="#ffffff"/>
<text x="20" y="26" font-size="13" font-weight="600">${escaped(title)}</text>
<g transform="translate(${left},${top})" font-size="${font.toFixed(1)}">${dendrogram}${cellsSvg(data, cell)}${rows.join("")}${columns.join("")}</g>
<g>${scaleSvg(left, top + size + 18)}</g>
</svg>
`;
}

/** Returns the same picture as PNG, with twice the pixels. */
export async function heatMapPng(data: HeatMapData, title: string): Promise<Blob> {
  const url = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(heatMapSvg(data, title))}`;
  const image = new Image();
  image.src = url;
  await image.decode();
  const scale = Math.max(1, Math.min(2, 8000 / Math.max(image.width, image.height)));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(image.width * scale);
  canvas.height = Math.round(image.height * scale);
  canvas.getContext("2d")!.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("This browser made no PNG."))), "image/png"));
}

/** Returns the matrix with names as rows of a CSV file. */
export function heatMapRows({ labels, matrix }: HeatMapData, ids: string[]): (string | number | null)[][] {
  const n = labels.length;
  const lines = ids.map((id, i) => [id, labels[i], ...Array.from(matrix.subarray(i * n, (i + 1) * n), (cosine) => (Number.isNaN(cosine) ? null : Number(cosine.toFixed(4))))]);
  return [["perturbation_id", "label", ...ids], ...lines];
}
