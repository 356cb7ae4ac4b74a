"""The sentence says what the numbers say, and no more."""

import polars as pl
import pytest

from cellassets.judging.verdict import standing_of, verdict, versus
from cellassets.tables.schemas import DIFFERENCES

HEADLINE = {
    "model_key": "m.v1", "title": "Recall of known relationships", "dataset_id": "HUVEC", "value": 0.41,
    "null_mean": 0.1, "p_value": 0.0005, "is_stale": False,
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
        "m.v1 scores 0.41 in recall of known relationships on HUVEC, clearly more than the 0.10 of chance "
        "(p = 0.0005); it is better than a.v1 by 0.20, q = 0.001, worse than b.v1 by 0.10, q = 0.02 and "
        "not distinguishable from c.v1."
    )


def test_what_does_not_beat_chance_is_said():
    text = verdict({**HEADLINE, "value": 0.12, "p_value": 0.3}, [], is_higher_better=True)
    assert "not distinguishable from the 0.10 of chance" in text
    assert text.endswith("no other model was judged on the same wells.")


def test_a_nuisance_below_chance_is_said():
    row = {**HEADLINE, "title": "Leftover batch effect", "value": 0.013, "null_mean": 0.24, "p_value": 1.0}
    text = verdict(row, [], is_higher_better=False, over_corrected="Over-corrected: 0.01 where ...")
    assert text == (
        "m.v1 scores 0.01 in leftover batch effect on HUVEC, below the 0.24 of chance (p = 1); no other model was "
        "judged on the same wells. Over-corrected: 0.01 where ..."
    )


def test_a_stale_score_is_not_judged():
    text = verdict({**HEADLINE, "is_stale": True}, [], is_higher_better=True)
    assert text == (
        "m.v1 scored 0.41 in recall of known relationships on HUVEC; that score is stale, and is compared with none."
    )


def test_a_comparison_is_turned_round_for_the_second_model():
    row = {
        "benchmark_name": "b", "metric": "m", "dataset_id": "d", "dataset_fingerprint": "f",
        "protocol_fingerprint": "p", "model_key_a": "x.v1",
        "model_key_b": "y.v1", "difference": 0.3, "interval_low": 0.1, "interval_high": 0.5, "p_value": 0.01,
        "q_value": 0.02, "n_pairs": 9, "n_free": 8,
    }  # fmt: skip
    table = DIFFERENCES.conform(pl.DataFrame([row]), source="test")
    columns = ["other", "difference", "interval_low", "interval_high"]
    assert versus(table, "x.v1").select(columns).row(0) == ("y.v1", 0.3, 0.1, 0.5)
    assert versus(table, "y.v1").select(columns).row(0) == ("x.v1", -0.3, -0.5, -0.1)
    assert versus(table, "z.v1").is_empty()
