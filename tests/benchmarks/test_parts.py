"""Parts of a dataset: wells on which a model is scored together, by what it has seen of them."""

import numpy as np
import pytest

from cellassets.benchmarks.judged import restricted
from cellassets.benchmarks.parts import exposures_of, named, parts_of
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.scoring import ScoreLabels, score_parts, unseen_frac
from cellassets.errors import BenchmarkError
from cellassets.mapping.aggregate import aggregate_wells
from cellassets.registry.lineage import Seen
from cellassets.tables.parquet import vectors

HUVEC = {f"H{number}": ("HUVEC",) for number in range(1, 6)}
LANDED = {**HUVEC, "U1": ("U2OS",)}
NETWORK = Seen(training=frozenset({"H1", "H2"}), validation=frozenset({"H3"}))


def exposures(experiments, seen, landed=None):
    return exposures_of(experiments, LANDED if landed is None else landed, seen)


def told(parts):
    return [(part.exposure, part.experiments) for part in parts]


def test_each_experiment_says_what_the_model_has_seen_of_it():
    assert exposures(LANDED, NETWORK) == {
        "H1": "training", "H2": "training", "H3": "validation", "H4": "unseen_experiments",
        "H5": "unseen_experiments", "U1": "unseen_cell_type",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "exposure"),
    [
        (Seen(), "unseen_experiments"),  # nothing seen: no cell type is more unseen than another
        (Seen(training=frozenset({"elsewhere"})), "unseen_experiments"),  # its cell type is not known
        (Seen(training=frozenset({"elsewhere"}), cell_types=frozenset({"HUVEC"})), "unseen_cell_type"),
        (Seen(training=frozenset({"elsewhere"}), cell_types=frozenset({"U2OS"})), "unseen_experiments"),
        (Seen(is_known=False), "unknown"),
    ],
)
def test_a_cell_type_is_unseen_only_where_all_seen_cell_types_are_known(seen, exposure):
    assert exposures(["U1"], seen) == {"U1": exposure}


def test_a_model_that_saw_nothing_alone_has_the_whole_dataset():
    (part,) = parts_of(exposures(HUVEC, Seen()), [Seen()])
    assert (part.part_id, part.exposure, part.left_out) == ("all", "unseen_experiments", frozenset())


def test_a_network_is_scored_on_what_it_saw_and_on_what_it_did_not():
    assert told(parts_of(exposures(HUVEC, NETWORK), [Seen(), NETWORK])) == [
        ("unseen_experiments", ("H4", "H5")),
        ("training", ("H1", "H2")),
        ("validation", ("H3",)),
    ]


def test_classical_features_are_scored_where_the_network_saw_nothing_and_where_it_did():
    parts = parts_of(exposures(HUVEC, Seen()), [Seen(), NETWORK])
    assert told(parts) == [
        ("unseen_experiments", ("H1", "H2", "H3", "H4", "H5")),
        ("unseen_experiments", ("H1", "H2")),
        ("unseen_experiments", ("H4", "H5")),
    ]


def test_two_networks_share_the_part_that_neither_has_seen():
    other = Seen(training=frozenset({"H3", "H4"}))
    sets = [NETWORK, other]
    ours, theirs = (
        {part.part_id: part for part in parts_of(exposures(HUVEC, seen), sets)} for seen in (NETWORK, other)
    )
    (shared,) = (ours[part_id] for part_id in set(ours) & set(theirs) if ours[part_id].experiments == ("H5",))
    assert shared == theirs[shared.part_id]
    assert shared.left_out == {"H1", "H2", "H3", "H4"}, "maps beside it leave out what either has seen"


def test_a_dataset_that_was_seen_in_full_has_no_unseen_part():
    parts = parts_of(exposures(["H1", "H2"], NETWORK), [NETWORK])
    assert told(parts) == [("training", ("H1", "H2"))]
    assert parts[0].part_id == "all"


def test_a_model_of_which_nothing_is_known_is_scored_on_everything_as_unknown():
    assert told(parts_of(exposures(HUVEC, Seen(is_known=False)), [NETWORK])) == [("unknown", tuple(HUVEC))]


def test_many_experiments_are_named_by_the_first_few():
    assert named(("a", "b")) == "a, b"
    assert named(tuple("abcde")) == "a, b, c, d, e"
    assert named(tuple("abcdef")) == "a, b, c, d and 2 more"


def test_a_part_of_a_map_holds_the_same_wells_and_perturbations_made_of_them(judge):
    judged = judge(seed=3)
    kept = sorted(set(judged.wells["experiment_id"]))[:2]
    part = restricted(judged, kept)
    rows = np.flatnonzero(judged.wells["experiment_id"].is_in(kept).to_numpy())
    assert part.wells.equals(judged.wells[rows])
    assert np.array_equal(part.vectors, judged.vectors[rows])
    assert np.array_equal(part.is_held_out_control, judged.is_held_out_control[rows])
    assert len(np.unique(part.plate_index)) == part.plate_index.max() + 1
    units, expected = aggregate_wells(
        part.wells, vectors(part.wells).astype(np.float64), aggregate_by="gene", method="mean"
    )
    assert part.map_table["perturbation_id"].equals(units["perturbation_id"])
    assert vectors(part.map_table) == pytest.approx(expected, abs=1e-6)


def test_the_whole_map_stays_as_it_is(judge):
    judged = judge(seed=3)
    whole = restricted(judged, set(judged.wells["experiment_id"]))
    assert whole.map_table is judged.map_table
    assert whole.vectors is judged.vectors


def labels_of(part):
    return ScoreLabels("SIM", "wells", part.part_id, "m.v1", part)


def test_a_part_that_is_too_small_says_so_and_the_others_are_scored(judge):
    benchmark, judged = BENCHMARKS["known_relationships"], judge(seed=3)
    experiments = tuple(sorted(set(judged.wells["experiment_id"])))
    parts = parts_of(exposures_of(experiments, {}, Seen(training=frozenset(experiments[:1]))), [Seen()])
    # the annotated pairs of the second part have no gene in the map
    small = restricted(judged, experiments[:1])
    empty = small.map_table.filter(small.map_table["perturbation_kind"] == "control")
    maps = [restricted(judged, parts[0].experiments), small.__class__(**{**vars(small), "map_table": empty})]
    found = score_parts(
        benchmark,
        [(one, labels_of(part)) for one, part in zip(maps, parts, strict=True)],
        benchmark.parameters(n_permutations=99),
    )
    assert set(found.scores["part_id"]) == {parts[0].part_id}
    assert found.summaries[0].does_not_apply is None
    assert found.summaries[1].does_not_apply


def test_a_whole_map_that_cannot_be_scored_is_an_error(judge):
    benchmark, judged = BENCHMARKS["known_relationships"], judge(seed=3)
    (part,) = parts_of(dict.fromkeys(set(judged.wells["experiment_id"]), "unseen_experiments"), [Seen()])
    parameters = benchmark.parameters(n_permutations=99, min_pairs=10_000)
    with pytest.raises(BenchmarkError, match="fewer than min_pairs 10000"):
        score_parts(benchmark, [(judged, labels_of(part))], parameters)


def test_the_share_of_new_perturbations_counts_names_genes_and_compounds(judge):
    judged = judge(seed=3)
    genes = sorted(set(judged.wells.filter(judged.is_treatment)["gene_symbol"].drop_nulls()))
    assert unseen_frac(judged, None) is None
    assert unseen_frac(judged, frozenset()) == 1
    assert unseen_frac(judged, frozenset(genes)) == 0
    half = frozenset(genes[: len(genes) // 2])
    assert unseen_frac(judged, half) == pytest.approx(1 - len(half) / len(genes))
