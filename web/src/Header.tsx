/** The top of the page: which map, the search box, the link to copy, light or dark. */
import { useState } from "preact/hooks";
import { goTo } from "./data/address";
import type { HomeDocument, HomeMap } from "./data/contract";
import type { MapData } from "./data/mapData";
import { copyText } from "./parts/download";
import { switchTheme, useTheme } from "./parts/theme";
import { SearchBox } from "./SearchBox";

const keyOf = (map: HomeMap) => `${map.dataset_id}/${map.model_key}`;

export function mapLabel(map: HomeMap): string {
  return `${map.dataset_id} · ${map.model_key}${map.is_champion ? " (champion)" : ""}`;
}

/** Changing the map keeps the focus and the selection: what the other map does not have is shown as missing there. */
function MapChooser({ home, chosen }: { home: HomeDocument; chosen: HomeMap | null }) {
  const onChange = (event: Event) => {
    const map = home.maps.find((candidate) => keyOf(candidate) === (event.target as HTMLSelectElement).value);
    if (map) goTo({ dataset: map.dataset_id, model: map.model_key, beside: null, well: null, site: null });
  };
  return (
    <label class="chooser">
      <span class="visually-hidden">Map</span>
      <select value={chosen ? keyOf(chosen) : ""} onChange={onChange}>
        {!chosen && <option value="">Choose a map</option>}
        {home.maps.map((map) => (
          <option key={keyOf(map)} value={keyOf(map)}>{mapLabel(map)}</option>
        ))}
      </select>
    </label>
  );
}

function CopyLink() {
  const [said, setSaid] = useState("");
  const copy = async () => {
    setSaid((await copyText(location.href)) ? "Copied" : "Not allowed");
    setTimeout(() => setSaid(""), 2000);
  };
  return (
    <button type="button" class="quiet" onClick={copy}>
      <span aria-live="polite">{said || "Copy link"}</span>
    </button>
  );
}

function ThemeSwitch() {
  const theme = useTheme();
  return (
    <button type="button" class="quiet icon" aria-pressed={theme === "dark"} aria-label="Dark page" title="Light or dark" onClick={switchTheme}>
      <svg viewBox="0 0 20 20" aria-hidden="true">
        {theme === "dark" ? <circle cx="10" cy="10" r="4.5" /> : <path d="M15.5 12.4A6.5 6.5 0 0 1 7.6 4.5a6.5 6.5 0 1 0 7.9 7.9z" />}
        {theme === "dark" && <path d="M10 1.5v2.4M10 16.1v2.4M1.5 10h2.4M16.1 10h2.4M4 4l1.7 1.7M14.3 14.3 16 16M4 16l1.7-1.7M14.3 5.7 16 4" class="rays" />}
      </svg>
    </button>
  );
}

export function Header({ home, map, chosen }: { home: HomeDocument | null; map: MapData | null; chosen: HomeMap | null }) {
  return (
    <header class="top">
      <h1 class="brand">{home?.title ?? "cellassets"} <span>map explorer</span></h1>
      {home && home.maps.length > 0 && <MapChooser home={home} chosen={chosen} />}
      <div class="top-search">{map && <SearchBox map={map} />}</div>
      <div class="top-actions">
        <CopyLink />
        <ThemeSwitch />
      </div>
    </header>
  );
}
