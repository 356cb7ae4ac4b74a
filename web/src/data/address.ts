/**
 * The address of a view, in the hash: `#/DATASET/MODEL?focus=ID&selected=ID,ID&view=map&colour=kind&beside=DATASET/MODEL`.
 * The address is the state of the page: components read it and write it, and nothing else holds what it holds.
 */
import { useEffect, useState } from "preact/hooks";

export const VIEWS = ["map", "heatmap", "images", "doses"] as const;
export type View = (typeof VIEWS)[number];

export interface Address {
  dataset: string | null;
  model: string | null;
  focus: string | null;
  selected: string[];
  view: View;
  colour: string | null;
  beside: string | null;
  panel: "focus" | "selection";
  /** experiment/plate/well of the pictures. */
  well: string | null;
  site: number | null;
  /** The control wells beside it, on the same plate. */
  controls: string[];
  /** Channels, colours and contrast, as written by images/settings.ts. */
  channels: string | null;
  /** Where the pictures are zoomed to, as written by images/viewport.ts. */
  at: string | null;
}

export const EMPTY: Address = {
  dataset: null, model: null, focus: null, selected: [], view: "map", colour: null, beside: null, panel: "focus", well: null, site: null, controls: [], channels: null, at: null,
};

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function fields(query: string): Map<string, string> {
  const pairs = query.split("&").filter(Boolean).map((pair) => {
    const cut = pair.indexOf("=");
    return cut < 0 ? ([pair, ""] as const) : ([pair.slice(0, cut), pair.slice(cut + 1)] as const);
  });
  return new Map(pairs);
}

/** Returns what a hash says; unknown fields are left out. */
export function parseAddress(hash: string): Address {
  const [path, query = ""] = hash.replace(/^#?\/?/, "").split("?", 2);
  const [dataset, model] = path.split("/").map(decoded);
  const field = fields(query);
  const text = (name: string) => (field.get(name) ? decoded(field.get(name)!) : null);
  const view = text("view") as View | null;
  const list = (name: string) => (field.get(name) ?? "").split(",").filter(Boolean).map(decoded);
  const selected = list("selected");
  return {
    dataset: dataset || null,
    model: model || null,
    focus: text("focus"),
    selected,
    view: view && VIEWS.includes(view) ? view : "map",
    colour: text("colour"),
    beside: text("beside"),
    panel: text("panel") === "selection" || (!text("panel") && !text("focus") && selected.length > 0) ? "selection" : "focus",
    well: text("well"),
    site: Number(text("site")) || null,
    controls: list("controls"),
    channels: text("channels"),
    at: text("at"),
  };
}

function listText(names: string[]): string | null {
  return names.length ? names.map((name) => encodeURIComponent(name)).join(",") : null;
}

function encoded(text: string): string {
  return encodeURIComponent(text).replace(/%2F/g, "/").replace(/%3A/g, ":");
}

/** Returns the hash of an address; fields with their usual value are left out. */
export function formatAddress(address: Address): string {
  const { dataset, model } = address;
  const pairs: [string, string | null][] = [
    ["view", address.view === "map" ? null : address.view],
    ["focus", address.focus && encoded(address.focus)],
    ["selected", listText(address.selected)],
    ["panel", address.panel === "selection" ? "selection" : null],
    ["colour", address.colour && encoded(address.colour)],
    ["beside", address.beside && encoded(address.beside)],
    ["well", address.well && encoded(address.well)],
    ["site", address.site ? String(address.site) : null],
    ["controls", listText(address.controls)],
    ["channels", address.channels && encoded(address.channels)],
    ["at", address.at],
  ];
  const query = pairs.filter(([, value]) => value).map(([name, value]) => `${name}=${value}`).join("&");
  const path = dataset ? `${encodeURIComponent(dataset)}/${encodeURIComponent(model ?? "")}` : "";
  return `#/${path}${query ? `?${query}` : ""}`;
}

/** Changes the address. `isStep` makes a step that the Back button undoes. */
export function goTo(change: Partial<Address>, isStep = true): void {
  const next = formatAddress({ ...parseAddress(location.hash), ...change });
  if (next === location.hash) return;
  if (isStep) history.pushState(null, "", next);
  else history.replaceState(null, "", next);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** Returns the present address with changes, for a link. */
export function hrefTo(change: Partial<Address>): string {
  return formatAddress({ ...parseAddress(location.hash), ...change });
}

/** The present address, as a hook. */
export function useAddress(): Address {
  const [address, setAddress] = useState(() => parseAddress(location.hash));
  useEffect(() => {
    const read = () => setAddress(parseAddress(location.hash));
    addEventListener("hashchange", read);
    addEventListener("popstate", read);
    return () => {
      removeEventListener("hashchange", read);
      removeEventListener("popstate", read);
    };
  }, []);
  return address;
}
