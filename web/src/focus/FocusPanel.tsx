/** What is known of the perturbation in focus. */
import type { NeighbourRow, ProfileRow } from "../data/contract";
import { goTo } from "../data/address";
import { useLoaded, type Loading } from "../data/useDocument";
import { EmptyLine, ErrorLine, LoadingLine } from "../parts/Notice";
import type { ViewProps } from "../Workspace";
import { DoseChart } from "./DoseChart";
import { Facts } from "./Facts";
import { Guides } from "./Guides";
import { Known } from "./Known";
import { MapLinks } from "./MapLinks";
import { Neighbours } from "./Neighbours";
import { Replicates } from "./Replicates";
import { SetNames } from "./SetNames";

function NothingInFocus({ wanted }: { wanted: string | null }) {
  if (wanted) return <EmptyLine>This map has no perturbation {wanted}. It may have another name here, or was not in this screen.</EmptyLine>;
  return (
    <EmptyLine>
      Search for a gene or compound, or click a point of the map. Its neighbours, replicates, dose response and known
      relations are shown here. Press <kbd>/</kbd> to search.
    </EmptyLine>
  );
}

function ProfileParts({ profile, map, focus }: { profile: Loading<ProfileRow>; map: ViewProps["map"]; focus: number }) {
  if (profile.error) return <ErrorLine message={profile.error} />;
  if (!profile.value) return <LoadingLine what="its replicates" />;
  const { doses } = profile.value;
  return (
    <>
      {doses.length > 1 && (
        <section aria-labelledby="h-doses">
          <h3 id="h-doses">Dose response</h3>
          <DoseChart map={map} profile={profile.value} focus={focus} height={190} />
        </section>
      )}
      <Guides gene={map.index.gene_symbol[focus]} guides={profile.value.guides} />
      <Replicates wells={profile.value.wells} agreement={map.index.agreement[focus]} />
      <Known map={map} known={profile.value.known} />
      <SetNames sets={profile.value.sets} />
    </>
  );
}

function NeighbourPart({ loaded, map }: { loaded: Loading<NeighbourRow>; map: ViewProps["map"] }) {
  if (loaded.error) return <ErrorLine message={loaded.error} />;
  if (!loaded.value) return <LoadingLine what="its neighbours" />;
  return <Neighbours map={map} neighbours={loaded.value} />;
}

export function FocusPanel({ map, address, focus, selected }: ViewProps) {
  const key = focus === null ? null : `${map.key}/${focus}`;
  const neighbours = useLoaded(key, () => map.neighbours(focus!));
  const profile = useLoaded(key, () => map.profile(focus!));
  if (focus === null) return <NothingInFocus wanted={address.focus} />;
  const isSelected = selected.includes(focus);
  const toggle = () => {
    const rows = isSelected ? selected.filter((row) => row !== focus) : [...selected, focus];
    goTo({ selected: rows.map((row) => map.id(row)) });
  };
  return (
    <article class="focus" aria-labelledby="focus-name">
      <Facts map={map} row={focus} />
      <div class="buttons">
        <button type="button" onClick={() => goTo({ view: "images" })}>Images</button>
        <button type="button" aria-pressed={isSelected} onClick={toggle}>{isSelected ? "In the selection" : "Add to selection"}</button>
      </div>
      <NeighbourPart loaded={neighbours} map={map} />
      <ProfileParts profile={profile} map={map} focus={focus} />
      <MapLinks map={map} />
    </article>
  );
}
