"""The sentence says what the numbers say, and no more."""

import polars as pl
import pytest

from cellassets.judging.verdict import gain_in_words, standing_of, verdict, versus
from cellassets.tables.schemas import DIFFERENCES

HEADLINE = {
    "model_key": "m.v1", "title": "Recall of known relationships", "dataset_id": "HUVEC", "value": 0.41,
    "null_mean": 0.1, "p_value": 0.0005, "is_stale": False, "exposure": "unseen_experiments", "experiments": "E3, E4",
}  # fmt: skip


def against(other, difference, q_value):
    return {"other": other, "difference": difference, "q_value": q_value}


@pytest.mark.parametrize(
    ("difference", "q_value", "is_higher_better", "standing"),
    [
        (0.1, 0.01, True, "better"),
        (-0.1, 0.01, True, "worse"),
        (-0.1, 0.01, False, "better"),
        (0.1, 0.051, True, "not distinguishable"),
        (0.0, 0.001, True, "not distinguishable"),
    ],
)
def test_a_difference_counts_only_with_its_q_value(difference, q_value, is_higher_better, standing):
    assert standing_of(difference, q_value, is_higher_better=is_higher_better) == standing


def test_all_standings_in_one_sentence():
    rows = [against("a.v1", 0.2, 0.001), against("b.v1", -0.1, 0.02), against("c.v1", 0.01, 0.9)]
    assert verdict(HEADLINE, rows, is_higher_better=True) == (
        "m.v1 scores 0.41 in recall of known relationships on HUVEC, unseen experiments (E3, E4), "
        "clearly more than the 0.10 of chance (p = 0.0005); it is better than a.v1 by 0.20, q = 0.001, worse than b.v1 "
        "by 0.10, q = 0.02 and not distinguishable from c.v1."
    )


def test_what_does_not_beat_chance_is_said():
    text = verdict({**HEADLINE, "value": 0.12, "p_value": 0.3}, [], is_higher_better=True)
    assert "not distinguishable from the 0.10 of chance" in text
    assert text.endswith("no other model was judged on wells that both have not seen.")


def test_a_nuisance_below_chance_is_said():
    row = {**HEADLINE, "title": "Leftover batch effect", "value": 0.013, "null_mean": 0.24, "p_value": 1.0}
    text = verdict(row, [], is_higher_better=False, over_corrected="Over-corrected: 0.01 where ...")
    assert text == (
        "m.v1 scores 0.01 in leftover batch effect on HUVEC, unseen experiments (E3, E4), below the 0.24 of chance "
        "(p = 1); no other model was judged on wells that both have not seen. Over-corrected: 0.01 where ..."
    )


def test_a_stale_score_is_not_judged():
    text = verdict({**HEADLINE, "is_stale": True}, [], is_higher_better=True)
    assert text == (
        "m.v1 scored 0.41 in recall of known relationships on HUVEC, unseen experiments (E3, E4); that score is stale, "
        "and is compared with none."
    )


@pytest.mark.parametrize(
    ("exposure", "said"),
    [
        ("training", "seen in training (E3, E4), clearly more than the 0.10 of chance (p = 0.0005). It is compared"),
        ("unknown", "nobody has declared what it was trained on"),
    ],
)
def test_a_score_on_seen_wells_is_no_ground_for_a_comparison(exposure, said):
    assert said in verdict({**HEADLINE, "exposure": exposure}, [], is_higher_better=True)


def differences_of(*rows):
    shared = {
        "metric": "m", "dataset_id": "HUVEC", "dataset_fingerprint": "f", "protocol_fingerprint": "p", "part_id": "x",
        "experiments": "E4, E5", "n_experiments": 2, "model_key_a": "features.v1", "model_key_b": "network.v1",
        "p_value": 0.01, "n_pairs": 9, "n_free": 8,
    }  # fmt: skip
    names = ("benchmark_name", "difference", "interval_low", "interval_high", "q_value")
    table = pl.DataFrame([{**shared, **dict(zip(names, row, strict=True))} for row in rows])
    return DIFFERENCES.conform(table, source="test")


@pytest.mark.parametrize(
    ("first", "standing", "numbers"),
    [
        ((-0.2, -0.3, -0.1, 0.01), "is better than", "+0.20 (+0.10 to +0.30, q = 0.01)"),
        ((0.2, 0.1, 0.3, 0.01), "is worse than", "-0.20 (-0.30 to -0.10, q = 0.01)"),
        ((-0.02, -0.1, 0.06, 0.6), "shows no gain over", "+0.02 (-0.06 to +0.10, q = 0.6)"),
    ],
)
def test_the_gain_over_the_baseline_is_said_also_where_it_is_nothing(first, standing, numbers):
    table = differences_of(
        ("known_relationships", *first),
        ("perturbation_consistency", 0.1, 0.05, 0.15, 0.001),
        ("proximity_bias", 0.1, 0.05, 0.15, 0.001),  # a defect: the features have more of it
    )
    text = gain_in_words(table, "network.v1", "features.v1", benchmark_name="known_relationships", dataset_id="HUVEC")
    start = f"On unseen wells (E4, E5), network.v1 {standing} features.v1 in recall of known relationships: {numbers}. "
    recall, consistency, arms = "recall of known relationships", "perturbation consistency", "proximity bias"
    better, worse, n_equal = {
        "is better than": (f"2 ({recall} and {arms})", f"1 ({consistency})", 0),
        "is worse than": (f"1 ({arms})", f"2 ({recall} and {consistency})", 0),
        "shows no gain over": (f"1 ({arms})", f"1 ({consistency})", 1),
    }[standing]
    assert text == (
        f"{start}Of 3 headline benchmarks it is better in {better} and worse in {worse}; in {n_equal} there is no "
        "clear difference."
    )


def test_the_gain_says_how_many_benchmarks_are_not_counted():
    equal = (0.0, -0.1, 0.1, 0.9)
    table = differences_of(("known_relationships", *equal), ("grit", *equal), ("mp_value", *equal))
    names = {"benchmark_name": "known_relationships", "dataset_id": "HUVEC"}
    end = "Of 1 headline benchmarks it is better in none and worse in none; in 1 there is no clear difference."
    text = gain_in_words(table, "network.v1", "features.v1", **names)
    assert text.endswith(f"{end} 2 others are not headline ones and not counted.")
    fewer = table.filter(pl.col("benchmark_name") != "grit")
    text = gain_in_words(fewer, "network.v1", "features.v1", **names)
    assert text.endswith(f"{end} 1 other benchmark is not a headline one and not counted.")


def test_models_without_unseen_wells_in_common_have_no_gain():
    text = gain_in_words(
        differences_of(("known_relationships", 0.1, 0.0, 0.2, 0.1)), "network.v1", "features.v1",
        benchmark_name="known_relationships", dataset_id="U2OS",
    )  # fmt: skip
    assert text == "network.v1 and features.v1 were not compared: there are no wells of U2OS that neither has seen."


def test_a_comparison_is_turned_round_for_the_second_model():
    row = {
        "benchmark_name": "b", "metric": "m", "dataset_id": "d", "dataset_fingerprint": "f",
        "protocol_fingerprint": "p", "part_id": "all", "experiments": "E3, E4", "n_experiments": 2,
        "model_key_a": "x.v1",
        "model_key_b": "y.v1", "difference": 0.3, "interval_low": 0.1, "interval_high": 0.5, "p_value": 0.01,
        "q_value": 0.02, "n_pairs": 9, "n_free": 8,
    }  # fmt: skip
    table = DIFFERENCES.conform(pl.DataFrame([row]), source="test")
    columns = ["other", "difference", "interval_low", "interval_high"]
    assert versus(table, "x.v1").select(columns).row(0) == ("y.v1", 0.3, 0.1, 0.5)
    assert versus(table, "y.v1").select(columns).row(0) == ("x.v1", -0.3, -0.5, -0.1)
    assert versus(table, "z.v1").is_empty()
