/** Two maps side by side: the same focus and selection in both. */
import { useMemo } from "preact/hooks";
import { goTo, type Address } from "../data/address";
import type { HomeDocument } from "../data/contract";
import { loadMap, type MapData } from "../data/mapData";
import { useLoaded } from "../data/useDocument";
import { DoseView } from "../focus/DoseView";
import { ImagesView } from "../images/ImagesView";
import { EmptyLine, ErrorLine, LoadingLine } from "../parts/Notice";
import type { ViewProps } from "../Workspace";
import { BesideHeatMaps } from "./BesideHeatMaps";
import { BesideScatters } from "./BesideScatters";
import { matchRow } from "./matching";

export interface Side {
  map: MapData;
  focus: number | null;
  selected: number[];
}

export interface Sides {
  first: Side;
  second: Side;
  address: Address;
}

/** Finds the first map's focus and selection in the second map; ids that only the second has are found there too. */
function secondSide(first: Side, map: MapData, address: Address): Side {
  const focusId = address.focus;
  const focus = first.focus !== null ? matchRow(first.map, first.focus, map) : focusId ? map.rowOf(focusId) : null;
  const rows = address.selected.map((id) => {
    const row = first.map.rowOf(id);
    return map.rowOf(id) ?? (row === null ? null : matchRow(first.map, row, map));
  });
  return { map, focus, selected: [...new Set(rows.filter((row): row is number => row !== null))] };
}

function TwoDoses({ first, second, address }: Sides) {
  return (
    <div class="two-maps">
      {[first, second].map((side) => (
        <section key={side.map.key} aria-label={side.map.key}>
          <h2 class="map-name">{side.map.key}</h2>
          {address.focus && side.focus === null ? <EmptyLine>{address.focus} is not in this map.</EmptyLine> : <DoseView {...side} address={address} />}
        </section>
      ))}
    </div>
  );
}

function FirstImages({ first, address }: Sides) {
  return (
    <>
      <p class="why">
        Images are shown for {first.map.key}. <button type="button" class="link" onClick={() => swap(address)}>Swap the two maps</button> to see those of the other.
      </p>
      <ImagesView map={first.map} address={address} focus={first.focus} selected={first.selected} />
    </>
  );
}

/** The second map comes first, and the first one beside it. */
export function swap(address: Address): void {
  const [dataset, model] = (address.beside ?? "").split("/");
  goTo({ dataset, model, beside: `${address.dataset}/${address.model}`, well: null, site: null, controls: [] });
}

export function BesideView({ home, map, address, focus, selected }: ViewProps & { home: HomeDocument }) {
  const chosen = home.maps.find(({ dataset_id, model_key }) => `${dataset_id}/${model_key}` === address.beside) ?? null;
  const loaded = useLoaded(chosen && address.beside, () => loadMap(chosen!));
  const sides = useMemo<Sides | null>(() => {
    const first = { map, focus, selected };
    return loaded.value && { first, second: secondSide(first, loaded.value, address), address };
  }, [map, focus, selected, loaded.value, address]);
  if (!chosen) return <ErrorLine message={`There is no map ${address.beside} here to stand beside ${map.key}. Choose another one above.`} />;
  if (loaded.error) return <ErrorLine message={loaded.error} />;
  if (!sides) return <LoadingLine what={`the map ${address.beside}`} />;
  if (address.view === "heatmap") return <BesideHeatMaps {...sides} />;
  if (address.view === "doses") return <TwoDoses {...sides} />;
  if (address.view === "images") return <FirstImages {...sides} />;
  return <BesideScatters {...sides} />;
}
