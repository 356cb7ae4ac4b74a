/** The name of a perturbation, as a link to its own page. */
import { goTo, hrefTo, type Address } from "../data/address";
import type { MapData } from "../data/mapData";

let isHeadingWanted = false;

export function askForHeading(): void {
  isHeadingWanted = true;
}

/** Moves the keyboard's place to a heading that has just come, where a key brought it. */
export function takeHeading(heading: HTMLElement | null): void {
  if (isHeadingWanted) heading?.focus({ preventScroll: false });
  isHeadingWanted = false;
}

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
    if (event.detail === 0) askForHeading(); // pressed by key: the link will be gone, the heading takes its place
    goTo(target);
  };
  return (
    <a class="name" href={hrefTo(target)} title={map.id(row)} onClick={onClick}>
      {map.labels[row]}
    </a>
  );
}
