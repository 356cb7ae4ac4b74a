"""`cellassets map`: what a map says about a gene or a compound, and its clusters."""

from typing import Annotated

import typer

from cellassets.cli.options import HomeOption, JsonOption, deployment_at
from cellassets.cli.output import show_rows

app = typer.Typer(no_args_is_help=True, help="Maps of perturbations.")
_SHARED = ["dataset_id", "dataset_fingerprint", "protocol_fingerprint", "model_key"]
_SHOWN = [
    "perturbation_id", "is_active", "distance_sd", "distance_sd_low", "distance_sd_high", "magnitude", "activity",
    "activity_q_value", "magnitude_q_value", "n_wells", "lowest_active_um", "not_tested",
]  # fmt: skip


@app.command("hits")
def show_hits(
    dataset_id: str,
    model_key: str,
    are_doses_shown: Annotated[
        bool, typer.Option("--doses", help="Show the lowest active dose of every compound instead.")
    ] = False,
    are_all_shown: Annotated[bool, typer.Option("--all", help="Show perturbations that are not active too.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows the active perturbations of a map, the farthest from the controls first."""
    import polars as pl

    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import HITS, LOWEST_ACTIVE_DOSES

    published = deployment_at(home).lake.current("active_perturbations", dataset_id, model_key)
    summary = published.record.summary
    if are_doses_shown:
        doses = read_table(published.file("lowest_active_doses.parquet"), LOWEST_ACTIVE_DOSES).drop(_SHARED)
        found = doses if are_all_shown else doses.filter(pl.col("lowest_active_um").is_not_null())
        rows = found.sort("lowest_active_um", "compound_id", nulls_last=True).to_dicts()
        show_rows(rows, as_json=as_json, empty=f"none of {summary['n_compounds']} compounds has a lowest active dose")
        return
    hits = read_table(published.file("hits.parquet"), HITS).drop(_SHARED)
    found = hits if are_all_shown else hits.filter("is_active")
    farthest = found.sort("distance_sd", "perturbation_id", descending=[True, False], nulls_last=True)
    shown = farthest if as_json else farthest.select(_SHOWN)
    empty = f"none of {summary['n_tested']} tested perturbations is active; --all shows their p-values"
    show_rows(shown.to_dicts(), as_json=as_json, empty=empty)


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
    units = read_table(published.file("map.parquet"), PERTURBATION_MAP)
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
    clusters = read_table(published.file("clusters.parquet"), CLUSTERS)
    enrichment = read_table(published.file("enrichment.parquet"), ENRICHMENT)
    reason = published.record.summary.get("does_not_apply")
    if perturbation_id is None or reason:
        rows = enriched_clusters(clusters, enrichment)
        empty = f"not clustered: {reason}" if reason else "no cluster of this map is enriched in an annotated set"
    else:
        rows, empty = clusters_with(clusters, enrichment, perturbation_id), ""
    show_rows(rows.to_dicts(), as_json=as_json, empty=empty)
