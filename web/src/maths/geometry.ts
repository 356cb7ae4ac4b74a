/** Plane geometry of the scatter: which points a lasso holds, what a map spans. */

/** Whether a point is inside a polygon (even-odd rule); the polygon is x, y pairs and closes itself. */
export function isInside(x: number, y: number, polygon: [number, number][]): boolean {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i];
    const [xj, yj] = polygon[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

/** Returns the numbers of the points inside a polygon. */
export function pointsInside(x: ArrayLike<number>, y: ArrayLike<number>, polygon: [number, number][]): number[] {
  if (polygon.length < 3) return [];
  const found: number[] = [];
  for (let i = 0; i < x.length; i++) if (isInside(x[i], y[i], polygon)) found.push(i);
  return found;
}

/** Returns the smallest and largest finite value; 0 and 1 where none is finite. */
export function span(values: ArrayLike<number>): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) continue;
    low = Math.min(low, values[i]);
    high = Math.max(high, values[i]);
  }
  return low <= high ? [low, high] : [0, 1];
}

/** Returns a quantile of the finite values (0 to 1), by sorting. */
export function quantile(values: (number | null)[], fraction: number): number {
  const known = values.filter((value): value is number => value !== null && Number.isFinite(value)).sort((a, b) => a - b);
  if (known.length === 0) return NaN;
  const position = (known.length - 1) * fraction;
  const below = Math.floor(position);
  const above = Math.min(known.length - 1, below + 1);
  return known[below] + (known[above] - known[below]) * (position - below);
}

/** Returns round numbers (1, 2 or 5 times a power of ten) that cover a range, about `wanted` of them. */
export function ticks(low: number, high: number, wanted = 5): number[] {
  if (!(high > low)) return [low];
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough)!;
  const first = Math.ceil(low / step);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}
