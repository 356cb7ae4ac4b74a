/**
 * Loads documents by path, from the server's API or from the script files of a static export. A path is asked for once;
 * an answer that failed is forgotten, so that asking again tries again.
 */

import { plateName } from "../maths/numbers";

declare global {
  interface Window {
    CELLASSETS_STATIC?: boolean;
    cellassetsDocument?: (path: string, document: unknown) => void;
  }
}

/** A document that could not be had; `message` is a sentence for the reader. */
export class MissingDocument extends Error {
  constructor(
    message: string,
    readonly path: string,
  ) {
    super(message);
  }
}

/** How many documents of a kind stay; the ones used last. Everything else stays for good. */
const LIMITS: [RegExp, number][] = [[/\/(neighbours|profiles)\//, 400], [/\/vectors\//, 1200]];

const cache = new Map<string, Promise<unknown>>();
const delivered = new Map<string, unknown>();

async function fromServer(path: string): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(`api/${path}`, { headers: { Accept: "application/json" } });
  } catch {
    throw new MissingDocument("The server does not answer. Is `cellassets explore` still running?", path);
  }
  if (response.ok) return response.json();
  const answer = (await response.json().catch(() => null)) as { error?: string } | null;
  throw new MissingDocument(answer?.error ?? `The server answered ${response.status} for ${path}.`, path);
}

function whyMissing(path: string): string {
  if (!path.startsWith("images/")) return `This export does not hold the file data/${path}.js.`;
  const [, experiment, plateId, well, site] = path.replace(".json", "").split("/");
  const place = [experiment, plateName(plateId), well && `well ${well}`, site && `site ${site}`].filter(Boolean).join(", ");
  return `This export has no images of ${place}. \`cellassets explore --static DIR --images 2\` makes one with two wells of each perturbation.`;
}

const bare = (path: string) => path.replace(/\.json$/, "");

function fromScript(path: string): Promise<unknown> {
  window.cellassetsDocument ??= (name, document) => void delivered.set(bare(name), document);
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `data/${path}.js`;
    script.onload = () => {
      script.remove();
      const found = delivered.get(bare(path));
      delivered.delete(bare(path));
      if (found === undefined) reject(new MissingDocument(`The file data/${path}.js holds another document.`, path));
      else resolve(found);
    };
    script.onerror = () => {
      script.remove();
      reject(new MissingDocument(whyMissing(path), path));
    };
    document.head.append(script);
  });
}

/** Returns the document at a path without keeping it. */
export function fetchDocument<T>(path: string): Promise<T> {
  return (window.CELLASSETS_STATIC ? fromScript(path) : fromServer(path)) as Promise<T>;
}

function forgetOldest(path: string): void {
  const limit = LIMITS.find(([kind]) => kind.test(path));
  if (!limit) return;
  const same = [...cache.keys()].filter((other) => limit[0].test(other));
  for (const old of same.slice(0, Math.max(0, same.length - limit[1]))) cache.delete(old);
}

/** Returns the document at a path ("home.json") and keeps it. */
export function loadDocument<T>(path: string): Promise<T> {
  const loading = (cache.get(path) as Promise<T> | undefined) ?? fetchDocument<T>(path);
  cache.delete(path);
  cache.set(path, loading);
  loading.catch(() => cache.delete(path));
  forgetOldest(path);
  return loading;
}

/** Returns a path made of keys, each percent-encoded. */
export function pathOf(...parts: (string | number)[]): string {
  return parts.map((part) => encodeURIComponent(String(part))).join("/") + ".json";
}
