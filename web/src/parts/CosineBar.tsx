/** A cosine as a number and a short bar: its length is the size, its colour the sign. */
import { fixed } from "../maths/numbers";

export function CosineBar({ value }: { value: number | null }) {
  const length = Math.min(1, Math.abs(value ?? 0)) * 100;
  return (
    <span class="cosine">
      <span class="number">{fixed(value)}</span>
      <svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
        <rect class="track" x="0" y="0" width="100" height="8" />
        <rect class={(value ?? 0) < 0 ? "opposite" : "alike"} x="0" y="0" width={length} height="8" />
      </svg>
    </span>
  );
}
