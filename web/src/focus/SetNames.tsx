/** The annotation sets that hold the perturbation; a press colours the map by the set. */
import { goTo } from "../data/address";
import type { ProfileRow } from "../data/contract";
import { onListKey } from "../parts/arrowList";

export function SetNames({ sets }: { sets: ProfileRow["sets"] }) {
  if (sets.length === 0) return null;
  const sources = [...new Set(sets.map(({ source }) => source))];
  return (
    <section aria-labelledby="h-sets">
      <h3 id="h-sets">Sets</h3>
      {sources.map((source) => (
        <div key={source} class="set-group">
          <h4>{source}</h4>
          <ul class="chips" onKeyDown={onListKey}>
            {sets.filter((set) => set.source === source).map(({ set_id }) => (
              <li key={set_id}>
                <button type="button" data-item class="chip" title="Colour the map by this set" onClick={() => goTo({ view: "map", colour: `sets:${source}:${set_id}` })}>{set_id}</button>
              </li>
            ))}
          </ul>
        </div>
      ))}
    </section>
  );
}
