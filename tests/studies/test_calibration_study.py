"""The calibration study finds what is calibrated and what is not, and its page says so."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.definition import PermutationParameters, RankedBy, Score, benchmark
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.studies import calibration_scenarios
from cellassets.studies.calibration import SCHEMA, run_study, summarise
from cellassets.studies.calibration_page import calibration_page, calibration_picture
from cellassets.studies.calibration_published import PUBLISHED
from cellassets.studies.calibration_scenarios import Scenario, scenarios_of
from cellassets.studies.simulated import simulate_map
from cellassets.synthetic.embeddings import SimulatedWells

SMALL = SimulatedWells(n_complexes=2, n_lone_genes=2, n_controls_per_plate=8, n_features=6)


def study_of(p_values, scenario="shuffled", name="perturbation_consistency"):
    headline = BENCHMARKS[name].headline_metric
    rows = [(name, scenario, True, 0.0, 8, seed, headline, float(p)) for seed, p in enumerate(p_values)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def test_uniform_p_values_pass_and_small_ones_are_marked():
    even, skewed = (np.arange(200) + 0.5) / 200, ((np.arange(200) + 0.5) / 200) ** 3
    good, bad = (summarise(study_of(values)).row(0, named=True) for values in (even, skewed))
    assert good["called_frac"] == 0.05 <= good["most_expected"]
    assert good["ks_p_value"] > 0.99
    assert bad["called_frac"] > bad["most_expected"]
    assert bad["ks_p_value"] < 1e-6
    page = calibration_page(pl.concat([study_of(even), study_of(skewed, "nothing planted")]), command="make calibrate")
    assert "| perturbation_consistency | headline | 0.050 (1.00) | **0.370** (0.00) | does not apply |" in page
    picture = calibration_picture(study_of(even))
    assert ">Perturbation consistency</text>" in picture
    assert "mark-line" in picture


@pytest.fixture
def careless(monkeypatch):
    """A benchmark that calls everything, registered for one test, and scenarios of few wells."""

    @benchmark(title="t", description="d.", code_version="1", ranked_by=RankedBy("x", "x"))
    def careless(judged: JudgedMap, parameters: PermutationParameters) -> list[Score]:
        value = float(judged.vectors.mean())
        summary = Score("x", "summary", value, 0.0, -1.0, 1.0, 1 / (1 + parameters.n_permutations), 1, "perturbation")
        return [summary, Score("x", "perturbation", value, 0.0, -1.0, 1.0, 0.5, 1, "well", perturbation_id="p")]

    null = Scenario(name="shuffled", words="w", design=SMALL.model_copy(update={"is_shuffled": True}))
    planted = Scenario(name="effect 3", words="w", design=SMALL, is_null=False, effect=3.0)
    monkeypatch.setattr(calibration_scenarios, "_perturbations", lambda: (null, planted))
    monkeypatch.setitem(BENCHMARKS, "careless", careless)
    return "careless"


def test_every_registered_benchmark_has_its_place_in_the_study(careless):
    told = []
    study = run_study([careless], n_null=12, n_power=2, progress=lambda *step: told.append(step))
    assert told[-1][:2] == (14, 14)
    assert study.filter(pl.col("metric") == "x")["p_value"].to_list() == [1 / 200] * 14
    page = calibration_page(study, command="make calibrate")
    assert "| careless | headline | **1.000** (0.00) |" in page
    assert "| careless | 1.00 |" in page


@pytest.mark.parametrize("subject", ["perturbations", "batches", "chromosome_arms"])
def test_every_subject_has_nulls_and_something_planted(subject):
    scenarios = scenarios_of(subject)
    assert len({scenario.name for scenario in scenarios}) == len(scenarios)
    assert sum(scenario.is_null for scenario in scenarios) >= 2
    assert sum(not scenario.is_null for scenario in scenarios) >= 3


QUIET = SMALL.model_copy(update={"n_lone_genes": 12, "n_guides_per_gene": 2, "gene_effect": 0.0})


def with_effect_of(judged, gene):
    """The map, with one gene's wells moved far away in one direction."""
    moved = judged.vectors + 20.0 * (np.array(judged.units) == gene)[:, None]
    return replace(judged, vectors=moved.astype(judged.vectors.dtype))


@pytest.mark.parametrize("name", ["perturbation_consistency", "perturbation_magnitude"])
def test_the_published_statistic_of_one_gene_sees_it_among_genes_that_do_nothing(name):
    quiet, of_one = simulate_map(QUIET), PUBLISHED[name][1]
    genes = sorted({unit for unit, is_treated in zip(quiet.units, quiet.is_treatment, strict=True) if is_treated})
    assert of_one(with_effect_of(quiet, genes[3]), seed=3) == 0.0
    assert np.mean([of_one(quiet, seed=seed) for seed in range(8)]) > 0.2


@pytest.mark.parametrize("name", ["phenotypic_activity", "phenotypic_consistency"])
def test_published_average_precision_sees_what_is_planted(name):
    quiet, loud = (simulate_map(QUIET.model_copy(update={"gene_effect": effect})) for effect in (0.0, 6.0))
    of_one = PUBLISHED[name][1]
    assert np.mean([of_one(loud, seed) for seed in range(8)]) < 0.01
    assert np.mean([of_one(quiet, seed) for seed in range(8)]) > 0.2


def test_published_tests_of_pairs_see_genes_of_an_arm_and_no_random_cluster():
    genes = QUIET.model_copy(update={"n_complexes": 0, "n_lone_genes": 36})
    quiet, armed = (simulate_map(genes.model_copy(update={"arm_effect": effect})) for effect in (0.0, 3.0))
    assert PUBLISHED["proximity_bias"][1](armed, 0) < 1e-6
    assert PUBLISHED["proximity_bias"][1](quiet, 0) > 0.01
    assert np.mean([PUBLISHED["known_relationships"][1](quiet, seed) for seed in range(8)]) > 0.2


def test_the_study_puts_published_statistics_beside_the_nulls(monkeypatch):
    null = Scenario(name="shuffled", words="w", design=SMALL.model_copy(update={"is_shuffled": True}))
    monkeypatch.setattr(calibration_scenarios, "_perturbations", lambda: (null,))
    study = run_study(["perturbation_consistency"], n_null=3, n_power=0)
    assert study.filter(pl.col("metric") == "published").height == 3
    page = calibration_page(study, command="make calibrate")
    assert "| perturbation_consistency | published: EFAAR, one gene | " in page
