/** Where the map comes from: its report, its run, its asset. */
import type { MapData } from "../data/mapData";

const TITLES = { report: "Report", dagster: "Dagster asset", mlflow: "MLflow run" } as const;

export function MapLinks({ map }: { map: MapData }) {
  const { links, published_at, exposure, cell_types, n_dimensions } = map.home;
  const shown = (Object.keys(TITLES) as (keyof typeof TITLES)[]).filter((key) => links?.[key]);
  const facts = [
    cell_types.length > 0 && cell_types.join(", "),
    `${n_dimensions} dimensions`,
    exposure && `exposure: ${exposure}`,
    published_at && `published ${published_at.slice(0, 10)}`,
  ];
  return (
    <footer class="map-links">
      <p class="soft small">{map.key} · {facts.filter(Boolean).join(" · ")}</p>
      {shown.length > 0 && <p>{shown.map((key) => <a key={key} href={links![key]!} rel="noreferrer">{TITLES[key]}</a>)}</p>}
    </footer>
  );
}
