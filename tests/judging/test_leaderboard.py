"""Models are ranked on equal wells only, and tables for people show all of it."""

import io

import polars as pl
import pytest
from rich.console import Console

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.judging.leaderboard import leaderboard_markdown, leaderboard_table, rank_models
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import DIFFERENCES, LEADERBOARD, SCORES


@pytest.fixture(scope="module")
def scores(scored):
    """SCORES of all benchmarks and models."""
    kinds = [publication for publication in scored.lake.records() if publication.kind.startswith("benchmark/")]
    ordered = sorted(kinds, key=lambda publication: (publication.kind, publication.keys))
    return pl.concat([read_table(scored.lake.open(one).path("scores.parquet"), SCORES) for one in ordered])


@pytest.fixture(scope="module")
def board(scored):
    return read_table(scored.lake.current("leaderboard").path("leaderboard.parquet"), LEADERBOARD)


def protocols_of(scores):
    rows = scores.select("benchmark_name", "dataset_id", "model_key", "part_id", "protocol_fingerprint")
    return {"/".join(row[:4]): row[4] for row in rows.unique().rows()}


def asks_about_perturbations():
    names = [name for name, chosen in BENCHMARKS.items() if chosen.asks_about == "perturbations" and chosen.is_headline]
    return pl.col("benchmark_name").is_in(names)


def test_the_model_that_sees_the_biology_is_first_everywhere_and_the_blind_one_last(board):
    ranked = board.filter(asks_about_perturbations())
    assert ranked["benchmark_name"].n_unique() == 5
    for (_,), rows in ranked.group_by("benchmark_name"):
        assert rows.sort("rank")["model_key"].to_list() == ["good.v1", "fair.v1", "blind.v1"]


def test_the_difference_to_the_blind_model_is_found(scored, board):
    differences = read_table(scored.lake.current("leaderboard").path("differences.parquet"), DIFFERENCES)
    found = differences.filter((pl.col("model_key_a") == "blind.v1") & (pl.col("model_key_b") == "good.v1"))
    assert set(found["benchmark_name"]) == set(board["benchmark_name"])
    found = found.filter(asks_about_perturbations())
    assert (found["difference"] < 0).all()
    assert (found["q_value"] < 0.05).all()


def test_ranks_are_among_scores_of_one_protocol_and_others_are_stale(scores):
    moved = scores.with_columns(
        pl.when(pl.col("model_key") == "good.v1")
        .then(pl.lit("earlier"))
        .otherwise("protocol_fingerprint")
        .alias("protocol_fingerprint")
    )
    ranked = rank_models(moved, protocols_of(scores)).filter(asks_about_perturbations())
    good, fair = (ranked.filter(pl.col("model_key") == key) for key in ("good.v1", "fair.v1"))
    assert set(good["rank"]) == set(fair["rank"]) == {1}
    assert good["is_stale"].all()
    assert not fair["is_stale"].any()


def test_scores_without_an_interval_are_ranked_and_shown_without_one(scores):
    without = scores.with_columns(interval_low=pl.lit(None, pl.Float64), interval_high=pl.lit(None, pl.Float64))
    ranked, usual = (rank_models(rows, protocols_of(scores)) for rows in (without, scores))
    assert ranked["rank"].to_list() == usual["rank"].to_list()
    assert " to " in leaderboard_markdown(usual)
    assert " to " not in leaderboard_markdown(ranked)


def test_scores_without_a_protocol_of_now_are_stale(scores):
    assert rank_models(scores, dict.fromkeys(protocols_of(scores)))["is_stale"].all()
    assert rank_models(scores, {})["is_stale"].all()


def test_equal_scores_share_a_rank(scores):
    twin = scores.filter(pl.col("model_key") == "good.v1").with_columns(pl.lit("twin.v1").alias("model_key"))
    ranked = rank_models(pl.concat([scores, twin]), {}).filter(pl.col("benchmark_name") == "known_relationships")
    assert ranked["rank"].to_list() == [1, 1, 3, 4]


def test_a_terminal_of_eighty_columns_shows_it_whole(board):
    stream = io.StringIO()
    Console(file=stream, width=80).print(leaderboard_table(board))
    text = stream.getvalue()
    assert "…" not in text
    names = board["benchmark_name"].unique().to_list()
    assert text.count("good.v1") == len(names) > 5
    assert all(name.replace("_", " ") in text for name in names)


def printed(board, width=100):
    stream = io.StringIO()
    Console(file=stream, width=width).print(leaderboard_table(board))
    return " ".join(stream.getvalue().split())


def test_a_nuisance_below_chance_is_marked_in_the_tables(scores):
    of_good = (pl.col("benchmark_name") == "leftover_batch_effect") & (pl.col("model_key") == "good.v1")
    is_below = of_good & (pl.col("metric") == "batch_over_correction")
    changed = scores.with_columns(pl.when(is_below).then(0.01).otherwise("p_value").alias("p_value"))
    board = rank_models(changed, protocols_of(scores))
    marked = board.filter("is_over_corrected").select("benchmark_name", "model_key").unique()
    assert marked.rows() == [("leftover_batch_effect", "good.v1")]
    declared = {name for name, benchmark in BENCHMARKS.items() if benchmark.over_correction is not None}
    known = board.filter(pl.col("is_over_corrected").is_not_null())
    assert set(known["benchmark_name"]) == declared & set(board["benchmark_name"])
    assert "good.v1 (below chance: over-corrected)" in printed(board)
    assert "good.v1 (below chance: over-corrected)" in leaderboard_markdown(board)
    assert "a good rank in this benchmark is not a merit" in printed(board)
    usual = rank_models(scores, protocols_of(scores))
    assert "over-corrected" not in printed(usual) + leaderboard_markdown(usual)


def test_a_leaderboard_of_an_earlier_version_is_shown_without_marks(board):
    earlier = board.with_columns(is_over_corrected=pl.lit(None, pl.Boolean()))
    assert "over-corrected" not in printed(earlier)


def test_the_columns_of_different_wells_are_not_to_be_compared(board):
    trained = board.filter(pl.col("model_key") == "good.v1").with_columns(
        part_id=pl.lit("first"), exposure=pl.lit("training"), experiments=pl.lit("E1"),
        is_main_part=pl.lit(value=False), rank=pl.lit(None, pl.Int32()),
    )  # fmt: skip
    text = printed(pl.concat([board, trained]))
    assert "training model score" in text  # the header of two lines: training wells
    assert "training wells (E1)" in text
    assert "compare models within a column only" in text


def test_markdown_has_one_row_per_score(board):
    lines = leaderboard_markdown(board).splitlines()
    assert len(lines) == 2 + board.height
    assert len({line.count("|") for line in lines}) == 1
