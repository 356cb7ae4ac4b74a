/** Colours that people with any colour vision can distinguish, for light and dark pages. */

export type Rgb = [number, number, number];

export function rgbOf(hex: string): Rgb {
  const value = parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

export function hexOf([r, g, b]: Rgb): string {
  return `#${[r, g, b].map((part) => Math.round(part).toString(16).padStart(2, "0")).join("")}`;
}

// Source: Okabe and Ito (2008), "Color Universal Design", then lighter and darker relatives for more groups
export const CATEGORIES = [
  "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c6d31", "#17becf", "#b5bd3f", "#a05d4a", "#5f7f3b",
].map(rgbOf);

export const OTHER: Record<"light" | "dark", Rgb> = { light: [178, 184, 190], dark: [84, 92, 101] };

// Source: viridis of Smith and van der Walt (2015), every eighth of its range
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"].map(rgbOf);

/** opposite, unrelated, alike; the same colours as in the report. Paper is also what exports use. */
export const DIVERGING = {
  light: ["#2166ac", "#f7f7f7", "#b2182b"].map(rgbOf),
  dark: ["#5aa2e0", "#23282e", "#ee7a5f"].map(rgbOf),
};

function between(stops: Rgb[], fraction: number): Rgb {
  const place = Math.max(0, Math.min(1, fraction)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(place));
  const part = place - i;
  return [0, 1, 2].map((k) => stops[i][k] + (stops[i + 1][k] - stops[i][k]) * part) as Rgb;
}

/** Returns the colour of a fraction (0 to 1) on the sequential scale; dark pages leave out its darkest end. */
export function sequential(fraction: number, theme: "light" | "dark"): Rgb {
  return between(VIRIDIS, theme === "dark" ? 0.18 + 0.82 * fraction : 0.94 * fraction);
}

/** Returns the colour of a cosine (-1 to 1). */
export function diverging(cosine: number, theme: "light" | "dark"): Rgb {
  return between(DIVERGING[theme], (cosine + 1) / 2);
}
