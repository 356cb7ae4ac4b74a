/** The view "doses": the dose response of the compound in focus, large, and as a table. */
import { useLoaded } from "../data/useDocument";
import { concentrationText, fixed, probability } from "../maths/numbers";
import { Name } from "../parts/Name";
import { EmptyLine, ErrorLine, LoadingLine } from "../parts/Notice";
import { onListKey } from "../parts/arrowList";
import type { ViewProps } from "../Workspace";
import { DoseChart } from "./DoseChart";

function activeText(isActive: boolean | null): string {
  if (isActive === null) return "not tested";
  return isActive ? "yes" : "no";
}

export function DoseView({ map, focus }: ViewProps) {
  const profile = useLoaded(focus === null ? null : `${map.key}/${focus}`, () => map.profile(focus!));
  if (focus === null) return <EmptyLine>Search for a compound to see its dose response.</EmptyLine>;
  if (profile.error) return <ErrorLine message={profile.error} />;
  if (!profile.value) return <LoadingLine what="the dose response" />;
  const doses = profile.value.doses.slice().sort((a, b) => a.concentration_um - b.concentration_um);
  if (doses.length < 2) return <EmptyLine>{map.labels[focus]} was tested at one concentration or none, so there is no dose response to draw.</EmptyLine>;
  return (
    <section class="dose-view" aria-label="All concentrations">
      <h2>{map.index.compound_id[focus]}</h2>
      <DoseChart map={map} profile={profile.value} focus={focus} height={340} width={720} />
      <table onKeyDown={onListKey}>
        <thead>
          <tr><th scope="col">Concentration</th><th scope="col" class="n">Distance (SD)</th><th scope="col" class="n">Interval</th><th scope="col" class="n">q</th><th scope="col">Active</th></tr>
        </thead>
        <tbody>
          {doses.map((dose) => (
            <tr key={dose.row} class={dose.row === focus ? "here" : ""}>
              <td><Name map={map} row={dose.row} /> <span class="visually-hidden">{concentrationText(dose.concentration_um)}</span></td>
              <td class="n">{fixed(dose.distance_sd, 1)}</td>
              <td class="n">{dose.distance_sd_low === null ? "–" : `${fixed(dose.distance_sd_low, 1)} to ${fixed(dose.distance_sd_high, 1)}`}</td>
              <td class="n">{probability(dose.activity_q_value)}</td>
              <td>{activeText(dose.is_active)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
