"""Questions to a map: answers equal those worked out from the vectors themselves."""

from math import comb

import numpy as np
import polars as pl
import pytest

from cellassets.errors import DatasetError
from cellassets.exploring import ExploredMap
from cellassets.exploring.guides import guide_rows
from cellassets.exploring.names import row_named
from cellassets.exploring.neighbours import NO_HITS, NOT_ACTIVE
from cellassets.studies.simulated import simulate_map
from cellassets.synthetic.embeddings import SimulatedWells
from cellassets.tables.parquet import vectors
from cellassets.tables.schemas import HITS

DESIGN = SimulatedWells(n_complexes=10, genes_per_complex=4, n_lone_genes=20, gene_effect=4.0)


def hits_of(table, inactive=()):
    """HITS rows in which all perturbations except some are active."""
    treated = table.filter(pl.col("control_kind").is_null())
    columns = {column.name: pl.lit(None, column.dtype).alias(column.name) for column in HITS.columns}
    kept = [pl.col(name) if name in treated.columns else value for name, value in columns.items()]
    is_active = ~pl.col("perturbation_id").is_in(list(inactive))
    return treated.select(kept).with_columns(is_active=is_active, distance_sd=pl.lit(2.0))


@pytest.fixture(scope="module")
def judged():
    return simulate_map(DESIGN)


@pytest.fixture(scope="module")
def opened(judged):
    return ExploredMap(
        judged.map_table.drop("embedding"),
        vectors(judged.map_table),
        lambda: (judged.wells.drop("embedding"), vectors(judged.wells)),
        aggregate_by=judged.parameters.aggregate_by,
        hits=hits_of(judged.map_table, inactive=["GENE058"]),
        annotations=judged.annotations,
    )


@pytest.fixture(scope="module")
def complex_members(judged):
    (sets,) = judged.annotations.sets.values()
    return sets.group_by("set_id").agg("member").sort("set_id")["member"].to_list()


def test_the_members_of_a_planted_complex_are_nearest_known_and_significant(opened, complex_members):
    for members in complex_members[:3]:
        found = opened.neighbours(members[0], 3)
        assert set(found["perturbation_id"]) == set(members[1:])
        assert found["p_value"].max() < 0.05
        assert all("planted" in known for known in found["known"].to_list())


def test_neighbours_are_ranked_by_their_cosine_and_controls_are_none(opened, judged):
    name = opened.perturbation_ids[5]
    found = opened.neighbours(name, 1000)
    table = judged.map_table.filter(pl.col("control_kind").is_null())
    values = vectors(table).astype(np.float64)
    own = values[table["perturbation_id"].to_list().index(name)]
    cosines = values @ own / np.linalg.norm(values, axis=1) / np.linalg.norm(own)
    expected = sorted(
        ((c, n) for c, n in zip(cosines, table["perturbation_id"], strict=True) if n != name and c > 0), reverse=True
    )
    assert found["perturbation_id"].to_list() == [n for _, n in expected]
    assert found["cosine"].to_list() == pytest.approx([c for c, _ in expected], abs=1e-6)
    opposite = opened.neighbours(name, 3, opposite=True)
    lowest = sorted(zip(cosines, table["perturbation_id"], strict=True))[:3]
    assert opposite["perturbation_id"].to_list() == [n for _, n in lowest]


def test_only_active_perturbations_have_p_values(opened):
    (found,) = opened.similarities(["GENE058"])
    assert found.why_not_tested == NOT_ACTIVE
    assert opened.neighbours("GENE058")["p_value"].null_count() == 10
    (tested,) = opened.similarities(["GENE059"])
    assert tested.why_not_tested is None
    assert np.isnan(tested.p_value[opened.row("GENE058")])
    assert np.isnan(tested.p_value[opened.row("GENE059")])
    (untested,) = ExploredMap(opened.table, opened.vectors, opened.read_wells).similarities(["GENE059"])
    assert untested.why_not_tested == NO_HITS


def test_replicates_agree_as_their_cosines_say(opened, judged):
    name = opened.perturbation_ids[0]
    wells = judged.wells.filter(pl.Series(judged.units) == name).sort("experiment_id", "plate_id", "well_id")
    values = vectors(wells).astype(np.float64)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    expected = [np.mean([a @ b for j, b in enumerate(values) if j != i]) for i, a in enumerate(values)]
    found = opened.replicates(name)
    assert found["cosine_to_others"].to_list() == pytest.approx(expected, abs=1e-6)
    assert found["well_id"].to_list() == wells["well_id"].to_list()


def test_guides_are_compared_with_the_other_guides_of_their_gene():
    wells = pl.DataFrame({"guide_id": ["g1", "g1", "g2", None]})
    values = np.array([[1, 0], [0, 1], [3, 3], [9, 9]], dtype=np.float32)
    found = guide_rows(wells, values)
    assert found["guide_id"].to_list() == ["g1", "g2"]
    assert found["n_wells"].to_list() == [2, 1]
    assert found["agreement"].to_list() == [pytest.approx(0.0), None]
    assert found["cosine_to_others"].to_list() == pytest.approx([1.0, 1.0])
    one = guide_rows(wells[:2], values[:2])
    assert one["cosine_to_others"].to_list() == [None]


def test_a_planted_complex_is_enriched_in_its_selection(opened, complex_members):
    lone = [name for name in opened.perturbation_ids if name in ("GENE057", "GENE058")]
    found = opened.enriched([*complex_members[0], *lone]).filter(pl.col("source") == "planted")
    first = found.filter(pl.col("n_set") == 4).row(0, named=True)
    assert sorted(first["members"]) == sorted(complex_members[0])
    # only the 40 genes of complexes are known to the source: 4 of the 6 selected, all in one set of 4
    assert (first["n_background"], first["n_selected"], first["n_overlap"]) == (40, 4, 4)
    assert first["p_value"] == pytest.approx(1 / comb(40, 4))
    assert first["q_value"] == pytest.approx(10 / comb(40, 4))


def test_a_name_that_is_not_there_gets_suggestions(opened):
    with pytest.raises(DatasetError, match=r"did you mean GENE059 or"):
        opened.neighbours("gene59")
    with pytest.raises(DatasetError, match="no perturbation 'zzzzzzzz' in this map; choose one of its"):
        opened.row("zzzzzzzz")


def test_a_name_of_several_doses_asks_for_one_of_them():
    table = pl.DataFrame(
        {
            "perturbation_id": ["a@1", "a@2", "b"],
            "perturbation_kind": ["compound", "compound", "gene"],
            "gene_symbol": [None, None, "B"],
            "compound_id": ["a", "a", None],
        }
    )
    with pytest.raises(DatasetError, match=r"'a' has 2 rows in this map; choose one of \['a@1', 'a@2'\]"):
        row_named(table, "a")
    assert row_named(table, "B") == row_named(table, "b") == 2
