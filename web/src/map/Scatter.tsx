/** The 2-D map of all perturbations: hover names a point, a click puts it in focus, the lasso selects. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Colouring, Theme } from "../colour/encodings";
import type { Rgb } from "../colour/palettes";
import type { MapData } from "../data/mapData";
import { pointsInside } from "../maths/geometry";
import { fixed } from "../maths/numbers";
import { DeckScatter } from "./deckScatter";
import { Lasso } from "./Lasso";

export interface ScatterProps {
  map: MapData;
  colouring: Colouring;
  theme: Theme;
  focus: number | null;
  selected: number[];
  neighbours: number[];
  isLasso: boolean;
  /** Pixels on the right that a legend covers. */
  covered?: number;
  label: string;
  onFocus: (row: number) => void;
  onLasso: (rows: number[], isAdding: boolean) => void;
  onFailure: (message: string) => void;
}

const INK: Record<Theme, Rgb> = { light: [20, 24, 28], dark: [245, 247, 249] };
const ARROWS: Record<string, [number, number, number]> = {
  ArrowLeft: [-60, 0, 0], ArrowRight: [60, 0, 0], ArrowUp: [0, 60, 0], ArrowDown: [0, -60, 0], "+": [0, 0, 0.5], "=": [0, 0, 0.5], "-": [0, 0, -0.5],
};

/** Keeps one DeckScatter for the element and redraws it when the look changes. */
function useScatter({ map, colouring, theme, focus, selected, neighbours, covered, onFailure }: ScatterProps, element: { current: HTMLDivElement | null }) {
  const scatter = useRef<DeckScatter | null>(null);
  const [, setMoves] = useState(0);
  const onMove = useMemo(() => () => setMoves((n) => n + 1), []);
  useEffect(() => {
    try {
      scatter.current = new DeckScatter(element.current!, map.x!, map.y!, covered ?? 0, onMove, (error) => onFailure(error.message));
    } catch (error) {
      onFailure(String(error));
    }
    return () => scatter.current?.destroy();
  }, [map]);
  useEffect(() => {
    const chosen = new Set(selected);
    const rings = neighbours.map((row) => ({ row, colour: INK[theme], radius: 1.5 }));
    if (focus !== null) rings.push({ row: focus, colour: INK[theme], radius: 5 });
    scatter.current?.draw({ colours: colouring.colours, isFaint: (row) => chosen.size > 0 && !chosen.has(row) && row !== focus, rings });
    onMove();
  }, [map, colouring, theme, focus, selected, neighbours]);
  return { scatter, onMove };
}

function PointLabel({ map, row, at, isHover }: { map: MapData; row: number; at: [number, number]; isHover: boolean }) {
  const { distance_sd, cluster } = map.index;
  const facts = [map.kind(row), distance_sd[row] === null ? null : `${fixed(distance_sd[row], 1)} SD`, cluster?.[row] == null ? null : `cluster ${cluster[row]}`];
  return (
    <div class={isHover ? "point-label hover" : "point-label"} style={{ left: `${at[0]}px`, top: `${at[1]}px` }}>
      <b>{map.labels[row]}</b>
      {isHover && <span>{facts.filter(Boolean).join(" · ")}</span>}
    </div>
  );
}

export function Scatter(props: ScatterProps) {
  const { map, focus, isLasso, label, onFocus, onLasso } = props;
  const element = useRef<HTMLDivElement>(null);
  const down = useRef<[number, number] | null>(null);
  const [hover, setHover] = useState<number | null>(null);
  const { scatter, onMove } = useScatter(props, element);
  const rowAt = (event: PointerEvent) => {
    const box = element.current!.getBoundingClientRect();
    return scatter.current?.rowAt(event.clientX - box.left, event.clientY - box.top, event.pointerType === "touch" ? 18 : 9) ?? null;
  };
  const onUp = (event: PointerEvent) => {
    const start = down.current;
    down.current = null;
    if (!start || Math.hypot(event.clientX - start[0], event.clientY - start[1]) > 5) return;
    const row = rowAt(event);
    if (row !== null) onFocus(row);
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "0") scatter.current?.reset(onMove);
    else if (ARROWS[event.key]) scatter.current?.move(...ARROWS[event.key], onMove);
    else return;
    event.preventDefault();
  };
  const finishLasso = (corners: [number, number][], isAdding: boolean) => {
    const polygon = corners.map(([x, y]) => scatter.current!.at(x, y));
    onLasso(pointsInside(map.x!, map.y!, polygon), isAdding);
  };
  const hoverAt = hover !== null ? scatter.current?.place(hover) : null;
  const focusAt = focus !== null ? scatter.current?.place(focus) : null;
  return (
    <div class="scatter" tabIndex={0} role="group" aria-roledescription="scatter plot" aria-label={label} onKeyDown={onKey}>
      <div
        ref={element}
        class={hover !== null ? "scatter-canvas pointing" : "scatter-canvas"}
        onPointerDown={(event) => void (down.current = [event.clientX, event.clientY])}
        onPointerMove={(event) => event.buttons === 0 && setHover(rowAt(event))}
        onPointerLeave={() => setHover(null)}
        onPointerUp={onUp}
      />
      {focusAt && hover !== focus && <PointLabel map={map} row={focus!} at={focusAt} isHover={false} />}
      {hoverAt && <PointLabel map={map} row={hover!} at={hoverAt} isHover />}
      {isLasso && <Lasso onDone={finishLasso} />}
      <div class="zoom-buttons">
        <button type="button" aria-label="Zoom in" onClick={() => scatter.current?.move(0, 0, 0.75, onMove)}>+</button>
        <button type="button" aria-label="Zoom out" onClick={() => scatter.current?.move(0, 0, -0.75, onMove)}>−</button>
        <button type="button" aria-label="Show the whole map" onClick={() => scatter.current?.reset(onMove)}>⤢</button>
      </div>
    </div>
  );
}
