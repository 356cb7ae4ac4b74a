/** Loads the planes of a site, decoded; the ones used last are kept up to a limit of memory. */
import { decodeArray } from "../data/arrays";
import type { PlanesDocument } from "../data/contract";
import { fetchDocument, pathOf } from "../data/loader";
import type { Planes } from "./render";

const LIMIT_BYTES = 256 * 2 ** 20;
const kept = new Map<string, { planes: Promise<Planes>; bytes: number }>();

function forgetOldest(): void {
  let total = [...kept.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  for (const [key, { bytes }] of kept) {
    if (total <= LIMIT_BYTES || kept.size <= 1) return;
    kept.delete(key);
    total -= bytes;
  }
}

async function load(path: string): Promise<Planes> {
  const { planes } = await fetchDocument<PlanesDocument>(path);
  const { shape, data } = decodeArray(planes);
  const entry = kept.get(path);
  if (entry) entry.bytes = data.byteLength;
  forgetOldest();
  return { nChannels: shape[0], height: shape[1], width: shape[2], data: data as Uint8Array | Uint16Array };
}

export interface SiteKey {
  experiment: string;
  plate: string;
  well: string;
  site: number;
}

/** Returns all channels of a site at a pyramid level. */
export function loadPlanes({ experiment, plate, well, site }: SiteKey, level: number): Promise<Planes> {
  const path = pathOf("images", experiment, plate, well, site, level);
  const known = kept.get(path);
  kept.delete(path);
  const entry = known ?? { planes: Promise.resolve(null as never), bytes: 0 };
  kept.set(path, entry);
  if (!known) {
    entry.planes = load(path);
    entry.planes.catch(() => kept.delete(path));
  }
  return entry.planes;
}
