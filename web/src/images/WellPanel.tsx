/** One picture: a site of a well, drawn at the fineness that the screen can show. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import type { PlateDocument } from "../data/contract";
import { loadPlanes, type SiteKey } from "./planes";
import { render, type Planes } from "./render";
import type { ImageSettings } from "./settings";
import { keyedView, usePanZoom } from "./usePanZoom";
import { levelFor, scaleBarLength, type Viewport } from "./viewport";

interface Props {
  plate: PlateDocument;
  site: SiteKey;
  settings: ImageSettings;
  view: Viewport;
  maxZoom: number;
  label: string;
  caption: ComponentChildren;
  onView: (next: (view: Viewport) => Viewport) => void;
}

const keyOf = (site: SiteKey) => `${site.experiment}/${site.plate}/${site.well}/${site.site}`;

/** Loads the coarsest level first, then the wanted one; returns the best that has come. */
function usePlanes(site: SiteKey, wanted: number, nLevels: number): { planes: Planes | null; isFine: boolean; error: string | null } {
  const [state, setState] = useState<{ key: string; levels: Map<number, Planes>; error: string | null }>({ key: "", levels: new Map(), error: null });
  const key = keyOf(site);
  useEffect(() => {
    let isThere = true;
    const take = (level: number) =>
      loadPlanes(site, level).then(
        (planes) => isThere && setState((last) => ({ key, levels: new Map(last.key === key ? last.levels : []).set(level, planes), error: null })),
        (error: Error) => isThere && setState((last) => ({ key, levels: last.key === key ? last.levels : new Map(), error: error.message })),
      );
    const coarse = nLevels - 1;
    if (wanted < coarse) void take(coarse).then(() => isThere && take(wanted));
    else void take(wanted);
    return () => void (isThere = false);
  }, [key, wanted]);
  const levels = state.key === key ? state.levels : new Map<number, Planes>();
  const best = [...levels.keys()].sort((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted))[0];
  return { planes: best === undefined ? null : levels.get(best)!, isFine: best === wanted, error: state.key === key ? state.error : null };
}

/** The size of the element in screen pixels. */
function useScreenSize(element: { current: HTMLElement | null }): [number, number] {
  const [size, setSize] = useState<[number, number]>([0, 0]);
  useEffect(() => {
    const measure = () => {
      const ratio = Math.min(2, devicePixelRatio || 1);
      setSize([Math.round(element.current!.clientWidth * ratio), Math.round(element.current!.clientHeight * ratio)]);
    };
    const observer = new ResizeObserver(measure);
    observer.observe(element.current!);
    measure();
    return () => observer.disconnect();
  }, []);
  return size;
}

function ScaleBar({ visibleUm }: { visibleUm: number }) {
  const length = scaleBarLength(visibleUm);
  return (
    <div class="scale-bar" style={{ width: `${(100 * length) / visibleUm}%` }}>
      <span>{length >= 1 ? `${length} µm` : `${Math.round(length * 1000)} nm`}</span>
    </div>
  );
}

export function WellPanel({ plate, site, settings, view, maxZoom, label, caption, onView }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, height] = useScreenSize(frame);
  const wanted = width ? levelFor(view, width, plate.width, plate.n_levels) : plate.n_levels - 1;
  const { planes, isFine, error } = usePlanes(site, wanted, plate.n_levels);
  usePanZoom(frame, onView, maxZoom);
  useEffect(() => {
    if (!planes || !width || !height) return;
    const handle = requestAnimationFrame(() => {
      const context = canvas.current!.getContext("2d")!;
      const image = context.createImageData(width, height);
      render(planes, settings, view, image.data, width, height);
      context.putImageData(image, 0, 0);
    });
    return () => cancelAnimationFrame(handle);
  }, [planes, settings, view, width, height]);
  const onKey = (event: KeyboardEvent) => {
    const next = keyedView(view, event.key, maxZoom);
    if (!next) return;
    event.preventDefault();
    onView(() => next);
  };
  return (
    <figure class="well">
      <div ref={frame} class="well-frame" style={{ aspectRatio: `${plate.width} / ${plate.height}`, touchAction: view.zoom > 1 ? "none" : "pan-y" }} tabIndex={0} role="group" aria-roledescription="picture" aria-label={`${label}. Arrow keys move, plus and minus zoom, 0 shows all.`} onKeyDown={onKey}>
        <canvas ref={canvas} width={width || 1} height={height || 1} role="img" aria-label={label} data-level={isFine ? wanted : "loading"} />
        {!planes && !error && <p class="well-note">Loading …</p>}
        {error && <p class="well-note" role="alert">{error}</p>}
        {planes && plate.pixel_size_um !== null && <ScaleBar visibleUm={(plate.width * plate.pixel_size_um) / view.zoom} />}
      </div>
      <figcaption>{caption}</figcaption>
    </figure>
  );
}
