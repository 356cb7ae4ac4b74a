/** The lasso: a layer over the points that draws the line and hands over its corners. */
import { useRef, useState } from "preact/hooks";

type Point = [number, number];

export function Lasso({ onDone }: { onDone: (corners: Point[], isAdding: boolean) => void }) {
  const [corners, setCorners] = useState<Point[]>([]);
  const drawing = useRef<Point[] | null>(null);
  const pointOf = (event: PointerEvent): Point => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const onDown = (event: PointerEvent) => {
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
    drawing.current = [pointOf(event)];
    setCorners(drawing.current);
  };
  const onMove = (event: PointerEvent) => {
    if (!drawing.current) return;
    const next = pointOf(event);
    const last = drawing.current[drawing.current.length - 1];
    if (Math.hypot(next[0] - last[0], next[1] - last[1]) < 3) return;
    drawing.current = [...drawing.current, next];
    setCorners(drawing.current);
  };
  const onUp = (event: PointerEvent) => {
    const done = drawing.current;
    drawing.current = null;
    setCorners([]);
    if (done && done.length > 2) onDone(done, event.shiftKey);
  };
  return (
    <svg class="lasso" aria-hidden="true" onPointerDown={onDown} onPointerMove={onMove} onPointerUp={onUp} onPointerCancel={onUp}>
      {corners.length > 1 && <polygon points={corners.map((corner) => corner.join(",")).join(" ")} />}
    </svg>
  );
}
