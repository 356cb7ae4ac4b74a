/** Documents are asked for once; what the server says of a missing one is what the reader gets. */
import { beforeEach, expect, test, vi } from "vitest";

const answer = (status: number, body: unknown) => ({ ok: status === 200, status, json: async () => body });

beforeEach(() => {
  vi.resetModules();
  vi.stubGlobal("window", {});
});

test("a document is asked for once, at api/ and its path", async () => {
  const ask = vi.fn(async (_url: string) => answer(200, { title: "a home" }));
  vi.stubGlobal("fetch", ask);
  const { loadDocument, pathOf } = await import("../src/data/loader");
  await Promise.all([loadDocument("home.json"), loadDocument("home.json")]);
  expect(await loadDocument("home.json")).toEqual({ title: "a home" });
  expect(ask.mock.calls.map(([url]) => url)).toEqual(["api/home.json"]);
  expect(pathOf("maps", "HUVEC", "cp.1", "neighbours", 3)).toBe("maps/HUVEC/cp.1/neighbours/3.json");
});

test("the server's sentence is shown, and asking again asks the server again", async () => {
  const ask = vi.fn(async (_url: string) => answer(404, { error: "There are no images of plate 3." }));
  vi.stubGlobal("fetch", ask);
  const { loadDocument } = await import("../src/data/loader");
  await expect(loadDocument("images/E/3.json")).rejects.toThrow("There are no images of plate 3.");
  await expect(loadDocument("images/E/3.json")).rejects.toThrow();
  expect(ask).toHaveBeenCalledTimes(2);
});

test("old blocks are forgotten, the list of maps is not", async () => {
  const ask = vi.fn(async (url: string) => answer(200, url));
  vi.stubGlobal("fetch", ask);
  const { loadDocument, pathOf } = await import("../src/data/loader");
  await loadDocument("home.json");
  for (let block = 0; block < 410; block++) await loadDocument(pathOf("maps", "d", "m", "neighbours", block));
  ask.mockClear();
  await loadDocument("home.json");
  await loadDocument(pathOf("maps", "d", "m", "neighbours", 409));
  await loadDocument(pathOf("maps", "d", "m", "neighbours", 0));
  expect(ask.mock.calls.map(([url]) => url)).toEqual(["api/maps/d/m/neighbours/0.json"]);
});
