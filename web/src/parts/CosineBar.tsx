/** A cosine as a number and a short bar from zero: right for alike, left for opposite. */
import { fixed } from "../maths/numbers";

export function CosineBar({ value }: { value: number | null }) {
  const half = Math.min(1, Math.abs(value ?? 0)) * 50;
  const isLeft = (value ?? 0) < 0;
  return (
    <span class="cosine">
      <span class="number">{fixed(value)}</span>
      <svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
        <rect class="track" x="0" y="3.4" width="100" height="1.2" />
        <rect class={isLeft ? "opposite" : "alike"} x={isLeft ? 50 - half : 50} y="0" width={half} height="8" />
      </svg>
    </span>
  );
}
