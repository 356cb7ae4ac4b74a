/** The other guides of the same gene: independent reagents should look alike. */
import type { ProfileRow } from "../data/contract";
import type { MapData } from "../data/mapData";
import { CosineBar } from "../parts/CosineBar";
import { Name } from "../parts/Name";
import { onListKey } from "../parts/arrowList";

export function Guides({ map, focus, guides }: { map: MapData; focus: number; guides: ProfileRow["guides"] }) {
  if (guides.length === 0) return null;
  return (
    <section aria-labelledby="h-guides">
      <h3 id="h-guides">Other guides of {map.index.gene_symbol[focus]}</h3>
      <table onKeyDown={onListKey}>
        <thead><tr><th scope="col">Guide</th><th scope="col" class="n">Cosine</th></tr></thead>
        <tbody>
          {guides.map(({ row, cosine }) => (
            <tr key={row}>
              <td><Name map={map} row={row} /></td>
              <td class="n"><CosineBar value={cosine} /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
