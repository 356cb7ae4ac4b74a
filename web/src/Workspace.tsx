/** One map: its views on the left, what is in focus or selected on the right. */
import { useEffect, useMemo } from "preact/hooks";
import { BesideView } from "./beside/BesideView";
import { BesideChooser } from "./beside/BesideChooser";
import { goTo, type Address, type View } from "./data/address";
import type { HomeDocument } from "./data/contract";
import type { MapData } from "./data/mapData";
import { DoseView } from "./focus/DoseView";
import { FocusPanel } from "./focus/FocusPanel";
import { HeatMapView } from "./heatmap/HeatMapView";
import { ImagesView } from "./images/ImagesView";
import { MapView } from "./map/MapView";
import { count } from "./maths/numbers";
import { Tabs } from "./parts/Tabs";
import { noteRecent } from "./SearchBox";
import { SelectionPanel } from "./selection/SelectionPanel";

export interface ViewProps {
  map: MapData;
  address: Address;
  focus: number | null;
  selected: number[];
}

const VIEW_TABS: { value: View; label: string }[] = [
  { value: "map", label: "Map" },
  { value: "heatmap", label: "Heat map" },
  { value: "images", label: "Images" },
  { value: "doses", label: "Dose response" },
];

function MainView(props: ViewProps) {
  if (props.address.view === "heatmap") return <HeatMapView {...props} />;
  if (props.address.view === "images") return <ImagesView {...props} />;
  if (props.address.view === "doses") return <DoseView {...props} />;
  return <MapView {...props} />;
}

function SidePanel(props: ViewProps) {
  const { address, selected, focus, map } = props;
  const tabs = [
    { value: "focus" as const, label: "Focus" },
    { value: "selection" as const, label: "Selection", hint: selected.length ? count(selected.length) : undefined },
  ];
  return (
    <aside class="side" aria-label="Details">
      <Tabs label="Details" tabs={tabs} value={address.panel} onChange={(panel) => goTo({ panel }, false)} controls="side-panel" />
      <div id="side-panel" role="tabpanel" aria-label={address.panel === "focus" ? "Focus" : "Selection"}>
        {address.panel === "selection" ? <SelectionPanel map={map} rows={selected} address={address} /> : <FocusPanel {...props} key={focus ?? -1} />}
      </div>
    </aside>
  );
}

/** Escape leaves one thing after the other: the second map, then the focus. */
function useEscape(address: Address): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const isTyping = (event.target as HTMLElement).matches("input, textarea, select, dialog *");
      if (event.key !== "Escape" || isTyping || event.defaultPrevented) return;
      if (address.focus) goTo({ focus: null });
      else if (address.selected.length) goTo({ selected: [] });
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [address]);
}

export function Workspace({ home, map, address }: { home: HomeDocument; map: MapData; address: Address }) {
  const focus = useMemo(() => (address.focus ? (map.rowOf(address.focus) ?? map.rowsNamed(address.focus)[0] ?? null) : null), [map, address.focus]);
  const ids = address.selected.join(",");
  const selected = useMemo(() => address.selected.map((id) => map.rowOf(id)).filter((row): row is number => row !== null), [map, ids]);
  useEffect(() => {
    if (focus !== null) noteRecent(map, focus);
  }, [map, focus]);
  useEscape(address);
  const props: ViewProps = { map, address, focus, selected };
  return (
    <div class={address.beside ? "work beside" : "work"}>
      <main id="main" tabIndex={-1}>
        <div class="view-bar">
          <Tabs label="Views" tabs={VIEW_TABS} value={address.view} onChange={(view) => goTo({ view })} controls="main-view" />
          <BesideChooser home={home} map={map} address={address} />
        </div>
        <div id="main-view" role="tabpanel" aria-label={VIEW_TABS.find((tab) => tab.value === address.view)?.label}>
          {address.beside ? <BesideView home={home} {...props} /> : <MainView {...props} />}
        </div>
      </main>
      {!address.beside && <SidePanel {...props} />}
    </div>
  );
}
