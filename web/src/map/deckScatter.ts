/** The drawn points: a deck.gl canvas with one layer of points and one of rings, moved by mouse, touch and keyboard. */
import { Deck, OrthographicView, type OrthographicViewState } from "@deck.gl/core";
import { ScatterplotLayer } from "@deck.gl/layers";
import type { Rgb } from "../colour/palettes";
import { span } from "../maths/geometry";

export interface ScatterLook {
  colours: Rgb[];
  /** Points drawn faintly because they are outside the selection; empty: none. */
  isFaint: (row: number) => boolean;
  rings: { row: number; colour: Rgb; radius: number }[];
}

const FAINT = 40;
const SOLID = 225;

export class DeckScatter {
  private deck: Deck<OrthographicView>;
  private viewState: OrthographicViewState;
  private home: OrthographicViewState;
  private readonly observer: ResizeObserver;
  private points: { length: number; attributes: Record<string, { value: Float32Array | Uint8Array; size: number; normalized?: boolean }> };
  private look: ScatterLook | null = null;

  constructor(
    readonly element: HTMLDivElement,
    readonly x: Float32Array,
    readonly y: Float32Array,
    /** Pixels on the right that the legend covers. */
    readonly covered: number,
    onMove: () => void,
    onError: (error: Error) => void,
  ) {
    this.points = { length: x.length, attributes: {} };
    this.home = this.viewState = this.wholeMap();
    this.deck = new Deck({
      parent: element,
      deviceProps: { type: "webgl", webgl: { antialias: false } }, // the layer smooths its own edges
      views: new OrthographicView({ id: "map", flipY: false, controller: { keyboard: false, inertia: 150, dragRotate: false } }),
      viewState: this.viewState,
      onViewStateChange: ({ viewState }) => this.show(viewState as OrthographicViewState, onMove),
      getCursor: ({ isDragging }) => (isDragging ? "grabbing" : "default"),
      onError,
      onLoad: () => element.querySelector("canvas")?.setAttribute("tabindex", "-1"), // the frame around it takes the keys
      layers: [],
    });
    this.observer = new ResizeObserver(() => this.refit(onMove));
    this.observer.observe(element);
  }

  /** A map that nobody has moved keeps fitting its frame. */
  private refit(onMove: () => void): void {
    const isAtHome = this.viewState === this.home;
    this.home = this.wholeMap();
    if (isAtHome) this.show(this.home, onMove);
  }

  private wholeMap(): OrthographicViewState {
    const [[x0, x1], [y0, y1]] = [span(this.x), span(this.y)];
    const { clientWidth, clientHeight } = this.element;
    const covered = clientWidth > 3 * this.covered ? this.covered : 0;
    const scale = 0.92 * Math.min(((clientWidth || 600) - covered) / (x1 - x0 || 1), (clientHeight || 500) / (y1 - y0 || 1));
    return { target: [(x0 + x1) / 2 + covered / 2 / scale, (y0 + y1) / 2, 0], zoom: Math.log2(scale), minZoom: Math.log2(scale) - 2, maxZoom: Math.log2(scale) + 10 };
  }

  private get zoom(): number {
    return this.viewState.zoom as number;
  }

  private show(viewState: OrthographicViewState, onMove: () => void): void {
    this.viewState = viewState;
    this.deck.setProps({ viewState, layers: this.layers() });
    onMove();
  }

  private radius(): number {
    const base = this.x.length < 1000 ? 4.5 : this.x.length < 5000 ? 3.2 : 2;
    return Math.min(9, base * 1.22 ** Math.max(0, this.zoom - (this.home.zoom as number)));
  }

  private isPlaced(row: number): boolean {
    return Number.isFinite(this.x[row]) && Number.isFinite(this.y[row]);
  }

  private layers() {
    const radius = this.radius();
    const rings = (this.look?.rings ?? []).filter(({ row }) => this.isPlaced(row));
    return [
      new ScatterplotLayer({ id: "points", data: this.points as never, radiusUnits: "pixels", getRadius: radius, radiusMinPixels: 1, stroked: false, updateTriggers: { getRadius: radius } }),
      new ScatterplotLayer<(typeof rings)[number]>({
        id: "rings",
        data: rings,
        getPosition: ({ row }) => [this.x[row], this.y[row]],
        getRadius: (ring) => radius + ring.radius,
        getLineColor: ({ colour }) => colour,
        radiusUnits: "pixels",
        lineWidthUnits: "pixels",
        getLineWidth: 2,
        filled: false,
        stroked: true,
        updateTriggers: { getRadius: radius },
      }),
    ];
  }

  /** Draws with other colours and rings. */
  draw(look: ScatterLook): void {
    this.look = look;
    const n = this.x.length;
    const positions = new Float32Array(2 * n);
    const colours = new Uint8Array(4 * n);
    let i = 0;
    for (const isFaint of [true, false]) {
      for (let row = 0; row < n; row++) {
        if (!this.isPlaced(row) || look.isFaint(row) !== isFaint) continue; // faint points first, under the others
        positions[2 * i] = this.x[row];
        positions[2 * i + 1] = this.y[row];
        colours.set(look.colours[row], 4 * i);
        colours[4 * i + 3] = isFaint ? FAINT : SOLID;
        i++;
      }
    }
    this.points = { length: i, attributes: { getPosition: { value: positions, size: 2 }, getFillColor: { value: colours, size: 4, normalized: true } } };
    this.deck.setProps({ layers: this.layers() });
  }

  private get centre(): [number, number] {
    return this.viewState.target as [number, number];
  }

  /** Returns a row's place in pixels; null where the row has none. */
  place(row: number): [number, number] | null {
    if (!this.isPlaced(row)) return null;
    const [scale, [cx, cy]] = [2 ** this.zoom, this.centre];
    const { clientWidth, clientHeight } = this.element;
    return [clientWidth / 2 + (this.x[row] - cx) * scale, clientHeight / 2 - (this.y[row] - cy) * scale];
  }

  /** Returns the map's coordinates of a place in pixels. */
  at(px: number, py: number): [number, number] {
    const [scale, [cx, cy]] = [2 ** this.zoom, this.centre];
    const { clientWidth, clientHeight } = this.element;
    return [cx + (px - clientWidth / 2) / scale, cy - (py - clientHeight / 2) / scale];
  }

  /** Returns the row nearest to a place, at most `reach` pixels away. */
  rowAt(px: number, py: number, reach = 9): number | null {
    const centre = this.at(px, py);
    const limit = reach / 2 ** this.zoom;
    let nearest: number | null = null;
    let lowest = limit * limit;
    for (let i = 0; i < this.x.length; i++) {
      const square = (this.x[i] - centre[0]) ** 2 + (this.y[i] - centre[1]) ** 2;
      if (square < lowest) [lowest, nearest] = [square, i];
    }
    return nearest;
  }

  /** Moves by pixels and zooms by steps of two. */
  move(right: number, up: number, zoomSteps: number, onMove: () => void): void {
    const scale = 2 ** this.zoom;
    const [x, y] = this.centre;
    const zoom = Math.max(this.home.minZoom!, Math.min(this.home.maxZoom!, this.zoom + zoomSteps));
    this.show({ ...this.viewState, target: [x + right / scale, y + up / scale, 0], zoom }, onMove);
  }

  /** Shows the whole map again. */
  reset(onMove: () => void): void {
    this.home = this.wholeMap();
    this.show(this.home, onMove);
  }

  destroy(): void {
    this.observer.disconnect();
    this.deck.finalize();
    this.element.textContent = "";
  }
}
