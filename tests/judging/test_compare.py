"""Two models on the same wells."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from cellassets.benchmarks.definition import Influence, Score
from cellassets.benchmarks.parts import Part
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.scoring import influences_table, scores_table
from cellassets.judging.comparison import compare_models, correct_within_pairs
from cellassets.tables.schemas import DIFFERENCES, INFLUENCES, SCORES

PART = Part("all", "unseen_experiments", ("E1",))


def rows_of(model_key, values, *, benchmark_name="perturbation_consistency", wells="f1", part=None):
    metric = {"perturbation_magnitude": "magnitude"}.get(benchmark_name, "consistency_percentile")
    rows = [
        Score(metric, "perturbation", value, 0.5, 0.0, 1.0, 0.5, n_units=4, unit="well", perturbation_id=unit)
        for unit, value in values.items()
    ]
    return scores_table(
        rows,
        is_higher_better=True,
        benchmark_name=benchmark_name,
        dataset_id="D",
        dataset_fingerprint=wells,
        protocol_fingerprint=wells,
        model_key=model_key,
        **(part or PART).columns(),
    )


def influences_of(model_key, influences, *, benchmark_name, wells="f1"):
    return influences_table(
        [Influence("magnitude", well, value) for well, value in influences.items()],
        benchmark_name=benchmark_name,
        dataset_id="D",
        dataset_fingerprint=wells,
        protocol_fingerprint=wells,
        model_key=model_key,
    )


def compare(scores):
    """Differences of models whose units share nothing."""
    return compare_models(scores, INFLUENCES.empty())


def values(seed, n=20, shift=0.0):
    drawn = np.random.default_rng(seed).random(n) + shift
    return {f"p{number:02d}": float(value) for number, value in enumerate(drawn)}


def test_the_difference_is_that_of_a_paired_t_test():
    ours, theirs = values(0), values(1)
    row = compare(pl.concat([rows_of("b.v1", theirs), rows_of("a.v1", ours)])).row(0, named=True)
    expected = stats.ttest_rel(list(ours.values()), list(theirs.values()))
    assert (row["model_key_a"], row["model_key_b"], row["n_pairs"]) == ("a.v1", "b.v1", 20)
    assert row["p_value"] == pytest.approx(expected.pvalue)
    assert (row["interval_low"], row["interval_high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert row["difference"] == pytest.approx(np.mean(list(ours.values())) - np.mean(list(theirs.values())))


def test_only_perturbations_that_both_have_count():
    ours, theirs = values(0), values(1)
    theirs = {"another": 9.0, **dict(list(theirs.items())[:12])}
    row = compare(pl.concat([rows_of("a.v1", ours), rows_of("b.v1", theirs)])).row(0, named=True)
    assert row["n_pairs"] == 12


def test_models_on_other_wells_are_not_compared():
    scores = pl.concat([rows_of("a.v1", values(0)), rows_of("b.v1", values(1), wells="f2")])
    assert compare(scores).equals(DIFFERENCES.empty())
    assert compare(SCORES.empty()).equals(DIFFERENCES.empty())


def test_a_planted_difference_is_found_and_two_equal_models_do_not_differ():
    models = {"a.v1": values(0, shift=0.5), "b.v1": values(1), "c.v1": values(2)}
    table = compare(pl.concat([rows_of(key, found) for key, found in models.items()]))
    assert table.height == 3
    called = table.filter(pl.col("q_value") <= 0.05).select("model_key_a", "model_key_b").rows()
    assert called == [("a.v1", "b.v1"), ("a.v1", "c.v1")]


def test_q_values_are_corrected_over_the_benchmarks_of_two_models_and_other_models_change_none():
    names = ("perturbation_consistency", "perturbation_magnitude")
    shifts = {"a.v1": (0.25, 0.2), "b.v1": (0.0, 0.0), "c.v1": (0.0, 0.9), "d.v1": (0.1, 0.1)}
    tables = {
        key: [rows_of(key, values(n, shift=by), benchmark_name=name) for name, by in zip(names, given, strict=True)]
        for n, (key, given) in enumerate(shifts.items())
    }
    two = compare(pl.concat([*tables["a.v1"], *tables["b.v1"]]))
    four = compare(pl.concat([table for found in tables.values() for table in found]))
    np.testing.assert_allclose(two["q_value"], stats.false_discovery_control(two["p_value"]))
    assert (two["q_value"] > two["p_value"]).any()
    is_same_pair = (pl.col("model_key_a") == "a.v1") & (pl.col("model_key_b") == "b.v1")
    assert four.filter(is_same_pair).equals(two)


def test_a_comparison_outside_the_declared_family_changes_no_q_value_inside():
    names = ("benchmark_1", "benchmark_2", "benchmark_3")
    shared = {"dataset_id": "D", "model_key_a": "a.v1", "model_key_b": "b.v1"}
    table = pl.DataFrame(
        [{**shared, "benchmark_name": name, "p_value": p} for name, p in zip(names, (0.02, 0.03, 0.9), strict=True)]
    )
    inside = [("benchmark_1", "D"), ("benchmark_2", "D")]
    assert correct_within_pairs(table, inside)["q_value"].to_list() == pytest.approx([0.03, 0.03, 0.9])
    assert correct_within_pairs(table)["q_value"].to_list() == pytest.approx([0.045, 0.045, 0.9])
    outside = table.with_columns(pl.Series("p_value", [0.02, 0.03, 0.0001]))
    assert correct_within_pairs(outside, inside)["q_value"].to_list() == pytest.approx([0.03, 0.03, 0.0003])
    elsewhere = [(name, "ELSE") for name in names]
    assert correct_within_pairs(outside, elsewhere)["q_value"].to_list() == pytest.approx([0.03, 0.03, 0.0003])


def test_a_model_is_not_better_than_itself():
    row = compare(pl.concat([rows_of("a.v1", values(0)), rows_of("b.v1", values(0))])).row(0, named=True)
    assert (row["difference"], row["p_value"], row["interval_low"], row["interval_high"]) == (0.0, 1.0, 0.0, 0.0)


def test_shared_controls_widen_the_interval():
    name = "perturbation_magnitude"
    units = [rows_of("a.v1", values(0), benchmark_name=name), rows_of("b.v1", values(1), benchmark_name=name)]
    controls = [
        influences_of("a.v1", {"w1": 0.3, "w2": -0.3}, benchmark_name=name),
        influences_of("b.v1", {"w1": -0.3, "w2": 0.3}, benchmark_name=name),
    ]
    alone = compare(pl.concat(units)).row(0, named=True)
    both = compare_models(pl.concat(units), pl.concat(controls)).row(0, named=True)
    assert both["difference"] == alone["difference"]
    assert both["interval_low"] < alone["interval_low"]
    assert both["p_value"] > alone["p_value"]


def test_influences_of_another_protocol_widen_nothing():
    name = "perturbation_magnitude"
    units = pl.concat([rows_of(f"{key}.v1", values(n), benchmark_name=name) for n, key in enumerate("ab")])
    others = influences_of("a.v1", {"w1": 0.3, "w2": -0.3}, benchmark_name=name, wells="f2")
    assert compare_models(units, others).equals(compare(units))


def test_a_perturbation_with_a_bar_in_its_name_is_one_perturbation():
    models = {"a.v1": values(0), "b.v1": values(1)}
    renamed = {key: {name.replace("p00", "EGFR|KRAS"): v for name, v in found.items()} for key, found in models.items()}
    plain, barred = (compare(pl.concat([rows_of(k, v) for k, v in m.items()])) for m in (models, renamed))
    assert barred.equals(plain)


def test_scores_of_a_benchmark_that_is_gone_are_left_out():
    scores = pl.concat([rows_of(key, values(n), benchmark_name="gone") for n, key in enumerate(("a.v1", "b.v1"))])
    assert compare(scores).is_empty()


def test_a_summary_with_the_metric_of_the_units_is_no_unit():
    """The headline of analogies has the same name as the metric of its units."""
    chosen = BENCHMARKS["analogies"]
    assert chosen.headline_metric == chosen.unit_metric
    tables = []
    for key, found in (("a.v1", values(0)), ("b.v1", values(1))):
        rows = [
            Score(chosen.unit_metric, level, value, 0.5, 0.0, 1.0, 0.5, n_units=1, unit=unit, perturbation_id=name)
            for level, unit, name, value in [
                ("summary", "perturbation", "", 0.5),
                *(("perturbation", "pair", f"{name}|{name}b", value) for name, value in found.items()),
            ]
        ]
        labels = {"benchmark_name": "analogies", "dataset_id": "D", "dataset_fingerprint": "f", "model_key": key}
        tables.append(scores_table(rows, is_higher_better=True, protocol_fingerprint="p", **labels, **PART.columns()))
    row = compare(pl.concat(tables)).row(0, named=True)
    assert row["n_pairs"] == 20
    assert row["difference"] == pytest.approx(np.mean(list(values(0).values())) - np.mean(list(values(1).values())))
