/** The head of the focus panel: name, kind and how strong the effect is. */
import { useEffect, useRef } from "preact/hooks";
import type { MapData } from "../data/mapData";
import { concentrationText, counted, fixed, probability } from "../maths/numbers";
import { takeHeading } from "../parts/Name";

function activity(map: MapData, row: number): string {
  const { is_active, activity_q_value, control_kind, not_tested } = map.index;
  if (control_kind[row]) return `${control_kind[row]} control`;
  const q = activity_q_value?.[row];
  const shown = q === null || q === undefined ? "" : `, q ${probability(q)}`;
  if (is_active[row] === null || is_active[row] === undefined) return `activity not tested${not_tested?.[row] ? `: ${not_tested[row]}` : ""}`;
  return is_active[row] ? `active: unlike the controls${shown}` : `not distinguishable from the controls${shown}`;
}

function subtitle(map: MapData, row: number): string {
  const { guide_id, concentration_um, compound_id, gene_symbol, perturbation_id } = map.index;
  const parts = [map.kind(row), guide_id[row] && `guide ${guide_id[row]}`];
  if (concentration_um[row] !== null) parts.push(concentrationText(concentration_um[row]));
  const id = perturbation_id[row];
  if (id !== gene_symbol[row] && id !== compound_id[row] && id !== map.labels[row]) parts.push(id);
  return parts.filter(Boolean).join(" · ");
}

export function Facts({ map, row }: { map: MapData; row: number }) {
  const { distance_sd, distance_sd_low, distance_sd_high, magnitude_q_value, n_wells, n_batches, agreement, cluster } = map.index;
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => takeHeading(heading.current), [row]);
  const low = distance_sd_low?.[row];
  const high = distance_sd_high?.[row];
  return (
    <header class="facts">
      <h2 id="focus-name" ref={heading} tabIndex={-1}>{map.index.gene_symbol[row] ?? map.index.compound_id[row] ?? map.labels[row]}</h2>
      <p class="soft">{subtitle(map, row)}</p>
      <p class={map.index.is_active[row] ? "state active" : "state"}>{activity(map, row)}</p>
      <dl>
        <div>
          <dt>Distance from controls</dt>
          <dd>
            {fixed(distance_sd[row], 1)} <span class="unit">SD</span>
            {low != null && high != null && <span class="interval">{fixed(low, 1)} to {fixed(high, 1)}</span>}
          </dd>
        </div>
        <div>
          <dt>Magnitude q</dt>
          <dd>{probability(magnitude_q_value?.[row])}</dd>
        </div>
        <div>
          <dt>Replicates</dt>
          <dd>{n_wells[row] ?? "–"} <span class="unit">{n_batches[row] ? `in ${counted(n_batches[row]!, "batch", "batches")}` : ""}</span></dd>
        </div>
        <div>
          <dt>Agreement</dt>
          <dd>{fixed(agreement[row])} <span class="unit">cosine</span></dd>
        </div>
        {cluster?.[row] != null && (
          <div>
            <dt>Cluster</dt>
            <dd>{cluster[row]}</dd>
          </div>
        )}
      </dl>
    </header>
  );
}
