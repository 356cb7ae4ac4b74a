/**
 * How the bundle is made: one classic script and one style sheet, so that a page works from file:// and under a strict
 * Content-Security-Policy. `vite` alone serves the sources together with the documents of fixture.mjs.
 */
import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";
import { noticeText } from "./notice.mjs";
import { fixtureMiddleware } from "./fixture.mjs";

const OUT = "../cellassets/explorer/bundle";

/** Writes index.html and NOTICE beside the script. */
function companions(): Plugin {
  return {
    name: "companions",
    apply: "build",
    generateBundle(_options, bundle) {
      const modules = Object.values(bundle).flatMap((part) => (part.type === "chunk" ? Object.keys(part.modules) : []));
      this.emitFile({ type: "asset", fileName: "index.html", source: readFileSync("template.html", "utf8") });
      this.emitFile({ type: "asset", fileName: "NOTICE", source: noticeText(modules) });
    },
  };
}

function fixture(): Plugin {
  return { name: "fixture", configureServer: (server) => void server.middlewares.use(fixtureMiddleware()) };
}

export default defineConfig({
  plugins: [companions(), fixture()],
  define: { "process.env.NODE_ENV": JSON.stringify("production") },
  publicDir: false,
  build: {
    outDir: OUT,
    emptyOutDir: true,
    target: "es2022",
    cssCodeSplit: false,
    sourcemap: false,
    lib: { entry: "src/main.tsx", formats: ["iife"], name: "cellassetsExplorer", fileName: () => "explorer.js", cssFileName: "explorer" },
  },
  test: { include: ["tests/**/*.test.ts"] },
} as Parameters<typeof defineConfig>[0]);
