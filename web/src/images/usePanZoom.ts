/** Moves a viewport by mouse, touch (two fingers zoom) and keyboard. */
import { useEffect, useRef } from "preact/hooks";
import { moved, WHOLE, zoomedAt, type Viewport } from "./viewport";

interface Hand {
  x: number;
  y: number;
}

const KEYS: Record<string, [number, number]> = { ArrowLeft: [0.15, 0], ArrowRight: [-0.15, 0], ArrowUp: [0, 0.15], ArrowDown: [0, -0.15] };

export function keyedView(view: Viewport, key: string, maxZoom: number): Viewport | null {
  if (KEYS[key]) return moved(view, ...KEYS[key], maxZoom);
  if (key === "+" || key === "=") return zoomedAt(view, 1.5, 0, 0, maxZoom);
  if (key === "-") return zoomedAt(view, 1 / 1.5, 0, 0, maxZoom);
  return key === "0" ? WHOLE : null;
}

/** Attaches to the element; `change` gets the next viewport from the last one. */
export function usePanZoom(element: { current: HTMLElement | null }, change: (next: (view: Viewport) => Viewport) => void, maxZoom: number): void {
  const hands = useRef(new Map<number, Hand>());
  useEffect(() => {
    const target = element.current;
    if (!target) return;
    const fraction = (x: number, y: number): [number, number] => {
      const box = target.getBoundingClientRect();
      return [(x - box.left) / box.width - 0.5, (y - box.top) / box.height - 0.5];
    };
    const onWheel = (event: WheelEvent) => {
      event.preventDefault();
      const at = fraction(event.clientX, event.clientY);
      change((view) => zoomedAt(view, 2 ** (-event.deltaY / (event.deltaMode === 1 ? 12 : 300)), ...at, maxZoom));
    };
    const onDown = (event: PointerEvent) => {
      target.setPointerCapture(event.pointerId);
      hands.current.set(event.pointerId, { x: event.clientX, y: event.clientY });
    };
    const onMove = (event: PointerEvent) => {
      const before = hands.current.get(event.pointerId);
      if (!before) return;
      const after = { x: event.clientX, y: event.clientY };
      const other = [...hands.current].find(([id]) => id !== event.pointerId)?.[1];
      hands.current.set(event.pointerId, after);
      const share = other ? 0.5 : 1;
      const { width, height } = target.getBoundingClientRect();
      change((view) => {
        const shifted = moved(view, (share * (after.x - before.x)) / width, (share * (after.y - before.y)) / height, maxZoom);
        if (!other) return shifted;
        const factor = Math.hypot(after.x - other.x, after.y - other.y) / Math.max(1, Math.hypot(before.x - other.x, before.y - other.y));
        return zoomedAt(shifted, factor, ...fraction((after.x + other.x) / 2, (after.y + other.y) / 2), maxZoom);
      });
    };
    const onUp = (event: PointerEvent) => void hands.current.delete(event.pointerId);
    target.addEventListener("wheel", onWheel, { passive: false });
    target.addEventListener("pointerdown", onDown);
    target.addEventListener("pointermove", onMove);
    target.addEventListener("pointerup", onUp);
    target.addEventListener("pointercancel", onUp);
    return () => {
      target.removeEventListener("wheel", onWheel);
      target.removeEventListener("pointerdown", onDown);
      target.removeEventListener("pointermove", onMove);
      target.removeEventListener("pointerup", onUp);
      target.removeEventListener("pointercancel", onUp);
    };
  }, [maxZoom]);
}
