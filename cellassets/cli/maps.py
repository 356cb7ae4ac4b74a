"""`cellassets map`: what a map says about a gene or a compound, and its clusters."""

from typing import Annotated

import typer

from cellassets.cli.options import HomeOption, JsonOption, deployment_at
from cellassets.cli.output import show_rows

app = typer.Typer(no_args_is_help=True, help="Maps of perturbations.")


@app.command("nearest")
def show_nearest(
    dataset_id: str,
    model_key: str,
    perturbation_id: str,
    n_neighbours: Annotated[int, typer.Option("--n", min=1, help="Number of rows at most.")] = 10,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows the perturbations that are most similar to one on a map, with their cosines."""
    from cellassets.mapping.relate import nearest_perturbations
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import PERTURBATION_MAP

    published = deployment_at(home).lake.current("perturbation_map", dataset_id, model_key)
    units = read_table(published.path("map.parquet"), PERTURBATION_MAP)
    rows = nearest_perturbations(units, perturbation_id, n_neighbours).to_dicts()
    show_rows(rows, as_json=as_json, empty="this map has no other perturbation")


@app.command("clusters")
def show_clusters(
    dataset_id: str,
    model_key: str,
    perturbation_id: Annotated[
        str | None, typer.Option("--with", help="Only the clusters of this perturbation, with all of their members.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows the enriched clusters of a map, clearest first, or the clusters that a perturbation is in."""
    from cellassets.clustering.lookup import clusters_with, enriched_clusters
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import CLUSTERS, ENRICHMENT

    published = deployment_at(home).lake.current("map_clusters", dataset_id, model_key)
    clusters = read_table(published.path("clusters.parquet"), CLUSTERS)
    enrichment = read_table(published.path("enrichment.parquet"), ENRICHMENT)
    reason = published.record.summary.get("does_not_apply")
    if perturbation_id is None or reason:
        rows = enriched_clusters(clusters, enrichment)
        empty = f"not clustered: {reason}" if reason else "no cluster of this map is enriched in an annotated set"
    else:
        rows, empty = clusters_with(clusters, enrichment, perturbation_id), ""
    show_rows(rows.to_dicts(), as_json=as_json, empty=empty)
