"""Every public function of the science packages refuses NaN and infinite numbers, and says where they are."""

import importlib
import inspect
import pkgutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.definition import Score
from cellassets.benchmarks.published import copairs, efaar_map, efaar_wells, rxrx
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.replicates.replicates import Replicates
from cellassets.errors import AlignmentError, BenchmarkError, CellAssetsError, StatisticsError
from cellassets.finite import require_finite
from cellassets.mapping.aggregate import aggregate_wells
from cellassets.mapping.batch_effect import JudgedWells
from cellassets.mapping.build import align_wells, map_held_out_controls
from cellassets.mapping.relate import nearest_perturbations
from cellassets.mapping.source import ArrayWells
from cellassets.mapping.steps import Sphering
from cellassets.mapping.streaming import NpyWells
from cellassets.statistics.distance_interval import ControlSpread
from cellassets.statistics.dose_trend import DoseWells, trend_draws
from cellassets.statistics.permutation import mean_over_nodes
from cellassets.studies.simulated import SIMULATED_MAP, map_wells, simulate_map
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import vectors, with_vectors

PACKAGES = ("cellassets.mapping", "cellassets.statistics", "cellassets.benchmarks")
RNG = np.random.default_rng(0)
WELLS, SQUARE, DRAWS = RNG.standard_normal((12, 4)), np.cov(RNG.standard_normal((4, 30))), RNG.random((9, 12))
GROUP, EVERY, SHARES = np.repeat(np.arange(3), 4), np.arange(12), RNG.random(12)
DISTANCES = np.linalg.norm(WELLS[:, None] - WELLS, axis=2)
NAMES = [f"G{number:02d}" for number in range(12)]
PAIRS = {"hand": pl.DataFrame({"entity1": ["G00"], "entity2": ["G01"]})}
MEAN = mean_over_nodes(SHARES, EVERY[:, None])
CONTROLS = ControlSpread.of(WELLS[4:8], GROUP[:4])
HEADLINE = Score("m", "summary", 0.2, 0.5, 0.1, 0.9, 0.1, n_units=12, unit="perturbation")
IS_CONTROL = GROUP == 2

# one call of each public function that takes arrays of real numbers, with all of them by name
CALLS = {
    "mapping.affine.centred_affine": {"group_index": GROUP, "mean": WELLS[:3], "weight": SQUARE[:1]},
    "mapping.aggregate.group_mean": {"values": WELLS, "group_index": GROUP, "n_groups": 3},
    "mapping.aggregate.group_median": {"values": WELLS, "group_index": GROUP, "n_groups": 3},
    "mapping.aggregate.group_geometric_median": {"values": WELLS, "group_index": GROUP, "n_groups": 3},
    "mapping.aggregate.geometric_median": {"values": WELLS},
    "mapping.batch_effect.batch_effect_rows": {
        "step": "raw", "embeddings": WELLS, "n_queries": 10, "seed": 0,
        "judged": JudgedWells(GROUP % 2, GROUP, IS_CONTROL, ~IS_CONTROL),
    },
    "mapping.medians.row_medians": {"values": WELLS},
    "mapping.medians.stacked_medians": {"values": WELLS.reshape(3, 4, 4)},
    "mapping.moments.moments_of": {"values": WELLS, "has_products": True},
    "mapping.moments.shrunk_covariance": {"scatter": SQUARE, "n_rows": 30, "fourth": 3.0},
    "mapping.moments.fourth_powers": {"residuals": WELLS},
    "mapping.moments.shrinkage": {"scatter": SQUARE, "n_rows": 30, "fourth": 3.0},
    "mapping.moments.symmetric_power": {"matrix": SQUARE, "exponent": -0.5},
    "mapping.moments.ridged_power": {"rows": WELLS, "factor": 0.1, "ridge": 0.5, "exponent": -0.5},
    "mapping.moments.signed_axes": {"matrix": SQUARE},
    "mapping.moments.group_sums": {"values": WELLS, "group_index": GROUP, "n_groups": 3},
    "mapping.neighbours.nearest_elsewhere": {"unit": WELLS, "queries": EVERY, "group": GROUP},
    "mapping.relate.unit_rows": {"values": WELLS},
    "mapping.relate.cosine_similarities": {"values": WELLS},
    "mapping.relate.settled_cosines": {"cosines": WELLS},
    "mapping.robust.median_and_deviation": {"values": WELLS},
    "statistics.average_precision.ranks_of_others": {"unit": WELLS},
    "statistics.dose_trend.pair_signs": {"effect": WELLS, "dose": np.tile(np.arange(4), (1, 12, 1)).astype(np.int16)},
    "statistics.dose_trend.page_ranks": {"effect": WELLS, "dose": np.tile(np.arange(4), (1, 12, 1)).astype(np.int16)},
    "statistics.energy.pairwise_distances": {"wells": WELLS},
    "statistics.energy.two_group_measures": {"distances": DISTANCES, "chosen": np.array([[0, 1, 2]])},
    "statistics.energy.influences_of_others": {"distances": DISTANCES, "n_x": 3},
    "statistics.linear_probe.summed_fourth_powers": {"wells": WELLS, "rows": EVERY, "origin": WELLS[0]},
    "statistics.linear_probe.nearest_class": {
        "rows": WELLS, "means": WELLS[:3], "own": GROUP, "is_class": np.ones(3, dtype=bool)
    },
    "statistics.one_to_one.one_to_one": {"scores": WELLS},
    "statistics.permutation.upper_p_values": {"observed": SHARES, "null": DRAWS},
    "statistics.permutation.settled_ties": {"draws": DRAWS},
    "statistics.permutation.null_percentiles": {"draws": DRAWS},
    "statistics.permutation.benjamini_hochberg": {"p_values": SHARES},
    "statistics.permutation.mean_over_nodes": {"values": SHARES, "nodes": EVERY[:, None], "influences": SHARES},
    "statistics.permutation.standardised": {"value": 0.5, "null": SHARES},
    "statistics.permutation.central": {"draws": SHARES},
    "benchmarks.batches.block_probe.whitened": {"wells": WELLS, "group": GROUP},
    "benchmarks.compounds.compound_targets.average_precision": {"ranks": DRAWS},
    "benchmarks.compounds.compound_targets.area_under_curve": {"ranks": DRAWS, "n_genes": 20},
    "benchmarks.compounds.potency.rank_correlations": {"first": SHARES, "second": SHARES, "orders": [EVERY]},
    "benchmarks.compounds.potency.half_effect_dose": {
        "dose": np.arange(4.0), "effect": np.arange(4.0), "n_wells": np.full(4, 2), "baseline": 0.0
    },
    "benchmarks.published.copairs.phenotypic_activity": {
        "profiles": WELLS, "perturbation": NAMES[:4] * 3, "is_control": IS_CONTROL
    },
    "benchmarks.published.copairs.phenotypic_consistency": {
        "profiles": WELLS, "label": NAMES[:4] * 3, "perturbation": NAMES
    },
    "benchmarks.published.copairs.average_precision": {
        "profiles": WELLS, "positives": copairs.PairRule((GROUP,)), "negatives": copairs.PairRule((), (GROUP,))
    },
    "benchmarks.published.efaar_map.relationship_recall": {"genes": WELLS, "names": NAMES, "pairs": PAIRS},
    "benchmarks.published.efaar_map.pair_percentiles": {"genes": WELLS, "pairs": np.array([[0, 1]])},
    "benchmarks.published.efaar_map.cluster_separation": {
        "genes": WELLS, "names": NAMES, "clusters": {"c": NAMES[:5]}, "min_genes": 3
    },
    "benchmarks.published.efaar_wells.perturbation_consistency": {"wells": WELLS, "perturbation": NAMES[:4] * 3},
    "benchmarks.published.efaar_wells.perturbation_magnitude": {
        "wells": WELLS, "perturbation": NAMES[:2] * 6, "control": "G00"
    },
    "benchmarks.published.efaar_wells.energy_distances": {
        "wells": WELLS, "rows": EVERY[:8], "group": GROUP[:8], "controls": EVERY[8:]
    },
    "benchmarks.published.groups.cosines_to_all": {"unit": WELLS, "groups": [EVERY[:3]]},
    "benchmarks.published.groups.group_sums": {"values": WELLS, "group": GROUP, "n_groups": 3},
    "benchmarks.published.rxrx1.groups_on_plates": {"scores": WELLS, "plate": GROUP, "groups": EVERY[:4]},
    "benchmarks.published.proxbias.proximity_bias": {"genes": WELLS, "arm": np.repeat(["1p", "1q", "2p"], 4)},
    "benchmarks.published.proxbias.brunner_munzel": {"within": SHARES, "between": np.sort(SHARES) + 0.1},
    "benchmarks.published.rxrx.ranking_metrics": {"scores": WELLS, "is_active": np.tile(np.arange(4) < 2, (12, 1))},
    "benchmarks.replicates.consistency.mean_cosines": {
        "wells": WELLS, "units": Replicates(GROUP, np.bincount(GROUP))
    },
    "benchmarks.rows.unit_scores": {"metric": "m", "units": NAMES, "draws": DRAWS, "n_wells": np.full(12, 2)},
    "benchmarks.rows.summary_score": {"metric": "m", "mean": MEAN, "draws": DRAWS, "within": (0.0, 1.0)},
    "benchmarks.rows.influences_of": {"metric": "m", "shared": NAMES, "influences": SHARES},
    "benchmarks.sound.is_collapsed": {"values": WELLS},
    "benchmarks.ties.ties_broken": {"shares": DRAWS, "finer": DRAWS},
    "benchmarks.known_measures.hits.hits_above_null": {"draws": DRAWS},
    "benchmarks.published.cytominer.grit": {"profiles": WELLS, "group": GROUP, "is_control": IS_CONTROL},
    "benchmarks.published.cytominer.mahalanobis_of_chosen": {
        "own": WELLS[:3], "controls": WELLS, "chosen": np.array([[0, 1, 2]])
    },
    "benchmarks.published.cytominer.mp_value": {"own": WELLS[:3], "controls": WELLS, "n_permutations": 9},
    "benchmarks.published.cytominer.replicate_reproducibility": {"profiles": WELLS, "group": GROUP},
    "benchmarks.rows.below_chance": {"metric": "m", "headline": HEADLINE, "means": SHARES},
    "benchmarks.rxrx3.rxrx3_core_targets.retrieval_of_first": {"scores": RNG.random((2, 3, 8)), "n_active": 2},
    "mapping.relate.mean_pairwise_cosine": {"values": WELLS, "group": GROUP, "n_groups": 3},
    "statistics.similarity_null.similarity_p_values": {"cosines": SHARES, "is_tested": np.full(12, fill_value=True)},
    "statistics.similarity_null.why_no_null": {"cosines": SHARES, "is_tested": np.full(12, fill_value=True)},
    "statistics.correlation.centred_units": {"values": WELLS},
    "statistics.distance_interval.magnitude_estimate": {"distances": DISTANCES, "n_wells": 3},
    "statistics.dose_steps.dose_step_p_value": {
        "distances": DISTANCES, "dose": GROUP, "plate": GROUP * 0, "n_permutations": 9, "rng": RNG
    },
    "statistics.intervals.effective_number": {
        "hits": (SHARES > 0.5).astype(float), "nodes": EVERY[:, None], "shared_error": 0.0
    },
    "statistics.intervals.mean_interval": {
        "rows": SHARES, "nodes": EVERY[:, None], "standard_error": 0.1, "shared_error": 0.0, "n_free": 7,
        "within": (0.0, 1.0)
    },
    "statistics.intervals.dependent_squares": {"residuals": SHARES, "nodes": EVERY[:, None]},
    "statistics.mahalanobis.distances_of_chosen": {
        "own": WELLS[:3], "others": WELLS, "chosen": np.array([[0, 1, 2]])
    },
    "statistics.mahalanobis.whitened": {"rows": WELLS, "controls": WELLS, "variance_frac": 0.9},
    "statistics.distance_interval.distance_from_controls": {
        "wells": WELLS[:4], "plate": GROUP[:4], "controls": CONTROLS
    },
    "statistics.distance_interval.squared_distance": {
        "relative": WELLS[:4], "plate": GROUP[:4], "controls": CONTROLS
    },
    "benchmarks.ties.with_p_values_of": {"rows": [], "draws": DRAWS},
    "benchmarks.ties.with_finer_p_values": {"rows": [], "draws": DRAWS},
}  # fmt: skip
# tested below by tables, or not to be refused
ELSEWHERE = {
    "mapping.affine.run_chain": "its rows come from a source, which refuses them",
    "mapping.aggregate.aggregate_wells": "test_a_well_without_a_finite_vector_is_named",
    "benchmarks.published.copairs.normalised": "NaN gives NaN, as documented: a profile without a partner",
    "benchmarks.published.efaar_wells.published_p_values": "NaN gives NaN, as documented: too few wells",
    "statistics.similarity_null.similarity_q_values": "NaN gives NaN, as documented: not tested",
    "benchmarks.published.rxrx.compound_gene_retrieval": "test_published_retrieval_names_what_is_not_finite",
}


def public_functions():
    """Public functions of the packages with an argument that is an array of real numbers."""
    found = {}
    for package in map(importlib.import_module, PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if module.ispkg:
                continue
            for name, function in vars(importlib.import_module(module.name)).items():
                is_own = inspect.isfunction(function) and function.__module__ == module.name
                if is_own and not name.startswith("_") and "Float" in str(inspect.signature(function)).split("->")[0]:
                    found[f"{module.name.removeprefix('cellassets.')}.{name}"] = function
    return found


FUNCTIONS = public_functions()


def test_every_public_function_of_real_arrays_is_tried():
    assert not FUNCTIONS.keys() - CALLS.keys() - ELSEWHERE.keys()


def spoilt(values, value):
    """A copy with one value in the row before the last that is not finite."""
    copy = values.copy()
    copy[-2 if len(copy) > 1 else 0] = value
    return copy


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", CALLS)
def test_values_that_are_not_finite_are_refused(name, value):
    good = CALLS[name]
    real = [key for key, given in good.items() if isinstance(given, np.ndarray) and given.dtype.kind == "f"]
    assert real
    for key in real:
        with pytest.raises(CellAssetsError, match="not finite"):
            FUNCTIONS[name](**good | {key: spoilt(good[key], value)})


@pytest.mark.parametrize(
    "name", sorted(CALLS.keys() - {"benchmarks.ties.with_p_values_of", "benchmarks.ties.with_finer_p_values"})
)
def test_the_same_call_with_finite_values_is_accepted(name):
    FUNCTIONS[name](**CALLS[name])


def test_a_message_names_the_first_rows_and_counts_the_others():
    values = np.ones((6, 2))
    values[[1, 2, 3, 5], 1] = np.nan
    with pytest.raises(StatisticsError, match=r"^f: gene B \(row 1\), C \(row 2\), D \(row 3\) and 1 more of 6 is not"):
        require_finite("f", values, names=list("ABCDEF"), kind="gene")


def test_values_whose_sum_overflows_are_finite():
    require_finite("f", np.full((3, 2), 1.7e308))


@pytest.mark.parametrize(
    ("function", "given", "message"),
    [
        (efaar_map.relationship_recall, {"names": NAMES, "pairs": PAIRS}, r"gene G10 \(row 10\) of 12 is not finite"),
        (efaar_wells.perturbation_consistency, {"perturbation": NAMES}, r"well of G10 \(row 10\) of 12 is not finite"),
    ],
)
def test_published_functions_name_the_gene(function, given, message):
    with pytest.raises(BenchmarkError, match=message):
        function(spoilt(WELLS, np.nan), **given)


def test_published_retrieval_names_what_is_not_finite():
    labels = pl.DataFrame({"compound_id": ["C1", "C2"], "concentration_um": [1.0, 1.0]})
    activities = pl.DataFrame({"compound_id": ["C1"], "gene_symbol": ["G00"], "activity_nm": [10.0]})
    good = (WELLS[:2], labels), (WELLS, NAMES), activities
    unknown = activities.with_columns(pl.lit(np.nan).alias("activity_nm"))
    for wrong, message in (
        (((spoilt(WELLS[:2], np.nan), labels), *good[1:]), "compound C1"),
        ((good[0], (spoilt(WELLS, np.inf), NAMES), activities), "gene G10"),
        ((*good[:2], unknown), "the activity of C1"),
    ):
        with pytest.raises(BenchmarkError, match=message):
            rxrx.compound_gene_retrieval(*wrong)


# --- wells and maps


DESIGN = SimulatedWells(n_batches=2, n_plates_per_batch=1, n_complexes=2, n_lone_genes=8, n_compounds=3)


@pytest.fixture(scope="module")
def wells():
    return simulate_wells(DESIGN)[0]


def with_one(table, value, row=5):
    values = vectors(table).copy()
    values[row, 1] = value
    return with_vectors(table, values)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_well_without_a_finite_vector_is_named(wells, value):
    broken = with_one(wells, value)
    place = wells.row(5, named=True)
    message = rf"experiment SIM-1, plate {place['plate_id']}, well {place['well_id']}: its embedding has values"
    with pytest.raises(AlignmentError, match=message):
        map_wells(broken)
    with pytest.raises(AlignmentError, match=message):
        align_wells(broken, map_held_out_controls(wells, SIMULATED_MAP), SIMULATED_MAP)
    with pytest.raises(AlignmentError, match=rf"aggregate_wells: well {place['well_id']} \(row 5\)"):
        aggregate_wells(wells, vectors(broken), aggregate_by="gene", method="mean")


def test_vectors_that_are_too_large_for_a_step_name_the_step(wells):
    values = vectors(wells).astype(np.float64)
    values[:, 0] *= 1e38 / np.abs(values[:, 0]).max()
    parameters = SIMULATED_MAP.model_validate({"steps": ({"kind": "sphering", "method": "pca"},)})
    huge = with_vectors(wells, values)
    held_out = map_held_out_controls(wells, parameters)

    def fails(*_):
        raise np.linalg.LinAlgError("SVD did not converge")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sphering, "apply", fails)
        with pytest.raises(AlignmentError, match=r"step sphering failed \(SVD did not converge\): .* 1e\+38"):
            align_wells(huge, held_out, parameters)


def test_a_source_of_wells_names_the_row(tmp_path):
    broken = spoilt(WELLS, np.nan)
    with pytest.raises(AlignmentError, match="well in row 10 of 12 is not finite"):
        ArrayWells(broken)
    np.save(tmp_path / "wells.npy", broken)
    with pytest.raises(AlignmentError, match=r"wells.npy: well 10 \(row 5\) of 7 is not finite"):
        NpyWells(tmp_path / "wells.npy").rows(np.arange(5, 12))


@pytest.fixture(scope="module")
def judged():
    return simulate_map(DESIGN, n_other_maps=1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_every_benchmark_refuses_a_map_that_is_not_finite(judged, name, value):
    chosen = BENCHMARKS[name]
    parameters = chosen.parameters(n_permutations=99)
    values = judged.vectors.copy()
    values[5, 1] = value
    place = "/".join(judged.wells.select("experiment_id", "plate_id", "well_id").row(5))
    with pytest.raises(BenchmarkError, match=rf"{name}: well {place} \(row 5\)"):
        chosen.rows(replace(judged, vectors=values), parameters)
    gene = judged.map_table["perturbation_id"][5]
    with pytest.raises(BenchmarkError, match=rf"{name}: perturbation {gene} \(row 5\)"):
        chosen.rows(replace(judged, map_table=with_one(judged.map_table, value)), parameters)
    other, table = next(iter(judged.other_maps.items()))
    with pytest.raises(BenchmarkError, match=rf"{name}, map of {other}: perturbation {gene} \(row 5\)"):
        chosen.rows(replace(judged, other_maps={other: with_one(table, value)}), parameters)


def test_neighbours_of_a_map_that_is_not_finite_are_refused(judged):
    with pytest.raises(CellAssetsError, match="nearest_perturbations: perturbation "):
        nearest_perturbations(with_one(judged.map_table, np.nan), judged.map_table["perturbation_id"][0])


def test_a_dose_that_is_not_a_number_is_named():
    wells = DoseWells(
        ["C1"], np.arange(4), np.zeros(4, int), np.array([1, 1, 2, np.nan]), np.zeros(4, int), np.arange(4.0)
    )
    with pytest.raises(StatisticsError, match=r"the dose of C1, well \(row 3\)"):
        trend_draws(wells, 9, np.random.default_rng(0))
