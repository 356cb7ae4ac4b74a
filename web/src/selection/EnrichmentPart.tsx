/** Which sets are over-represented in the selection, one source at a time. */
import { useMemo, useState } from "preact/hooks";
import { goTo } from "../data/address";
import type { AnnotationSource } from "../data/contract";
import type { MapData } from "../data/mapData";
import { useLoaded } from "../data/useDocument";
import { enrich, type Enriched } from "../maths/enrichment";
import { count, counted, fixed, probability } from "../maths/numbers";
import { csv, download } from "../parts/download";
import { EmptyLine, ErrorLine, LoadingLine } from "../parts/Notice";

const N_SHOWN = 15;

function enrichmentCsv(source: AnnotationSource, results: Enriched[]): string {
  const lines = results.map(({ id, overlap, size, expected, p, q, members }) => [source.name, id, overlap, size, expected, p, q, members.join(" ")]);
  return csv([["source", "set", "overlap", "set_size", "expected", "p_value", "q_value", "members"], ...lines]);
}

function ResultLine({ source, result }: { source: AnnotationSource; result: Enriched }) {
  return (
    <>
      <tr class={result.q <= 0.05 ? "certain" : ""}>
        <td>
          <button type="button" class="link" title="Colour the map by this set" onClick={() => goTo({ view: "map", colour: `sets:${source.name}:${result.id}` })}>{result.id}</button>
        </td>
        <td class="n">{result.overlap}<span class="of"> / {result.size}</span></td>
        <td class="n">{fixed(result.expected, 1)}</td>
        <td class="n">{probability(result.p)}</td>
        <td class="n q">{probability(result.q)}</td>
      </tr>
      <tr class="members">
        <td colSpan={5}>{result.members.slice(0, 16).join(", ")}{result.members.length > 16 ? ` and ${result.members.length - 16} more` : ""}</td>
      </tr>
    </>
  );
}

function SourceResult({ map, rows, source }: { map: MapData; rows: number[]; source: AnnotationSource }) {
  const [isLong, setLong] = useState(false);
  const outcome = useMemo(() => enrich(rows, source, (row) => map.entity(row)), [map, rows, source]);
  const met = outcome.results.filter(({ overlap }) => overlap > 0);
  const certain = met.filter(({ q }) => q <= 0.05).length;
  const head = outcome.nDrawn === 0
    ? `None of the selection is in the background of ${source.name}.`
    : `${counted(outcome.nDrawn, "gene or compound", "genes and compounds")} of the selection, of ${count(outcome.nBackground)} that ${source.name} could know; ${counted(outcome.nTested, "set")} tested, ${certain} with q ≤ 0.05.`;
  return (
    <>
      <p class="soft small">{head}</p>
      {met.length > 0 && (
        <table class="enrichment">
          <thead>
            <tr><th scope="col">Set</th><th scope="col" class="n">Overlap</th><th scope="col" class="n">Expected</th><th scope="col" class="n">p</th><th scope="col" class="n">q</th></tr>
          </thead>
          <tbody>{met.slice(0, isLong ? undefined : N_SHOWN).map((result) => <ResultLine key={result.id} source={source} result={result} />)}</tbody>
        </table>
      )}
      {met.length > N_SHOWN && <button type="button" class="more" aria-expanded={isLong} onClick={() => setLong(!isLong)}>{isLong ? `Only the first ${N_SHOWN}` : `All ${met.length} with an overlap`}</button>}
      {met.length > 0 && <button type="button" class="more" onClick={() => download(`enrichment-${source.name}.csv`, enrichmentCsv(source, outcome.results), "text/csv")}>CSV of all {outcome.nTested} tests</button>}
      <p class="soft small">Hypergeometric upper tail; q after Benjamini and Hochberg over all sets of the source with two members or more. Guides of one gene and doses of one compound count once.</p>
    </>
  );
}

export function EnrichmentPart({ map, rows }: { map: MapData; rows: number[] }) {
  const [wanted, setWanted] = useState<string | null>(null);
  const sets = useLoaded(map.key, () => map.sets());
  const sources = sets.value?.sources ?? [];
  const source = sources.find(({ name }) => name === wanted) ?? sources[0];
  return (
    <section aria-labelledby="h-enriched">
      <h3 id="h-enriched">Enriched</h3>
      {sets.isLoading && <LoadingLine what="annotation sets" />}
      {sets.error && <ErrorLine message={sets.error} />}
      {sets.value && !source && <EmptyLine>No annotation source is configured for this map.</EmptyLine>}
      {sources.length > 1 && (
        <label class="field">
          <span>Source</span>
          <select value={source?.name} onChange={(event) => setWanted(event.currentTarget.value)}>
            {sources.map(({ name, sets: all }) => <option key={name} value={name}>{name} ({counted(all.length, "set")})</option>)}
          </select>
        </label>
      )}
      {source && rows.length > 0 && <SourceResult map={map} rows={rows} source={source} />}
    </section>
  );
}
