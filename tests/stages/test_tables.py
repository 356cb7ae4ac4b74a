"""SQL sees the tables that are published now, and nothing else."""

import polars as pl
import pytest

from cellassets.errors import ConfigError
from cellassets.stages.tables import VIEWS, published_tables, query_lake
from cellassets.storage.plan import Plan
from cellassets.tables.schemas import PERTURBATION_MAP


def test_a_table_is_seen_once_it_is_published_and_in_its_newest_version(simulate, publish_newer):
    simulated = simulate(n_batches=1)
    with pytest.raises(ConfigError, match="perturbation_map"):
        query_lake(simulated.lake, "SELECT count(*) FROM perturbation_map")
    simulated.make("perturbation_map", "SIM", "m.v1")
    count = "SELECT count(*) AS n FROM perturbation_map"
    assert query_lake(simulated.lake, count)["n"].to_list() == [37]
    publish_newer(
        simulated.deployment, "perturbation_map", "SIM", "m.v1", change={"map.parquet": lambda table: table.head(5)}
    )
    assert query_lake(simulated.lake, count)["n"].to_list() == [5]


def test_a_draft_is_not_seen(simulate):
    simulated = simulate(n_batches=1)
    with simulated.lake.draft(Plan("perturbation_map", ("SIM", "m.v1"), {})) as draft:
        draft.folder.mkdir(parents=True)
        PERTURBATION_MAP.empty().write_parquet((draft.folder / "map.parquet").path)
        assert "perturbation_map" not in published_tables(simulated.lake)


def test_parts_of_a_table_are_one_view(simulate):
    simulated = simulate(n_batches=2)
    found = query_lake(simulated.lake, "SELECT experiment_id, count(*) AS n FROM site_embeddings GROUP BY 1 ORDER BY 1")
    assert found.rows() == [("SIM-1", 192), ("SIM-2", 192)]
    assert len(published_tables(simulated.lake)["site_embeddings"]) == 4


def test_every_published_table_has_a_view(scored):
    known = {view for (kind, _), view in VIEWS.items() if kind != "production_model"}
    found = published_tables(scored.lake)
    assert set(found) == known
    for paths in found.values():
        assert pl.scan_parquet(paths[0].path).collect_schema().names()
