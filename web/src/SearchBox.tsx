/** Finds a gene, compound or perturbation by name (a combobox with a list); an empty box lists what was looked at last. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { goTo } from "./data/address";
import type { MapData } from "./data/mapData";
import { search } from "./maths/search";
import { recall, remember } from "./parts/memory";

const N_RECENT = 8;

function recentRows(map: MapData): number[] {
  const ids = (recall(`recent.${map.key}`) ?? "").split("\n").filter(Boolean);
  return ids.map((id) => map.rowOf(id)).filter((row): row is number => row !== null);
}

/** Puts a perturbation at the head of the recent ones. */
export function noteRecent(map: MapData, row: number): void {
  const ids = [row, ...recentRows(map).filter((other) => other !== row)].slice(0, N_RECENT).map((r) => map.id(r));
  remember(`recent.${map.key}`, ids.join("\n"));
}

function detail(map: MapData, row: number): string {
  const { n_wells, guide_id } = map.index;
  const parts = [map.kind(row), guide_id[row], n_wells[row] ? `${n_wells[row]} wells` : null];
  return parts.filter(Boolean).join(" · ");
}

function Options({ map, rows, active, onChoose }: { map: MapData; rows: number[]; active: number; onChoose: (row: number) => void }) {
  return (
    <>
      {rows.map((row, i) => (
        <li
          key={row}
          id={`option-${i}`}
          role="option"
          aria-selected={i === active}
          onPointerDown={(event) => { event.preventDefault(); onChoose(row); }}
        >
          <span class="option-name">{map.labels[row]}</span>
          <span class="soft">{detail(map, row)}</span>
        </li>
      ))}
    </>
  );
}

export function SearchBox({ map }: { map: MapData }) {
  const [typed, setTyped] = useState("");
  const [isOpen, setOpen] = useState(false);
  const [active, setActive] = useState(0);
  const input = useRef<HTMLInputElement>(null);
  const rows = useMemo(() => (typed.trim() ? search(map, typed) : recentRows(map)), [map, typed, isOpen]);
  useEffect(() => setActive(0), [typed]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const isTyping = (event.target as HTMLElement).matches("input, textarea, select");
      if (event.key !== "/" || isTyping) return;
      event.preventDefault();
      input.current?.focus();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  const choose = (row: number) => {
    goTo({ focus: map.id(row), panel: "focus", well: null, site: null });
    setTyped("");
    setOpen(false);
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "Escape") {
      if (isOpen) event.stopPropagation();
      setTyped("");
      setOpen(false);
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      setOpen(true);
      const step = event.key === "ArrowDown" ? 1 : -1;
      setActive((last) => (rows.length ? (last + step + rows.length) % rows.length : 0));
    } else if (event.key === "Enter" && rows[active] !== undefined) choose(rows[active]);
  };
  const isShown = isOpen && (rows.length > 0 || typed.trim() !== "");
  return (
    <div class="search" role="search">
      <input
        ref={input}
        type="text"
        role="combobox"
        aria-label="Find a gene, compound or perturbation"
        aria-expanded={isShown}
        aria-controls="search-list"
        aria-autocomplete="list"
        aria-activedescendant={isShown && rows.length ? `option-${active}` : undefined}
        placeholder="Find a gene or compound   ( / )"
        autocomplete="off"
        spellcheck={false}
        value={typed}
        onInput={(event) => { setTyped(event.currentTarget.value); setOpen(true); }}
        onFocus={() => setOpen(true)}
        onBlur={() => setOpen(false)}
        onKeyDown={onKey}
      />
      <ul id="search-list" role="listbox" aria-label={typed.trim() ? "Matches" : "Recent"} hidden={!isShown}>
        {isShown && !typed.trim() && <li class="list-title" role="presentation">Recent</li>}
        {isShown && <Options map={map} rows={rows} active={active} onChoose={choose} />}
        {isShown && rows.length === 0 && <li class="list-title" role="presentation">No name in this map holds “{typed.trim()}”.</li>}
      </ul>
    </div>
  );
}
