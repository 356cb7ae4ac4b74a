/** What part of the pictures is seen: a centre in fractions of the picture, and a zoom (1 = all of it). */

export interface Viewport {
  x: number;
  y: number;
  zoom: number;
}

export const WHOLE: Viewport = { x: 0.5, y: 0.5, zoom: 1 };

function within(value: number, half: number): number {
  return Math.max(half, Math.min(1 - half, value));
}

/** Returns the viewport moved so that it stays on the picture. */
export function clamped({ x, y, zoom }: Viewport, maxZoom: number): Viewport {
  const z = Math.max(1, Math.min(maxZoom, zoom));
  return { x: within(x, 0.5 / z), y: within(y, 0.5 / z), zoom: z };
}

/** Zooms by a factor around a place of the panel (fractions from its centre, -0.5 to 0.5): that place stays still. */
export function zoomedAt(view: Viewport, factor: number, fx: number, fy: number, maxZoom: number): Viewport {
  const zoom = Math.max(1, Math.min(maxZoom, view.zoom * factor));
  return clamped({ x: view.x + fx / view.zoom - fx / zoom, y: view.y + fy / view.zoom - fy / zoom, zoom }, maxZoom);
}

/** Moves by fractions of the panel: the picture follows the hand. */
export function moved(view: Viewport, dx: number, dy: number, maxZoom: number): Viewport {
  return clamped({ ...view, x: view.x - dx / view.zoom, y: view.y - dy / view.zoom }, maxZoom);
}

/** Returns the pyramid level whose pixels are just as fine as the screen's (level k halves the picture k times). */
export function levelFor(view: Viewport, screenWidth: number, fullWidth: number, nLevels: number): number {
  const screenPerPixel = (screenWidth * view.zoom) / fullWidth;
  return Math.max(0, Math.min(nLevels - 1, Math.floor(Math.log2(1 / screenPerPixel))));
}

export function formatViewport({ x, y, zoom }: Viewport): string | null {
  return zoom === 1 ? null : `${x.toFixed(4)},${y.toFixed(4)},${zoom.toFixed(3)}`;
}

export function parseViewport(text: string | null): Viewport {
  const [x, y, zoom] = (text ?? "").split(",").map(Number);
  return zoom >= 1 && Number.isFinite(x + y) ? clamped({ x, y, zoom }, 1000) : WHOLE;
}

/** Returns a round length (1, 2 or 5 times a power of ten) that is at most a quarter of a width. */
export function scaleBarLength(visible: number): number {
  const power = 10 ** Math.floor(Math.log10(visible / 4));
  return [5, 2, 1].map((factor) => factor * power).find((length) => length <= visible / 4) ?? power;
}
