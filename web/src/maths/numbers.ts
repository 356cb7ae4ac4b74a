/** How numbers are written: a few digits, the same number of them in each row of a column. */

const MINUS = "\u2212";

/** Returns a number with a fixed number of decimals and a true minus sign; "–" for unknown. */
export function fixed(value: number | null | undefined, decimals = 2): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const text = Math.abs(value).toFixed(decimals);
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}

const SUPERSCRIPT: Record<string, string> = { "-": "⁻", "0": "⁰", "1": "¹", "2": "²", "3": "³", "4": "⁴", "5": "⁵", "6": "⁶", "7": "⁷", "8": "⁸", "9": "⁹" };

/** Returns a probability: 0.042, or 3.1×10⁻⁵ where it is small. */
export function probability(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "< 10⁻³⁰⁰";
  if (value >= 0.001) return value.toFixed(3);
  const [mantissa, exponent] = value.toExponential(1).split("e");
  return `${mantissa}×10${exponent.replace("+", "").split("").map((sign) => SUPERSCRIPT[sign]).join("")}`;
}

/** Returns a whole number with thin spaces between thousands. */
export function count(value: number): string {
  return Math.round(value).toString().replace(/\B(?=(\d{3})+(?!\d))/g, "\u2009");
}

/** Returns a concentration in µM, or nM below 0.1 µM. */
export function concentrationText(um: number): string {
  if (um > 0 && um < 0.1) return `${Number((um * 1000).toPrecision(3))} nM`;
  return `${Number(um.toPrecision(3))} µM`;
}

/** Returns "plate 3" for a number, and a plate's own name unchanged. */
export function plateName(plateId: string): string {
  return /^\d/.test(plateId) ? `plate ${plateId}` : plateId;
}

/** Returns "1 well" or "3 wells". */
export function counted(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}
