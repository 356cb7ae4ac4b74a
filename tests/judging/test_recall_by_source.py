"""One table of recall by source: models as rows, sources as columns, and nothing else of the scores."""

import io

import polars as pl
import pytest
from rich.console import Console

from cellassets.benchmarks.parts import Part
from cellassets.judging.recall_by_source import by_dataset, n_pairs, recall_by_source, source_tables
from cellassets.tables.schemas import SCORES


def score(metric, model_key, value, n_units=20, **changes):
    row = {
        "benchmark_name": "known_relationships", "dataset_id": "SIM", "dataset_fingerprint": "w",
        "protocol_fingerprint": "p", "model_key": model_key, "metric": metric, "level": "summary",
        "perturbation_id": None, "value": value, "null_mean": 0.1, "null_low": 0.05, "null_high": 0.15,
        "p_value": 0.002, "q_value": None, "correction": "none", "interval_low": None, "interval_high": None,
        "effect_size": None, "n_units": n_units, "unit": "pair", "is_higher_better": True,
        **Part("all", "unseen_experiments", ("E1",)).columns(),
    }  # fmt: skip
    row |= {column.name: None for column in SCORES.columns if column.is_nullable and column.name not in row}
    return {**row, **changes}


@pytest.fixture
def scores():
    rows = [
        score("recall", "a.v1", 0.5, 30),
        score("recall[CORUM]", "a.v1", 0.6),
        score("recall[StringDB]", "a.v1", 0.4, 15),
        score("recall", "b.v1", 0.3, 30),
        score("recall[CORUM]", "b.v1", 0.2),
        # none of these is a recall by source
        score("recall@0.1[CORUM]", "a.v1", 0.9),
        score("recall_similar[CORUM]", "a.v1", 0.8),
        score("recall", "a.v1", 1.0, level="perturbation", perturbation_id="A|B"),
        score("recall", "a.v1", 0.7, benchmark_name="another"),
    ]
    return SCORES.conform(pl.DataFrame(rows, infer_schema_length=None), source="test")


def test_the_table_has_one_row_per_model_and_source(scores):
    table = recall_by_source(scores)
    assert table.select("model_key", "source", "value", "n_units").rows() == [
        ("a.v1", "all sources", 0.5, 30),
        ("a.v1", "CORUM", 0.6, 20),
        ("a.v1", "StringDB", 0.4, 15),
        ("b.v1", "all sources", 0.3, 30),
        ("b.v1", "CORUM", 0.2, 20),
    ]


def test_models_are_beside_each_other_and_a_missing_source_is_empty(scores):
    ((dataset_id, sources, models),) = by_dataset(recall_by_source(scores))
    assert (dataset_id, sources) == ("SIM", ["all sources", "CORUM", "StringDB"])
    assert [model["model_key"] for model in models] == ["a.v1", "b.v1"]
    assert models[1]["StringDB"] is None
    assert [n_pairs(models, source) for source in sources] == ["30", "20", "15"]


def test_scores_of_another_protocol_are_in_a_table_of_their_own(scores):
    moved = scores.with_columns(
        pl.when(pl.col("model_key") == "b.v1").then(pl.lit("q")).otherwise("protocol_fingerprint").alias(
            "protocol_fingerprint"
        )
    )  # fmt: skip
    found = [[model["model_key"] for model in models] for _, _, models in by_dataset(recall_by_source(moved))]
    assert found == [["a.v1"], ["b.v1"]]


def test_a_terminal_shows_recall_null_p_and_the_number_of_pairs(scores):
    stream = io.StringIO()
    for table in source_tables(recall_by_source(scores)):
        Console(file=stream, width=80).print(table)
    text = stream.getvalue()
    for part in ("SIM: recall of known relationships by source", "CORUM", "n = 15", "0.600", "null 0.100", "p 0.002"):
        assert part in text


def test_without_scores_there_is_no_table():
    assert recall_by_source(SCORES.empty()).is_empty()
    assert list(by_dataset(recall_by_source(SCORES.empty()))) == []
