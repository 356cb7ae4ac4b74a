"""SQL over all current publications, with one view per kind of table; only the views of a statement are opened."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from cellassets.errors import ConfigError
from cellassets.stages.benchmark import KIND, is_readable
from cellassets.stages.costs import VIEW, costs_table
from cellassets.storage.lake import Lake
from cellassets.storage.ledger import Ledger
from cellassets.storage.objects import in_parallel

if TYPE_CHECKING:
    import polars as pl
    from upath import UPath

# (kind of artefact, name of its file without number and suffix) -> view
VIEWS = {
    ("raw_plates", "images"): "images",
    ("raw_plates", "wells"): "wells",
    ("raw_plates", "findings"): "findings",
    ("plate_store", "sites"): "sites",
    ("plate_quality", "quality"): "quality",
    ("site_embeddings", "part"): "site_embeddings",
    ("perturbation_map", "map"): "perturbation_map",
    ("perturbation_map", "wells"): "aligned_wells",
    ("perturbation_map", "wells_raw"): "raw_wells",
    ("perturbation_map", "batch_effect"): "batch_effect",
    ("benchmark", "scores"): "scores",
    ("benchmark", "influences"): "influences",
    ("benchmark", "published"): "published_statistics",
    ("map_clusters", "clusters"): "clusters",
    ("map_clusters", "enrichment"): "enrichment",
    ("map_clusters", "points"): "map_points",
    ("active_perturbations", "hits"): "hits",
    ("active_perturbations", "lowest_active_doses"): "lowest_active_doses",
    ("active_perturbations", "active_scores"): "active_scores",
    ("leaderboard", "leaderboard"): "leaderboard",
    ("leaderboard", "differences"): "differences",
    ("leaderboard", "recall_by_source"): "recall_by_source",
    ("production_model", "comparisons"): "gate",
}


def query_lake(lake: Lake, statement: str) -> "pl.DataFrame":
    """Returns the result of one SELECT over the published tables of a local lake.

    Args:
        lake: a lake in a local folder.
        statement: one SELECT over the views in `VIEWS`, and over `costs`; a view without rows does not exist.

    Raises:
        ConfigError: the lake is not local, or the statement is not one valid SELECT over these views.
    """
    from cellassets.tables.sql import query, views_of

    wanted = views_of(statement) or {*VIEWS.values(), VIEW}
    costs = costs_table(Ledger(lake.catalogue.url)) if VIEW in wanted else None
    try:
        return query(published_tables(lake, wanted), statement, tables={} if costs is None else {VIEW: costs})
    except ConfigError:
        if wanted >= {*VIEWS.values(), VIEW}:
            raise
        return query(published_tables(lake), statement)  # which names all views that exist


def published_tables(lake: Lake, wanted: Collection[str] = frozenset(VIEWS.values())) -> "dict[str, list[UPath]]":
    """Returns the Parquet files of each view, as the commit records list them.

    Scores in the form of an earlier version are left out until they are computed again.

    Args:
        lake: the lake.
        wanted: names of views; all by default. Only the records of their kinds are read.
    """
    views: dict[str, list[UPath]] = {}
    kinds = {kind for (kind, _), view in VIEWS.items() if view in wanted}
    rows = [row for row in lake.records() if row.kind.split("/")[0] in kinds]
    readable = [row for row in rows if not row.kind.startswith(f"{KIND}/") or is_readable(row)]
    for published in in_parallel(lake.open, [(row,) for row in readable]):
        for name in published.names:
            stem = name.removesuffix(".parquet").split("-")[0]
            view = VIEWS.get((published.record.kind.split("/")[0], stem)) if name.endswith(".parquet") else None
            if view is not None and view in wanted:
                views.setdefault(view, []).append(published.path(name))
    return {view: sorted(paths, key=str) for view, paths in sorted(views.items())}
