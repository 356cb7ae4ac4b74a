/** Dose response: distance from the controls at each concentration, with its interval. */
import type { Dose, ProfileRow } from "../data/contract";
import type { MapData } from "../data/mapData";
import { goTo } from "../data/address";
import { ticks } from "../maths/geometry";
import { concentrationText, fixed, probability } from "../maths/numbers";

const WIDTH = 380;
const LEFT = 40;
const RIGHT = 14;
const TOP = 14;
const BOTTOM = 38;

interface Props {
  map: MapData;
  profile: ProfileRow;
  focus: number;
  height: number;
  width?: number;
}

function label(dose: Dose): string {
  const interval = dose.distance_sd_low !== null ? `, interval ${fixed(dose.distance_sd_low, 1)} to ${fixed(dose.distance_sd_high, 1)}` : "";
  const active = dose.is_active === null ? "not tested" : dose.is_active ? "active" : "not active";
  return `${concentrationText(dose.concentration_um)}: ${fixed(dose.distance_sd, 1)} SD${interval}, q ${probability(dose.activity_q_value)}, ${active}`;
}

/** Returns functions from concentration and distance to pixels, and the ticks of the distance axis. */
function scales(doses: Dose[], width: number, height: number) {
  const logs = doses.map(({ concentration_um }) => Math.log10(concentration_um));
  const [low, high] = [Math.min(...logs) - 0.15, Math.max(...logs) + 0.15];
  const top = Math.max(1, ...doses.flatMap(({ distance_sd, distance_sd_high }) => [distance_sd ?? 0, distance_sd_high ?? 0]));
  const bottom = Math.min(0, ...doses.flatMap(({ distance_sd, distance_sd_low }) => [distance_sd ?? 0, distance_sd_low ?? 0]));
  const x = (um: number) => LEFT + ((Math.log10(um) - low) / (high - low)) * (width - LEFT - RIGHT);
  const y = (sd: number) => height - BOTTOM - ((sd - bottom) / (top - bottom)) * (height - BOTTOM - TOP);
  return { x, y, marks: ticks(bottom, top, 4) };
}

function Axes({ doses, width, height, x, y, marks }: { doses: Dose[]; width: number; height: number } & ReturnType<typeof scales>) {
  let last = -Infinity;
  const labelled = doses.filter(({ concentration_um }) => {
    if (x(concentration_um) - last < 46) return false;
    last = x(concentration_um);
    return true;
  });
  return (
    <g class="axes">
      {marks.map((mark) => (
        <g key={mark}>
          <line x1={LEFT} x2={width - RIGHT} y1={y(mark)} y2={y(mark)} />
          <text x={LEFT - 7} y={y(mark) + 4} text-anchor="end">{mark}</text>
        </g>
      ))}
      {labelled.map(({ concentration_um }) => (
        <text key={concentration_um} x={x(concentration_um)} y={height - BOTTOM + 18} text-anchor="middle">{concentrationText(concentration_um)}</text>
      ))}
      <text class="title" x={LEFT - 34} y={TOP - 3}>SD from controls</text>
    </g>
  );
}

function DosePoint({ dose, isFocus, x, y, onOpen }: { dose: Dose; isFocus: boolean; x: number; y: (sd: number) => number; onOpen: () => void }) {
  if (dose.distance_sd === null) return null;
  const kind = [dose.is_active ? "active" : "", isFocus ? "here" : ""].filter(Boolean).join(" ");
  return (
    <g class={`dose ${kind}`} tabIndex={0} role="link" aria-label={label(dose)} onClick={onOpen} onKeyDown={(event) => event.key === "Enter" && onOpen()}>
      <title>{label(dose)}</title>
      {dose.distance_sd_low !== null && dose.distance_sd_high !== null && <line x1={x} x2={x} y1={y(dose.distance_sd_low)} y2={y(dose.distance_sd_high)} />}
      {isFocus && <circle class="halo" cx={x} cy={y(dose.distance_sd)} r="9" />}
      <circle class="dot" cx={x} cy={y(dose.distance_sd)} r="4.5" />
    </g>
  );
}

export function DoseChart({ map, profile, focus, height, width = WIDTH }: Props) {
  const doses = profile.doses.filter(({ concentration_um }) => concentration_um > 0).sort((a, b) => a.concentration_um - b.concentration_um);
  if (doses.length < 2) return null;
  const scale = scales(doses, width, height);
  const known = doses.filter(({ distance_sd }) => distance_sd !== null);
  const path = known.map(({ concentration_um, distance_sd }) => `${scale.x(concentration_um)},${scale.y(distance_sd!)}`).join(" ");
  const lowest = profile.lowest_active_um;
  return (
    <figure class="dose-chart">
      <svg viewBox={`0 0 ${width} ${height}`} role="group" aria-label={`Dose response of ${map.index.compound_id[focus]}, ${doses.length} concentrations`}>
        <Axes doses={doses} width={width} height={height} {...scale} />
        {lowest !== null && <line class="lowest" x1={scale.x(lowest)} x2={scale.x(lowest)} y1={TOP} y2={height - BOTTOM} />}
        <polyline class="curve" points={path} />
        {doses.map((dose) => (
          <DosePoint key={dose.row} dose={dose} isFocus={dose.row === focus} x={scale.x(dose.concentration_um)} y={scale.y} onOpen={() => goTo({ focus: map.id(dose.row) })} />
        ))}
      </svg>
      <figcaption class="soft small">
        {lowest !== null ? `Lowest active concentration: ${concentrationText(lowest)}. ` : "No concentration is active. "}
        Filled: active. Bars: intervals.
      </figcaption>
    </figure>
  );
}
