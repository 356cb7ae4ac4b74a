/** Relations that annotation sources record for the perturbation, and how alike the pair is in this map. */
import { useState } from "preact/hooks";
import type { ProfileRow } from "../data/contract";
import type { MapData } from "../data/mapData";
import { CosineBar } from "../parts/CosineBar";
import { Name } from "../parts/Name";
import { onListKey } from "../parts/arrowList";

const N_FIRST = 8;

export function Known({ map, known }: { map: MapData; known: ProfileRow["known"] }) {
  const [isLong, setLong] = useState(false);
  if (known.length === 0) return null;
  const ordered = known.slice().sort((a, b) => (b.cosine ?? -2) - (a.cosine ?? -2));
  return (
    <section aria-labelledby="h-known">
      <h3 id="h-known">Known relations</h3>
      <table onKeyDown={onListKey}>
        <thead><tr><th scope="col">With</th><th scope="col">Source</th><th scope="col" class="n">Cosine</th></tr></thead>
        <tbody>
          {ordered.slice(0, isLong ? undefined : N_FIRST).map(({ row, sources, cosine }) => (
            <tr key={row}>
              <td><Name map={map} row={row} /></td>
              <td class="soft">{sources.join(", ")}</td>
              <td class="n"><CosineBar value={cosine} /></td>
            </tr>
          ))}
        </tbody>
      </table>
      {known.length > N_FIRST && (
        <button type="button" class="more" aria-expanded={isLong} onClick={() => setLong(!isLong)}>{isLong ? `Only the first ${N_FIRST}` : `All ${known.length}`}</button>
      )}
    </section>
  );
}
