/** Which well, which site and which controls are shown. */
import { goTo } from "../data/address";
import type { PlateDocument, ProfileWell } from "../data/contract";
import { plateName } from "../maths/numbers";

export interface WellKey {
  experiment: string;
  plate: string;
  well: string;
}

export function wellText({ experiment, plate, well }: WellKey): string {
  return `${experiment}/${plate}/${well}`;
}

/** Returns the well that a text of the address names. */
export function parseWell(text: string | null): WellKey | null {
  const [experiment, plate, well] = (text ?? "").split("/");
  return experiment && plate && well ? { experiment, plate, well } : null;
}

function byPlate(wells: ProfileWell[]): Map<string, ProfileWell[]> {
  const plates = new Map<string, ProfileWell[]>();
  for (const well of wells) {
    const name = `${well.experiment_id}, ${plateName(well.plate_id)}`;
    plates.set(name, [...(plates.get(name) ?? []), well]);
  }
  return plates;
}

export function WellChooser({ wells, chosen }: { wells: ProfileWell[]; chosen: WellKey }) {
  const value = wellText(chosen);
  const keyOf = (well: ProfileWell) => wellText({ experiment: well.experiment_id, plate: well.plate_id, well: well.well_id });
  const isListed = wells.some((well) => keyOf(well) === value);
  const here = wells.findIndex((well) => keyOf(well) === value);
  const choose = (key: string) => goTo({ well: key, site: null, controls: [] }, false);
  return (
    <div class="field">
      <label class="field">
        <span>Plate and well</span>
        <select value={value} onChange={(event) => choose(event.currentTarget.value)}>
          {!isListed && <option value={value}>{value}</option>}
          {[...byPlate(wells)].map(([name, own]) => (
            <optgroup key={name} label={name}>
              {own.map((well) => <option key={keyOf(well)} value={keyOf(well)}>{well.well_id} · {name}</option>)}
            </optgroup>
          ))}
        </select>
      </label>
      {wells.length > 1 && <button type="button" aria-label="Next replicate" title="Next replicate" onClick={() => choose(keyOf(wells[(here + 1) % wells.length]))}>›</button>}
    </div>
  );
}

export function SiteChooser({ sites, site }: { sites: number[]; site: number }) {
  if (sites.length < 2) return null;
  return (
    <label class="field">
      <span>Site</span>
      <select value={site} onChange={(event) => goTo({ site: Number(event.currentTarget.value) }, false)}>
        {sites.map((each) => <option key={each} value={each}>{each}</option>)}
      </select>
    </label>
  );
}

/** Returns the plate's negative controls, in the order of the plate. */
export function controlWells(plate: PlateDocument): string[] {
  return Object.entries(plate.wells).filter(([, { control_kind }]) => control_kind === "negative").map(([well]) => well).sort();
}

const MOST_CONTROLS = 3;

export function ControlChooser({ all, chosen }: { all: string[]; chosen: string[] }) {
  const set = (wells: string[]) => goTo({ controls: wells }, false);
  const free = all.filter((well) => !chosen.includes(well));
  return (
    <div class="field">
      <span>Controls</span>
      {chosen.map((well, i) => (
        <select key={i} aria-label={`Control ${i + 1}`} value={well} onChange={(event) => set(chosen.map((other, k) => (k === i ? event.currentTarget.value : other)))}>
          {[well, ...free].sort().map((option) => <option key={option} value={option}>{option}</option>)}
        </select>
      ))}
      {chosen.length < MOST_CONTROLS && free.length > 0 && <button type="button" aria-label="One more control" title="One more control" onClick={() => set([...chosen, free[0]])}>+</button>}
      {chosen.length > 1 && <button type="button" aria-label="One control less" title="One control less" onClick={() => set(chosen.slice(0, -1))}>−</button>}
    </div>
  );
}
