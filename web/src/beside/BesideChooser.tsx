/** Chooses a second map to stand beside the first. */
import { goTo, type Address } from "../data/address";
import type { HomeDocument } from "../data/contract";
import type { MapData } from "../data/mapData";
import { mapLabel } from "../Header";

export function BesideChooser({ home, map, address }: { home: HomeDocument; map: MapData; address: Address }) {
  const others = home.maps.filter(({ dataset_id, model_key }) => `${dataset_id}/${model_key}` !== map.key);
  if (others.length === 0) return null;
  return (
    <label class="field">
      <span>Beside</span>
      <select value={address.beside ?? ""} onChange={(event) => goTo({ beside: event.currentTarget.value || null })}>
        <option value="">no second map</option>
        {others.map((other) => {
          const key = `${other.dataset_id}/${other.model_key}`;
          return <option key={key} value={key}>{mapLabel(other)}</option>;
        })}
      </select>
    </label>
  );
}
