/**
 * The licences of the packages whose code is in the bundle, as the text of the NOTICE file. The bundler's own list of
 * modules says which packages those are.
 */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

function licenceText(folder) {
  const file = readdirSync(folder).sort().find((name) => /^licen[cs]e/i.test(name));
  return file ? readFileSync(join(folder, file), "utf8").trim() : "(the package names its licence and ships no text)";
}

function packageFolder(moduleId) {
  return /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(moduleId.replace(/^\0/, ""))?.[1];
}

/** Returns {name, version, license, text} of each package that the modules belong to, sorted by name. */
export function bundledPackages(moduleIds) {
  const folders = [...new Set(moduleIds.map(packageFolder).filter(Boolean))];
  return folders
    .map((folder) => {
      const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
      return { name: about.name, version: about.version, license: about.license ?? "unknown", text: licenceText(folder) };
    })
    .sort((one, other) => (one.name + one.version < other.name + other.version ? -1 : 1));
}

/** Returns the NOTICE file's text. */
export function noticeText(moduleIds) {
  const packages = bundledPackages(moduleIds);
  const list = packages.map((p) => `${p.name} ${p.version} (${p.license})`).join("\n");
  const texts = packages.map((p) => `${"-".repeat(80)}\n${p.name} ${p.version}\n\n${p.text}\n`).join("\n");
  return `explorer.js contains code of these packages:\n\n${list}\n\n${texts}`;
}
