/** The most alike and the most opposite perturbations, with how sure that is and what was known. */
import { useState } from "preact/hooks";
import { selectRows } from "../map/MapView";
import type { Neighbour, NeighbourRow } from "../data/contract";
import type { MapData } from "../data/mapData";
import { probability } from "../maths/numbers";
import { CosineBar } from "../parts/CosineBar";
import { Name } from "../parts/Name";
import { onListKey } from "../parts/arrowList";

const N_FIRST = 10;

interface ListProps {
  title: string;
  map: MapData;
  neighbours: Neighbour[];
  /** Rows that the other map has too, for two maps side by side. */
  shared?: Set<number>;
  nameChange?: (row: number) => Parameters<typeof Name>[0]["change"];
}

function NeighbourLine({ map, neighbour, shared, nameChange }: { neighbour: Neighbour } & Omit<ListProps, "title" | "neighbours">) {
  const { row, cosine, p_value, q_value, relations } = neighbour;
  return (
    <tr class={q_value !== null && q_value <= 0.05 ? "certain" : ""}>
      <td>
        <Name map={map} row={row} change={nameChange?.(row)} />
        {shared?.has(row) && <span class="tag shared" title="A neighbour in both maps">both</span>}
        {relations.map((source) => <span key={source} class="tag" title={`A known relation in ${source}`}>{source}</span>)}
      </td>
      <td class="n"><CosineBar value={cosine} /></td>
      <td class="n">{probability(p_value)}</td>
      <td class="n q">{probability(q_value)}</td>
    </tr>
  );
}

/** One list: ten at first, all at a press. */
export function NeighbourList({ title, map, neighbours, shared, nameChange }: ListProps) {
  const [isLong, setLong] = useState(false);
  if (neighbours.length === 0) return <p class="notice empty">No {title.toLowerCase()} neighbours are recorded.</p>;
  return (
    <>
      <table class="neighbours" onKeyDown={onListKey}>
        <thead>
          <tr><th scope="col">{title}</th><th scope="col" class="n">Cosine</th><th scope="col" class="n">p</th><th scope="col" class="n">q</th></tr>
        </thead>
        <tbody>
          {neighbours.slice(0, isLong ? undefined : N_FIRST).map((neighbour) => (
            <NeighbourLine key={neighbour.row} map={map} neighbour={neighbour} shared={shared} nameChange={nameChange} />
          ))}
        </tbody>
      </table>
      {neighbours.length > N_FIRST && (
        <button type="button" class="more" aria-expanded={isLong} onClick={() => setLong(!isLong)}>
          {isLong ? `Only the first ${N_FIRST}` : `All ${neighbours.length}`}
        </button>
      )}
    </>
  );
}

/** Why the neighbours have no p-values. The map gives a clause ("it is not active, ..."). */
export function WhyNotTested({ why }: { why?: string | null }) {
  return why ? <p class="why">No p-values: {why}.</p> : null;
}

export function Neighbours({ map, neighbours }: { map: MapData; neighbours: NeighbourRow }) {
  const method = map.index.null?.method;
  const certain = neighbours.nearest.filter(({ q_value }) => q_value !== null && q_value <= 0.05);
  return (
    <section aria-labelledby="h-neighbours">
      <h3 id="h-neighbours">Neighbours</h3>
      <WhyNotTested why={neighbours.why_not_tested} />
      <NeighbourList title="Nearest" map={map} neighbours={neighbours.nearest} />
      <NeighbourList title="Opposite" map={map} neighbours={neighbours.opposite} />
      {certain.length > 1 && (
        <button type="button" class="more" onClick={() => selectRows(map, certain.map(({ row }) => row))}>
          Select the {certain.length} nearest with q ≤ 0.05
        </button>
      )}
      {method && <p class="soft small">How p is computed: {method}</p>}
    </section>
  );
}
