/** What the colours of the map mean. A group's button selects its members. */
import type { Colouring, Theme } from "../colour/encodings";
import { hexOf, sequential } from "../colour/palettes";
import { count, counted, fixed } from "../maths/numbers";

interface Props {
  colouring: Colouring;
  theme: Theme;
  onSelect: (rows: number[]) => void;
  /** The map's name, where there are two. */
  of?: string;
}

function ScaleLegend({ scale, theme }: { scale: NonNullable<Colouring["scale"]>; theme: Theme }) {
  const stops = Array.from({ length: 12 }, (_, i) => i / 11);
  return (
    <div class="scale">
      <svg viewBox="0 0 120 8" preserveAspectRatio="none" aria-hidden="true">
        {stops.map((at, i) => <rect key={i} x={i * 10} y="0" width="10.5" height="8" fill={hexOf(sequential(at, theme))} />)}
      </svg>
      <div class="scale-ends">
        <span>≤ {fixed(scale.low, scale.decimals)}</span>
        <span>≥ {fixed(scale.high, scale.decimals)}</span>
      </div>
      {scale.nUnknown > 0 && <p class="soft small">{counted(scale.nUnknown, "point")} without a value are grey.</p>}
    </div>
  );
}

export function Legend({ colouring, theme, onSelect, of }: Props) {
  return (
    <section class="legend" aria-label={of ? `Legend of ${of}` : "Legend"}>
      <h2>{colouring.title}</h2>
      {colouring.scale && <ScaleLegend scale={colouring.scale} theme={theme} />}
      {colouring.entries && (
        <ul>
          {colouring.entries.map(({ name, colour, rows, isRest }) => (
            <li key={name}>
              <button type="button" disabled={isRest} title={isRest ? undefined : `Select ${name}`} onClick={() => onSelect(rows)}>
                <svg viewBox="0 0 10 10" aria-hidden="true"><circle cx="5" cy="5" r="4.5" fill={hexOf(colour)} /></svg>
                <span>{name}</span>
                <span class="soft number">{count(rows.length)}</span>
              </button>
            </li>
          ))}
        </ul>
      )}
      {colouring.note && <p class="soft small">{colouring.note}</p>}
    </section>
  );
}
