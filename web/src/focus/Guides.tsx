/** The guides of the gene: independent reagents should look alike. */
import type { Guide } from "../data/contract";
import { fixed } from "../maths/numbers";
import { CosineBar } from "../parts/CosineBar";

export function Guides({ gene, guides }: { gene: string | null; guides: Guide[] }) {
  if (guides.length === 0) return null;
  return (
    <section aria-labelledby="h-guides">
      <h3 id="h-guides">Guides{gene ? ` of ${gene}` : ""}</h3>
      <table>
        <thead>
          <tr><th scope="col">Guide</th><th scope="col" class="n">Wells</th><th scope="col" class="n">Agreement</th><th scope="col" class="n">Cosine to the other guides</th></tr>
        </thead>
        <tbody>
          {guides.map(({ guide_id, n_wells, agreement, cosine_to_others }) => (
            <tr key={guide_id}>
              <td class="id">{guide_id}</td>
              <td class="n">{n_wells}</td>
              <td class="n">{fixed(agreement)}</td>
              <td class="n"><CosineBar value={cosine_to_others} /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
