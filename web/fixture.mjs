/**
 * Made-up documents for development and tests: the same ones each time. Two maps of a few hundred perturbations that
 * share most of them, one without a layout, one of 20,000 x 1,024, and pictures.
 *
 *   node fixture.mjs serve 8123           the built bundle with an API, under a strict Content-Security-Policy
 *   node fixture.mjs export export/       the built bundle as a static export (the small maps)
 */
import { createServer } from "node:http";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { FakeMap } from "./fixture/fakeMap.mjs";
import { plateDocument, siteDocument } from "./fixture/fakeImages.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const BUNDLE = join(HERE, "../cellassets/explorer/bundle");
const CSP = "default-src 'self'; img-src 'self' data: blob:; style-src 'self'";
const SMALL = { nGenes: 110, nGuides: 2, nDimensions: 128 };
const OPTIONS = [
  { dataset: "demo", model: "alpha", ...SMALL },
  { dataset: "demo", model: "beta", ...SMALL, nGenes: 96, nDimensions: 64, seed: 5, experiments: 1 },
  { dataset: "demo-plain", model: "alpha", ...SMALL, nGenes: 40, hasLayout: false, cellType: "U2OS" },
  { dataset: "wide", model: "alpha", nGenes: 18800, nCompounds: 198, nControls: 12, nClusters: 120, nDimensions: 1024, seed: 9 },
];
const made = new Map();

function mapOf(dataset, model) {
  const options = OPTIONS.find((candidate) => candidate.dataset === dataset && candidate.model === model);
  if (!options) return null;
  const key = `${dataset}/${model}`;
  if (!made.has(key)) made.set(key, new FakeMap(options));
  return made.get(key);
}

function homeDocument(isSmall) {
  const shown = OPTIONS.filter(({ dataset }) => !isSmall || dataset !== "wide");
  const maps = shown.map((options, i) => {
    if (options.dataset !== "wide") return mapOf(options.dataset, options.model).home(i === 0);
    return { dataset_id: "wide", model_key: "alpha", n_perturbations: 20000, n_dimensions: 1024, is_champion: false, exposure: null, cell_types: ["HUVEC"], published_at: null, links: { report: null, dagster: null, mlflow: null } };
  });
  return { version: "0.0.0", title: "Demo home", made_at: "2026-11-29T03:00:00Z", maps };
}

/** Returns the document at a path, or null. */
export function fixtureDocument(path, isSmall = false) {
  const parts = path.replace(/\.json$/, "").split("/").map(decodeURIComponent);
  if (path === "home.json") return homeDocument(isSmall);
  if (parts[0] === "images" && parts[1]?.startsWith("EXP-0")) {
    const [, experiment, plate, well, site, level] = parts;
    if (parts.length === 3) return plateDocument(experiment, plate, mapOf("demo", "alpha"));
    return siteDocument(experiment, plate, well, Number(site), Number(level));
  }
  const map = parts[0] === "maps" ? mapOf(parts[1], parts[2]) : null;
  if (!map) return null;
  if (parts[3] === "index") return map.index();
  if (parts[3] === "sets") return map.sets();
  return ["neighbours", "profiles", "vectors"].includes(parts[3]) ? map.block(parts[3], Number(parts[4])) : null;
}

const packed = new Map();

/** Documents are made and packed once, so that measurements of the page do not measure this file. */
function answer(path, response) {
  if (!packed.has(path)) {
    const document = fixtureDocument(path);
    const text = JSON.stringify(document ?? { error: `There is no document ${path} in this home.` });
    packed.set(path, { status: document ? 200 : 404, body: gzipSync(text, { level: 1 }) });
  }
  const { status, body } = packed.get(path);
  response.writeHead(status, { "Content-Type": "application/json", "Content-Encoding": "gzip" });
  response.end(body);
}

/** Answers /api/… of Vite's development server. */
export function fixtureMiddleware() {
  return (request, response, next) => (request.url.startsWith("/api/") ? answer(request.url.slice(5), response) : next());
}

const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8" };

/** Serves the built bundle and the documents; returns the server. */
export function serve(port) {
  const server = createServer((request, response) => {
    const path = new URL(request.url, "http://localhost").pathname;
    if (path.startsWith("/api/")) return answer(path.slice(5), response);
    const name = path === "/" ? "index.html" : path.slice(1);
    if (!/^(index\.html|explorer\.(js|css))$/.test(name)) return response.writeHead(404).end();
    response.writeHead(200, { "Content-Type": TYPES[name.split(".")[1]], "Content-Security-Policy": CSP });
    response.end(readFileSync(join(BUNDLE, name)));
  });
  return server.listen(port, "127.0.0.1");
}

/** Returns the paths of a small map's documents. */
function pathsOf({ dataset, model }) {
  const { rows } = mapOf(dataset, model);
  const root = `maps/${dataset}/${model}`;
  const blocks = Object.entries({ neighbours: 8, profiles: 16, vectors: 16 }).flatMap(([kind, size]) =>
    Array.from({ length: Math.ceil(rows.length / size) }, (_, i) => `${root}/${kind}/${i}.json`),
  );
  return [`${root}/index.json`, `${root}/sets.json`, ...blocks];
}

/** Writes a static export of the small maps, with the pictures of one plate only. */
export function exportTo(folder) {
  const image = ["images/EXP-01/1.json", ...Object.keys(fixtureDocument("images/EXP-01/1.json").wells).slice(0, 40).flatMap((well) => [1, 2].flatMap((site) => [0, 1, 2].map((level) => `images/EXP-01/1/${well}/${site}/${level}.json`)))];
  const paths = ["home.json", ...OPTIONS.filter(({ dataset }) => dataset !== "wide").flatMap(pathsOf), ...image];
  for (const path of paths) {
    const file = join(folder, "data", `${path}.js`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `cellassetsDocument(${JSON.stringify(path)}, ${JSON.stringify(fixtureDocument(path, true))});\n`);
  }
  for (const name of ["explorer.js", "explorer.css"]) copyFileSync(join(BUNDLE, name), join(folder, name));
  const page = readFileSync(join(BUNDLE, "index.html"), "utf8").replace("<!--static-->", "<script>window.CELLASSETS_STATIC = true;</script>");
  writeFileSync(join(folder, "index.html"), page);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [verb, target] = process.argv.slice(2);
  if (verb === "serve") serve(Number(target ?? 8123));
  else if (verb === "export") exportTo(target);
  else process.exitCode = 2;
}
