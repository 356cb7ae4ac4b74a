/** The whole page: loads the list of maps and the map that the address names. */
import { useEffect } from "preact/hooks";
import { goTo, useAddress, type Address } from "./data/address";
import type { HomeDocument, HomeMap } from "./data/contract";
import { loadDocument } from "./data/loader";
import { loadMap } from "./data/mapData";
import { useLoaded } from "./data/useDocument";
import { Header } from "./Header";
import { ErrorLine, LoadingLine } from "./parts/Notice";
import { Workspace } from "./Workspace";

const keyOf = (map: HomeMap) => `${map.dataset_id}/${map.model_key}`;

function mapOf(home: HomeDocument, address: Address): HomeMap | null {
  if (!address.dataset) return home.maps.find((map) => map.is_champion) ?? home.maps[0] ?? null;
  return home.maps.find((map) => map.dataset_id === address.dataset && map.model_key === address.model) ?? null;
}

function NoSuchMap({ home, address }: { home: HomeDocument; address: Address }) {
  if (home.maps.length === 0) return <ErrorLine message="There is no published map yet. Materialise `perturbation_map` for a dataset, then reload this page." />;
  return (
    <ErrorLine message={`There is no map ${address.dataset}/${address.model ?? ""} here. These maps exist:`}>
      <ul>
        {home.maps.map((map) => (
          <li key={keyOf(map)}>
            <a href={`#/${encodeURIComponent(map.dataset_id)}/${encodeURIComponent(map.model_key)}`}>{keyOf(map)}</a>
          </li>
        ))}
      </ul>
    </ErrorLine>
  );
}

export function App() {
  const address = useAddress();
  const home = useLoaded("home", () => loadDocument<HomeDocument>("home.json"));
  const chosen = home.value && mapOf(home.value, address);
  const map = useLoaded(chosen ? keyOf(chosen) : null, () => loadMap(chosen!));
  useEffect(() => {
    if (chosen && !address.dataset) goTo({ dataset: chosen.dataset_id, model: chosen.model_key }, false);
  }, [chosen, address.dataset]);
  useEffect(() => {
    const name = address.focus ?? (chosen ? keyOf(chosen) : "");
    document.title = [name, home.value?.title, "map explorer"].filter(Boolean).join(" · ");
  }, [address.focus, chosen, home.value]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById("main")?.focus(); }}>Skip to the map</a>
      <Header home={home.value} map={map.value} chosen={chosen} />
      {home.isLoading && <LoadingLine what="the list of maps" />}
      {home.error && <ErrorLine message={home.error} />}
      {home.value && !chosen && <NoSuchMap home={home.value} address={address} />}
      {map.isLoading && chosen && <LoadingLine what={`the map ${keyOf(chosen)}`} />}
      {map.error && <ErrorLine message={map.error} />}
      {map.value && home.value && <Workspace key={map.value.key} home={home.value} map={map.value} address={address} />}
    </>
  );
}
