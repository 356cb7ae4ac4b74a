/** The name of a perturbation, as a link to its own page. */
import { goTo, hrefTo, type Address } from "../data/address";
import type { MapData } from "../data/mapData";

interface Props {
  map: MapData;
  row: number;
  /** What else the link changes, for a map that is not the one in the address. */
  change?: Partial<Address>;
}

export function Name({ map, row, change }: Props) {
  const target: Partial<Address> = change ?? { focus: map.id(row), panel: "focus", well: null, site: null };
  const onClick = (event: MouseEvent) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    goTo(target);
  };
  return (
    <a class="name" href={hrefTo(target)} title={map.id(row)} onClick={onClick}>
      {map.labels[row]}
    </a>
  );
}
