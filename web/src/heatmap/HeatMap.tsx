/** The drawn heat map: cells on a canvas, names and dendrogram around it, read by pointer or arrow keys. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Theme } from "../colour/encodings";
import { diverging, hexOf } from "../colour/palettes";
import { fixed } from "../maths/numbers";
import { cellCanvas, treePath, type HeatMapData } from "./picture";

const TREE = 56;
const SMALLEST_NAMED = 8;

interface Props {
  data: HeatMapData;
  theme: Theme;
  /** Pixels per cell; 0 fits the width. */
  cell: number;
  label: string;
  marked?: Set<number>;
  onOpen: (place: number) => void;
}

/** Width of the element in CSS pixels. */
function useWidth(element: { current: HTMLElement | null }): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(() => setWidth(element.current?.clientWidth ?? 0));
    observer.observe(element.current!);
    return () => observer.disconnect();
  }, []);
  return width;
}

export function ColourScale({ theme }: { theme: Theme }) {
  return (
    <div class="cosine-scale">
      <svg viewBox="0 0 82 8" preserveAspectRatio="none" aria-hidden="true">
        {Array.from({ length: 41 }, (_, i) => <rect key={i} x={i * 2} width="2.1" height="8" fill={hexOf(diverging(i / 20 - 1, theme))} />)}
      </svg>
      <div class="scale-ends"><span>−1</span><span>0</span><span>1</span></div>
    </div>
  );
}

function Names({ labels, cell, active, marked }: { labels: string[]; cell: number; active: [number, number] | null; marked?: Set<number> }) {
  const font = Math.min(12, cell * 0.84);
  const classOf = (i: number, side: 0 | 1) => [active?.[side] === i ? "active" : "", marked?.has(i) ? "marked" : ""].join(" ");
  return (
    <>
      {labels.map((label, i) => <text key={`r${i}`} class={classOf(i, 0)} font-size={font} x={labels.length * cell + 6} y={(i + 0.5) * cell + font * 0.35}>{label}</text>)}
      {labels.map((label, i) => <text key={`c${i}`} class={classOf(i, 1)} font-size={font} transform={`translate(${(i + 0.5) * cell + font * 0.35},-6) rotate(-90)`}>{label}</text>)}
    </>
  );
}

const STEPS: Record<string, [number, number]> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function readout({ labels, matrix }: HeatMapData, active: [number, number] | null): string {
  if (!active) return "Point at a cell, or move with the arrow keys. A press puts its row in focus.";
  const cosine = matrix[active[0] * labels.length + active[1]];
  return `${labels[active[0]]} × ${labels[active[1]]}: ${Number.isNaN(cosine) ? "not in this map" : `cosine ${fixed(cosine)}`}`;
}

export function HeatMap({ data, theme, cell: wanted, label, marked, onOpen }: Props) {
  const { labels, matrix, tree } = data;
  const n = labels.length;
  const frame = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [active, setActive] = useState<[number, number] | null>(null);
  const width = useWidth(frame);
  const longest = useMemo(() => Math.max(...labels.map((name) => name.length)), [labels]);
  const margin = Math.min(150, longest * 6.6 + 14);
  const left = tree ? TREE + 6 : 0;
  const fit = Math.min(22, Math.max(0.5, (width - left - margin - 4) / n));
  const bare = Math.min(22, Math.max(0.5, Math.min(width - left - 8, Math.max(320, innerHeight - 260)) / n));
  const cell = wanted || (fit >= SMALLEST_NAMED ? fit : bare);
  const isNamed = cell >= SMALLEST_NAMED;
  const size = n * cell;
  const top = isNamed ? margin : 4;
  useEffect(() => {
    const target = canvas.current!;
    const context = target.getContext("2d")!;
    context.imageSmoothingEnabled = false;
    context.drawImage(cellCanvas(matrix, n, theme), 0, 0, target.width, target.height);
  }, [matrix, theme, size]);
  const cellAt = (event: MouseEvent): [number, number] | null => {
    const box = canvas.current!.getBoundingClientRect();
    const [i, j] = [Math.floor((event.clientY - box.top) / cell), Math.floor((event.clientX - box.left) / cell)];
    return i >= 0 && j >= 0 && i < n && j < n ? [i, j] : null;
  };
  const onKey = (event: KeyboardEvent) => {
    const step = STEPS[event.key];
    if (event.key === "Enter" && active) return onOpen(active[0]);
    if (!step) return;
    event.preventDefault();
    setActive((last) => { const [i, j] = last ?? [0, 0]; return [Math.max(0, Math.min(n - 1, i + step[0])), Math.max(0, Math.min(n - 1, j + step[1]))]; });
  };
  const pixels = Math.max(1, Math.round(size * Math.min(2, devicePixelRatio || 1)));
  return (
    <div class="heatmap" ref={frame}>
      <p class="readout" aria-live="polite">{readout(data, active)}</p>
      <div class="heatmap-scroll" tabIndex={0} role="group" aria-roledescription="heat map" aria-label={label} onKeyDown={onKey}>
        <svg width={left + size + (isNamed ? margin : 4)} height={top + size + 4} aria-hidden="true">
          {tree && <path class="tree" stroke-width={Math.min(0.9, cell / 3)} d={treePath(tree, cell, TREE)} transform={`translate(0,${top})`} />}
          <g transform={`translate(${left},${top})`}>{isNamed && <Names labels={labels} cell={cell} active={active} marked={marked} />}</g>
        </svg>
        <canvas
          ref={canvas}
          width={pixels}
          height={pixels}
          aria-hidden="true"
          style={{ left: `${left}px`, top: `${top}px`, width: `${size}px`, height: `${size}px` }}
          onPointerMove={(event) => setActive(cellAt(event))}
          onPointerLeave={() => setActive(null)}
          onClick={(event) => { const at = cellAt(event); if (at) onOpen(at[0]); }}
        />
        {active && <div class="cell-mark" style={{ left: `${left + active[1] * cell}px`, top: `${top + active[0] * cell}px`, width: `${cell}px`, height: `${cell}px` }} />}
      </div>
    </div>
  );
}
