/** The wells of the perturbation and how much each agrees with the others. A well's name opens its pictures. */
import { goTo, hrefTo } from "../data/address";
import type { ProfileWell } from "../data/contract";
import { fixed } from "../maths/numbers";
import { CosineBar } from "../parts/CosineBar";
import { onListKey } from "../parts/arrowList";

function WellLink({ well }: { well: ProfileWell }) {
  const target = { view: "images" as const, well: `${well.experiment_id}/${well.plate_id}/${well.well_id}`, site: null };
  return (
    <a class="name" href={hrefTo(target)} title="See the pictures of this well" onClick={(event) => { event.preventDefault(); goTo(target); }}>
      {well.well_id}
    </a>
  );
}

export function Replicates({ wells, agreement }: { wells: ProfileWell[]; agreement: number | null }) {
  if (wells.length === 0) return null;
  return (
    <section aria-labelledby="h-replicates">
      <h3 id="h-replicates">Replicates</h3>
      {agreement !== null && <p class="soft small">Mean cosine between replicate wells: {fixed(agreement)}.</p>}
      <table onKeyDown={onListKey}>
        <thead>
          <tr><th scope="col">Well</th><th scope="col">Plate</th><th scope="col">Experiment</th><th scope="col" class="n">Cosine to the others</th></tr>
        </thead>
        <tbody>
          {wells.map((well) => (
            <tr key={`${well.experiment_id}/${well.plate_id}/${well.well_id}`}>
              <td><WellLink well={well} /></td>
              <td>{well.plate_id}</td>
              <td>{well.experiment_id}</td>
              <td class="n"><CosineBar value={well.cosine_to_others} /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
