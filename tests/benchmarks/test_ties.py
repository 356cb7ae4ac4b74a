"""Ties worked by hand: pairs and neighbours that are equally similar never count as the most similar."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.errors import BenchmarkError
from cellassets.mapping.relate import COSINE_ROUNDING, settled_cosines
from cellassets.tables.parquet import with_vectors


def at_angles(map_table, degrees):
    """The map with its perturbations, in order of their names, at these angles of a plane, and different lengths."""
    chosen = map_table.filter(pl.col("control_kind").is_null()).sort("perturbation_id")
    angle = np.deg2rad(degrees)
    length = np.linspace(0.3, 1.7, len(angle))[:, None]
    return with_vectors(chosen, np.stack([np.cos(angle), np.sin(angle)], axis=1) * length)


def unit_values(name, judged, **parameters):
    chosen = BENCHMARKS[name]
    rows = chosen.score(judged, chosen.parameters(n_permutations=99, **parameters))
    return {r.perturbation_id: r.value for r in rows if r.level == "perturbation" and r.metric == chosen.unit_metric}


@pytest.fixture
def five(judge):
    """GENE000 to 002 in one direction, 003 at 90 and 004 at 200 degrees.

    The cosines of the ten pairs: three of -0.94 (to 004), -0.34 (003 to 004), three of 0 (to 003), three of 1.
    """
    judged = judge(seed=1, n_batches=2, n_complexes=0, n_lone_genes=5)
    known = [("GENE000", "GENE001"), ("GENE001", "GENE002"), ("GENE000", "GENE004"), ("GENE003", "GENE004")]
    pairs = pl.DataFrame(known, schema=["entity1", "entity2"], orient="row")
    annotations = replace(judged.annotations, pairs={"hand": pairs})
    return replace(judged, map_table=at_angles(judged.map_table, [0, 0, 0, 90, 200]), annotations=annotations)


@pytest.mark.parametrize(
    ("tail_frac", "recalled"),
    [
        (0.2, [0, 0, 0, 0]),  # a tail holds two of ten pairs, and three are tied at either end
        (0.3, [1, 1, 1, 0]),  # a tail holds three
        (0.4, [1, 1, 1, 1]),  # the lower tail holds the pair at -0.34 too; the upper one no pair at 0
    ],
)
def test_a_tie_is_recalled_where_the_tail_holds_all_of_it(five, tail_frac, recalled):
    found = unit_values("known_relationships", five, tail_fracs=(tail_frac,), min_pairs=1)
    assert list(found.values()) == recalled


def test_the_p_value_of_a_tied_pair_is_that_of_the_whole_tie(five):
    chosen = BENCHMARKS["known_relationships"]
    rows = chosen.score(five, chosen.parameters(n_permutations=99, tail_fracs=(0.3,), min_pairs=1))
    found = {row.perturbation_id: row.p_value for row in rows if row.level == "perturbation"}
    assert found["GENE000|GENE001"] == pytest.approx(0.6)  # three of ten pairs are as similar, in two tails
    assert found["GENE003|GENE004"] == pytest.approx(0.8)  # four are as opposite


def test_a_pair_of_a_gene_with_itself_is_not_recalled(five):
    pairs = five.annotations.pairs["hand"]
    twice = pl.concat([pairs, pl.DataFrame({"entity1": ["GENE003"], "entity2": ["GENE003"]})])
    judged = replace(five, annotations=replace(five.annotations, pairs={"hand": twice}))
    assert (
        unit_values("known_relationships", judged, min_pairs=1).keys()
        == unit_values("known_relationships", five, min_pairs=1).keys()
    )


def test_neighbours_that_are_tied_at_the_last_place_do_not_count(judge):
    """Of GENE000 the nearest is 001 (10 degrees); 002 and 003 (20 degrees to either side) share the ranks 2 and 3."""
    judged = judge(seed=1, n_batches=2, n_complexes=0, n_lone_genes=6)
    table = at_angles(judged.map_table, [0, 10, 20, -20, 100, 230])
    judged = replace(judged, map_table=table, other_maps={"OTHER": table})
    found = unit_values("cell_type_generalisation", judged, n_neighbours=2)
    assert found["GENE000"] == pytest.approx(1 / 3)  # one of two is kept: 1 / (4 - 1)
    assert found["GENE001"] == 1.0  # 000 and 002 are both 10 degrees away: ranks 1 and 2, both count
    assert found["GENE004"] == 1.0  # 002 and 001


def test_cosines_of_one_direction_are_equal_whatever_the_lengths():
    rng = np.random.default_rng(0)
    directions = np.repeat(rng.standard_normal((2, 64)), 50, axis=0)
    stored = (directions * rng.uniform(0.1, 10, (100, 1))).astype(np.float32).astype(np.float64)
    unit = stored / np.linalg.norm(stored, axis=1, keepdims=True)
    between = (unit @ unit.T)[:50, 50:]
    assert 0 < np.ptp(between) < COSINE_ROUNDING / 2
    assert len(np.unique(settled_cosines(between))) <= 2  # 1, or 2 where a multiple's border lies among them
    assert len(np.unique(settled_cosines((unit @ unit.T)[:50, :50]))) == 1


def test_a_well_that_is_there_twice_is_no_replicate(judge):
    judged = judge(seed=1, n_batches=2)
    rows = np.append(np.arange(judged.wells.height), 5)
    copied = replace(
        judged,
        wells=judged.wells[rows],
        vectors=judged.vectors[rows],
        units=tuple(np.array(judged.units)[rows].tolist()),
        **{name: getattr(judged, name)[rows] for name in ("is_treatment", "is_held_out_control", "plate_index")},
    )
    chosen = BENCHMARKS["perturbation_consistency"]
    with pytest.raises(BenchmarkError, match=r"well SIM-1/Plate1/\w+ is in the map more than once"):
        chosen.score(copied, chosen.parameters(n_permutations=99))
