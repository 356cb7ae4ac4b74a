/** What is selected, and what is enriched in it. */
import { useState } from "preact/hooks";
import { goTo, type Address } from "../data/address";
import type { MapData } from "../data/mapData";
import { counted } from "../maths/numbers";
import { copyText, csv, download } from "../parts/download";
import { Name } from "../parts/Name";
import { EmptyLine } from "../parts/Notice";
import { onListKey } from "../parts/arrowList";
import { EnrichmentPart } from "./EnrichmentPart";
import { PasteSelection } from "./PasteSelection";

const N_FIRST = 40;

function selectionCsv(map: MapData, rows: number[]): string {
  const { index } = map;
  const header = ["perturbation_id", "kind", "gene_symbol", "guide_id", "compound_id", "concentration_um", "n_wells", "distance_sd", "agreement", "cluster"];
  const lines = rows.map((row) => [
    map.id(row), map.kind(row), index.gene_symbol[row], index.guide_id[row], index.compound_id[row], index.concentration_um[row],
    index.n_wells[row], index.distance_sd[row], index.agreement[row], index.cluster?.[row] ?? null,
  ]);
  return csv([header, ...lines]);
}

function Members({ map, rows }: { map: MapData; rows: number[] }) {
  const [isLong, setLong] = useState(false);
  const shown = rows.slice(0, isLong ? undefined : N_FIRST);
  return (
    <>
      <ul class="chips" onKeyDown={onListKey} aria-label="Selected perturbations">
        {shown.map((row) => <li key={row}><Name map={map} row={row} /></li>)}
      </ul>
      {rows.length > N_FIRST && (
        <button type="button" class="more" aria-expanded={isLong} onClick={() => setLong(!isLong)}>{isLong ? `Only the first ${N_FIRST}` : `All ${rows.length}`}</button>
      )}
    </>
  );
}

export function SelectionPanel({ map, rows, address }: { map: MapData; rows: number[]; address: Address }) {
  const [said, setSaid] = useState("");
  const nMissing = address.selected.length - rows.length;
  const copy = async () => setSaid((await copyText(rows.map((row) => map.labels[row]).join("\n"))) ? "Copied" : "Not allowed");
  if (address.selected.length === 0) {
    return (
      <>
        <EmptyLine>Nothing is selected. Draw a lasso around points, press a group in the legend, or paste names.</EmptyLine>
        <PasteSelection map={map} selected={rows} />
      </>
    );
  }
  return (
    <article class="selection" aria-labelledby="selection-name">
      <h2 id="selection-name">{counted(rows.length, "perturbation")}</h2>
      {nMissing > 0 && <p class="why">{counted(nMissing, "selected id is", "selected ids are")} not in this map.</p>}
      <div class="buttons">
        <button type="button" onClick={() => goTo({ view: "heatmap" })}>Heat map</button>
        <button type="button" onClick={copy}><span aria-live="polite">{said || "Copy names"}</span></button>
        <button type="button" onClick={() => download("selection.csv", selectionCsv(map, rows), "text/csv")}>CSV</button>
        <button type="button" onClick={() => goTo({ selected: [] })}>Clear</button>
      </div>
      <Members map={map} rows={rows} />
      <EnrichmentPart map={map} rows={rows} />
    </article>
  );
}
