/** What the points of a map are coloured by: the choices, each point's colour, and the legend. */
import { CATEGORIES, OTHER, sequential, type Rgb } from "./palettes";
import type { AnnotationSource } from "../data/contract";
import type { MapData } from "../data/mapData";
import { quantile } from "../maths/geometry";

export type Theme = "light" | "dark";

export interface LegendEntry {
  name: string;
  colour: Rgb;
  rows: number[];
  isRest?: boolean;
}

export interface Colouring {
  title: string;
  colours: Rgb[];
  /** Groups, or null for a continuous scale. */
  entries: LegendEntry[] | null;
  scale: { low: number; high: number; nUnknown: number; decimals: number } | null;
  note?: string;
}

export interface Choice {
  value: string;
  label: string;
}

const KIND_NAMES: Record<string, string> = { gene: "Gene", compound: "Compound", control: "Control" };

function cellTypesPerRow(map: MapData): string[] | null {
  const { cell_types, n_rows } = map.index;
  if (!cell_types || cell_types.length !== n_rows || n_rows < 2) return null;
  return cell_types.map((entry) => (Array.isArray(entry) ? entry.join(" + ") : entry) ?? "unknown");
}

/** Returns what the points can be coloured by; the first choice is the usual one. */
export function colourChoices(map: MapData): Choice[] {
  const { index } = map;
  const choices: Choice[] = [{ value: "kind", label: "Kind" }];
  if (index.cluster?.some((value) => value !== null)) choices.push({ value: "cluster", label: "Cluster" });
  if (cellTypesPerRow(map)) choices.push({ value: "cell_type", label: "Cell type" });
  if (index.distance_sd?.some((value) => value !== null)) choices.push({ value: "distance_sd", label: "Distance from controls" });
  if (index.is_active?.some((value) => value !== null)) choices.push({ value: "active", label: "Active or not" });
  if (index.agreement?.some((value) => value !== null)) choices.push({ value: "agreement", label: "Agreement of replicates" });
  for (const { name } of index.annotation_sources ?? []) choices.push({ value: `sets:${name}`, label: `Sets of ${name}` });
  return choices;
}

/** Returns the choice where the map offers it, else the usual one. */
export function validChoice(map: MapData, choice: string | null): string {
  const sets = choice && sourceOfChoice(choice, (map.index.annotation_sources ?? []).map(({ name }) => name));
  return choice && (sets || colourChoices(map).some(({ value }) => value === choice)) ? choice : "kind";
}

/** Returns the source that a choice "sets:NAME" or "sets:NAME:SET" names, and the set. */
export function sourceOfChoice(choice: string, names: string[]): { source: string; set: string | null } | null {
  if (!choice.startsWith("sets:")) return null;
  const rest = choice.slice(5);
  const source = names.filter((name) => rest === name || rest.startsWith(`${name}:`)).sort((a, b) => b.length - a.length)[0];
  if (!source) return null;
  return { source, set: rest.length > source.length ? rest.slice(source.length + 1) : null };
}

const PAPER: Record<Theme, Rgb> = { light: [255, 255, 255], dark: [26, 30, 34] };

/** The smaller groups, which have no place in the legend, take its colours again, halfway to the paper. */
function paleColours(names: string[], theme: Theme): Map<string, Rgb> {
  const pale = CATEGORIES.map((colour) => colour.map((part, k) => (part + PAPER[theme][k]) / 2) as Rgb);
  return new Map(names.map((name, i) => [name, pale[i % pale.length]]));
}

function byCluster(map: MapData, theme: Theme): Colouring {
  const names = map.index.cluster.map((value) => (value === null ? null : `Cluster ${value}`));
  const plain = grouped("Cluster", names, theme, "no cluster");
  const listed = new Set(plain.entries!.map(({ name }) => name));
  const small = [...new Set(names.filter((name): name is string => name !== null && !listed.has(name)))];
  if (small.length === 0) return plain;
  const pale = paleColours(small, theme);
  const colours = plain.colours.map((colour, row) => pale.get(names[row] ?? "") ?? colour);
  const note = `The ${small.length} smaller clusters are pale and share colours; point at one for its number.`;
  return { ...plain, colours, note, entries: plain.entries!.filter(({ isRest }) => !isRest) };
}

function grouped(title: string, names: (string | null)[], theme: Theme, rest: string, order?: string[]): Colouring {
  const rows = new Map<string, number[]>();
  names.forEach((name, row) => name !== null && (rows.get(name)?.push(row) ?? rows.set(name, [row])));
  const all = [...rows.keys()].sort((a, b) => (order ? order.indexOf(a) - order.indexOf(b) : rows.get(b)!.length - rows.get(a)!.length));
  const shown = all.slice(0, CATEGORIES.length);
  const colours = new Array<Rgb>(names.length).fill(OTHER[theme]);
  const entries: LegendEntry[] = shown.map((name, i) => ({ name, colour: CATEGORIES[i], rows: rows.get(name)! }));
  for (const { colour, rows: own } of entries) for (const row of own) colours[row] = colour;
  const left = names.flatMap((name, row) => (name === null || !shown.includes(name) ? [row] : []));
  if (left.length) entries.push({ name: rest, colour: OTHER[theme], rows: left, isRest: true });
  return { title, colours, entries, scale: null };
}

function continuous(title: string, values: (number | null)[], theme: Theme, decimals: number, fixedLow?: number): Colouring {
  const low = fixedLow ?? quantile(values, 0.02);
  const high = quantile(values, 0.98);
  const range = high > low ? high - low : 1;
  const colours = values.map((value) => (value === null || Number.isNaN(value) ? OTHER[theme] : sequential((value - low) / range, theme)));
  const nUnknown = values.filter((value) => value === null).length;
  return { title, colours, entries: null, scale: { low, high, nUnknown, decimals } };
}

function bySets(map: MapData, source: AnnotationSource, set: string | null, theme: Theme): Colouring {
  const wanted = set ? source.sets.filter(({ id }) => id === set) : [...source.sets].sort((a, b) => b.rows.length - a.rows.length).slice(0, 10);
  const names = new Array<string | null>(map.n).fill(null);
  for (const { id, rows } of [...wanted].reverse()) for (const row of rows) names[row] = id;
  const rest = set ? "not in this set" : "in none of these sets";
  return grouped(`Sets of ${source.name}`, names, theme, rest, wanted.map(({ id }) => id));
}

/** Returns each point's colour and the legend. `sources` is null while sets are not loaded: all points are grey then. */
export function colouring(map: MapData, choice: string, sources: AnnotationSource[] | null, theme: Theme): Colouring {
  const { index } = map;
  const sets = sourceOfChoice(choice, (index.annotation_sources ?? []).map(({ name }) => name));
  if (sets) {
    const source = sources?.find(({ name }) => name === sets.source);
    return source ? bySets(map, source, sets.set, theme) : grouped(`Sets of ${sets.source}`, new Array(map.n).fill(null), theme, "loading");
  }
  if (choice === "cluster") return byCluster(map, theme);
  if (choice === "cell_type") return grouped("Cell type", cellTypesPerRow(map) ?? [], theme, "unknown");
  if (choice === "distance_sd") return continuous("Distance from controls (SD of controls)", index.distance_sd, theme, 1, 0);
  if (choice === "agreement") return continuous("Agreement of replicates (mean cosine)", index.agreement, theme, 2);
  if (choice === "active") {
    return grouped("Active", index.is_active.map((value) => (value === null ? null : value ? "Active" : "Not active")), theme, "not tested", ["Active", "Not active"]);
  }
  const kinds = Array.from({ length: map.n }, (_, row) => KIND_NAMES[map.kind(row) ?? ""] ?? null);
  return grouped("Kind", kinds, theme, "unknown", ["Gene", "Compound", "Control"]);
}
