"""The check of every benchmark passes on sound scores and fails on faulty ones."""

import dagster as dg
import polars as pl
import pytest

from assets import benchmarks
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.definitions import build_definitions
from cellassets.storage.deployment import Deployment
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import SCORES
from resources.places import DeploymentResource


def test_every_benchmark_has_a_check_and_every_nuisance_has_two():
    keys = build_definitions().resolve_asset_graph().asset_check_keys
    found = {(key.name, key.asset_key.path[-1]) for key in keys if key.asset_key.path[0] == "benchmark"}
    nuisances = {"leftover_batch_effect", "proximity_bias"}
    assert found == {(benchmarks.CHECK, name) for name in BENCHMARKS} | {
        (benchmarks.BELOW_CHANCE, name) for name in nuisances
    }


def is_failed(result):
    return not result.passed and result.check_name == benchmarks.CHECK and result.severity.value == "WARN"


def scores_of(scored, name):
    published = scored.lake.current(f"benchmark/{name}", "SIM", "good.v1")
    return read_table(published.path("scores.parquet"), SCORES), published.record.summary.get("does_not_apply")


def headline_check(scores, name, does_not_apply=None):
    return benchmarks.check_headline(scores, BENCHMARKS[name].headline_metric, does_not_apply=does_not_apply)


@pytest.mark.parametrize("name", sorted(set(BENCHMARKS) - {"leftover_batch_effect"}))
def test_scores_of_enough_units_pass_and_so_does_a_benchmark_that_does_not_apply(scored, name):
    scores, does_not_apply = scores_of(scored, name)
    result = headline_check(scores, name, does_not_apply)
    assert result.passed
    assert scores.height or "does not apply" in result.description


def test_a_score_over_three_batches_fails(scored):
    scores, _ = scores_of(scored, "leftover_batch_effect")
    assert is_failed(headline_check(scores, "leftover_batch_effect"))


def test_a_thin_metric_beside_a_sound_headline_passes(scored):
    scores, _ = scores_of(scored, "known_relationships")
    beside = pl.col("metric") != BENCHMARKS["known_relationships"].headline_metric
    thin = scores.with_columns(pl.when(beside).then(3).otherwise("n_units").alias("n_units"))
    result = headline_check(thin, "known_relationships")
    assert result.passed
    assert "recall_similar" in result.metadata["thin"].value


def altered(scored, name, **columns):
    """Scores of one summary row of a benchmark, some columns with other values."""
    scores, _ = scores_of(scored, "known_relationships")
    headline = scores.filter((pl.col("level") == "summary") & (pl.col("metric") == "recall"))
    named = {"benchmark_name": name, "metric": BENCHMARKS[name].headline_metric}
    return headline.with_columns(pl.lit(value).alias(column) for column, value in {**named, **columns}.items())


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
@pytest.mark.parametrize("columns", [{"n_units": 3}, {"null_low": 0.3, "null_high": 0.3}], ids=["3 units", "no spread"])
def test_a_headline_of_few_units_or_with_a_constant_null_distribution_fails(scored, name, columns):
    assert headline_check(altered(scored, name), name).passed
    assert is_failed(headline_check(altered(scored, name, **columns), name))


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_a_benchmark_that_applies_and_has_no_headline_fails(name):
    assert is_failed(headline_check(SCORES.empty(), name))


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_a_benchmark_of_a_dataset_without_a_map_fails(tmp_path, name):
    (asset,) = [one for one in benchmarks.build_benchmark_assets() if one.key.path == ["benchmark", name]]
    with dg.DagsterInstance.ephemeral() as instance:
        for axis, key in (("dataset", "HUVEC"), ("model", "m.v1")):
            instance.add_dynamic_partitions(axis, [key])
        resources = {
            "deployment": DeploymentResource.of(Deployment.of({}, home=tmp_path, configs=tmp_path / "configs"))
        }
        done = dg.materialize([asset], instance=instance, partition_key="HUVEC|m.v1", resources=resources)
    evaluations = done.get_asset_check_evaluations()
    assert len(evaluations) == (2 if BENCHMARKS[name].over_correction else 1)
    for evaluation in evaluations:
        assert not evaluation.passed
        assert evaluation.severity.value == "WARN"
        assert evaluation.description == "m.v1 has no map of HUVEC: nothing is made of it"


def below_chance(scored, name, p_below):
    """Scores of a nuisance whose headline is below the central 95% of its null distribution."""
    over = BENCHMARKS[name].over_correction.metric
    return pl.concat(
        [
            altered(scored, name, value=0.05, null_low=0.1, null_high=0.4, p_value=1.0),
            altered(scored, name, metric=over, value=0.2, p_value=p_below),
        ]
    )


NUISANCES = [name for name, chosen in BENCHMARKS.items() if chosen.over_correction is not None]


@pytest.mark.parametrize("name", NUISANCES)
def test_a_nuisance_below_chance_fails(scored, name):
    result = benchmarks.check_over_correction(BENCHMARKS[name], below_chance(scored, name, 0.01))
    assert (result.passed, result.check_name, result.severity.value) == (False, benchmarks.BELOW_CHANCE, "WARN")
    assert result.description.startswith("Over-corrected: 0.05 where the null distribution is 0.10 to 0.40")
    assert result.metadata["two_sided_p_value"].value == 0.02


@pytest.mark.parametrize("name", NUISANCES)
def test_a_nuisance_at_chance_passes(scored, name):
    result = benchmarks.check_over_correction(BENCHMARKS[name], below_chance(scored, name, 0.3))
    assert (result.passed, result.description) == (True, None)
