/** The view "images": a well of the focus beside negative controls of the same plate, all moved and coloured together. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { goTo, type Address } from "../data/address";
import type { PlateDocument, ProfileWell } from "../data/contract";
import { loadDocument, pathOf } from "../data/loader";
import { useLoaded } from "../data/useDocument";
import { plateName } from "../maths/numbers";
import { EmptyLine, ErrorLine, LoadingLine } from "../parts/Notice";
import type { ViewProps } from "../Workspace";
import { Channels } from "./Channels";
import { formatSettings, parseSettings, usualSettings, type ImageSettings } from "./settings";
import { formatViewport, parseViewport, zoomedAt, WHOLE, type Viewport } from "./viewport";
import { ControlChooser, controlWells, parseWell, SiteChooser, WellChooser, type WellKey } from "./WellChoosers";
import { WellPanel } from "./WellPanel";

const SMALLEST_VIEW = 24; // pixels of the picture

/** The channel settings: the address holds them once a slider rests. */
function useSettings(plate: PlateDocument, address: Address) {
  const stored = useMemo(() => parseSettings(address.channels, plate), [address.channels, plate]);
  const [moving, setMoving] = useState<ImageSettings | null>(null);
  useEffect(() => setMoving(null), [stored]);
  const change = (settings: ImageSettings, isDone: boolean) => {
    setMoving(settings);
    const text = formatSettings(settings);
    if (isDone) goTo({ channels: text === formatSettings(usualSettings(plate)) ? null : text }, false);
  };
  return { settings: moving ?? stored, change };
}

/** The viewport: the address gets it when the hand rests. */
function useViewport(address: Address) {
  const [view, setView] = useState<Viewport>(() => parseViewport(address.at));
  const written = useRef(address.at);
  useEffect(() => {
    if (address.at !== written.current) setView(parseViewport(address.at));
    written.current = address.at;
  }, [address.at]);
  useEffect(() => {
    const later = setTimeout(() => {
      written.current = formatViewport(view);
      goTo({ at: written.current }, false);
    }, 400);
    return () => clearTimeout(later);
  }, [view]);
  return { view, setView };
}

function ZoomButtons({ setView, maxZoom, trueZoom }: { setView: (next: (view: Viewport) => Viewport) => void; maxZoom: number; trueZoom: number }) {
  return (
    <div class="buttons">
      <button type="button" aria-label="Zoom in" onClick={() => setView((view) => zoomedAt(view, 1.5, 0, 0, maxZoom))}>+</button>
      <button type="button" aria-label="Zoom out" onClick={() => setView((view) => zoomedAt(view, 1 / 1.5, 0, 0, maxZoom))}>−</button>
      <button type="button" onClick={() => setView(() => WHOLE)}>All</button>
      <button type="button" title="One pixel of the picture is one pixel of the screen" onClick={() => setView((view) => zoomedAt(view, trueZoom / view.zoom, 0, 0, maxZoom))}>1 : 1</button>
    </div>
  );
}

interface PlateProps {
  plate: PlateDocument;
  chosen: WellKey;
  wells: ProfileWell[];
  address: Address;
  name: string;
}

function sitesOf(plate: PlateDocument, well: string): number[] {
  return plate.wells[well]?.sites ?? [1];
}

/** The wanted site where the well has it, else the one with the nearest number. */
function nearestSite(sites: number[], wanted: number): number {
  return sites.reduce((best, site) => (Math.abs(site - wanted) < Math.abs(best - wanted) ? site : best), sites[0]);
}

function shownControls(plate: PlateDocument, address: Address, own: string): string[] {
  const all = controlWells(plate);
  const wanted = address.controls.filter((well) => all.includes(well));
  return wanted.length ? wanted : all.filter((well) => well !== own).slice(0, 1);
}

function PlatePictures({ plate, chosen, wells, address, name }: PlateProps) {
  const { settings, change } = useSettings(plate, address);
  const { view, setView } = useViewport(address);
  const grid = useRef<HTMLDivElement>(null);
  const controls = shownControls(plate, address, chosen.well);
  const maxZoom = Math.max(1, plate.width / SMALLEST_VIEW);
  const sites = sitesOf(plate, chosen.well);
  const site = nearestSite(sites, address.site ?? sites[0]);
  const panelWidth = grid.current?.querySelector("canvas")?.width ?? 400;
  const panels = [{ well: chosen.well, title: name, kind: "focus" }, ...controls.map((well) => ({ well, title: "negative control", kind: "control" }))];
  return (
    <section class="images-view" aria-label="Images">
      <div class="toolbar">
        <WellChooser wells={wells} chosen={chosen} />
        <SiteChooser sites={sites} site={site} />
        <ControlChooser all={controlWells(plate)} chosen={controls} />
        <ZoomButtons setView={setView} maxZoom={maxZoom} trueZoom={Math.max(1, plate.width / panelWidth)} />
      </div>
      {controls.length === 0 && <p class="why">This plate has no negative control with pictures.</p>}
      <div class="images-body">
        <div ref={grid} class={`wells n${panels.length}`}>
          {panels.map(({ well, title, kind }, i) => (
            <WellPanel
              key={`${i}`}
              plate={plate}
              site={{ experiment: chosen.experiment, plate: chosen.plate, well, site: nearestSite(sitesOf(plate, well), site) }}
              settings={settings}
              view={view}
              maxZoom={maxZoom}
              label={`${title}, well ${well}, ${plateName(chosen.plate)} of ${chosen.experiment}, site ${site}`}
              caption={<><b class={kind}>{title}</b> <span class="soft">{well} · {chosen.experiment}, {plateName(chosen.plate)} · site {nearestSite(sitesOf(plate, well), site)}</span></>}
              onView={setView}
            />
          ))}
        </div>
        <Channels plate={plate} settings={settings} onChange={change} />
      </div>
    </section>
  );
}

export function ImagesView({ map, address, focus }: ViewProps) {
  const profile = useLoaded(focus === null ? null : `${map.key}/${focus}`, () => map.profile(focus!));
  const wells = profile.value?.wells ?? [];
  const first = wells[0] && { experiment: wells[0].experiment_id, plate: wells[0].plate_id, well: wells[0].well_id };
  const chosen = parseWell(address.well) ?? first ?? null;
  const plate = useLoaded(chosen && `${chosen.experiment}/${chosen.plate}`, () => loadDocument<PlateDocument>(pathOf("images", chosen!.experiment, chosen!.plate)));
  if (focus === null && !chosen) return <EmptyLine>Search for a gene or compound to see its wells beside controls of the same plate.</EmptyLine>;
  if (profile.error) return <ErrorLine message={profile.error} />;
  if (!chosen) return profile.value ? <EmptyLine>No well is recorded for {map.labels[focus!]}.</EmptyLine> : <LoadingLine what="its wells" />;
  if (plate.error) return <ErrorLine message={plate.error} />;
  if (!plate.value) return <LoadingLine what="the plate" />;
  const own = plate.value.wells[chosen.well];
  const name = focus !== null && (!own || own.perturbation_id === map.id(focus)) ? map.labels[focus] : (own?.perturbation_id ?? chosen.well);
  return <PlatePictures key={`${chosen.experiment}/${chosen.plate}`} plate={plate.value} chosen={chosen} wells={wells} address={address} name={name} />;
}
