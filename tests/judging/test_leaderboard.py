"""Models are ranked on equal wells only; what is out of date says so; nothing is made twice."""

import io
import json
import shutil

import polars as pl
import pytest
from rich.console import Console
from upath import UPath

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.errors import ArtifactMissing
from cellassets.judging.leaderboard import (
    build_leaderboard,
    leaderboard_markdown,
    leaderboard_table,
    plan_leaderboard,
    protocol_now,
    rank_models,
)
from cellassets.storage.lake import Lake
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import DIFFERENCES, LEADERBOARD, SCORES


def board(lake):
    return read_table(lake.leaderboard().path("leaderboard.parquet"), LEADERBOARD)


def scores_of(lake):
    paths = lake.root.glob("scores/*/*/*/*/scores.parquet")
    return pl.concat([read_table(path, SCORES) for path in sorted(paths, key=str)])


def asks_about_perturbations():
    names = [name for name, chosen in BENCHMARKS.items() if chosen.asks_about == "perturbations"]
    return pl.col("benchmark_name").is_in(names)


def test_the_model_that_sees_the_biology_is_first_everywhere_and_the_blind_one_last(scored_lake):
    ranked = board(scored_lake).filter(asks_about_perturbations())
    assert ranked["benchmark_name"].n_unique() == 5
    for (_,), rows in ranked.group_by("benchmark_name"):
        assert rows.sort("rank")["model_key"].to_list() == ["good.v1", "fair.v1", "blind.v1"]


def test_the_difference_to_the_blind_model_is_found(scored_lake):
    differences = read_table(scored_lake.leaderboard().path("differences.parquet"), DIFFERENCES)
    found = differences.filter((pl.col("model_key_a") == "blind.v1") & (pl.col("model_key_b") == "good.v1"))
    assert set(found["benchmark_name"]) == set(board(scored_lake)["benchmark_name"])
    found = found.filter(asks_about_perturbations())
    assert (found["difference"] < 0).all()
    assert (found["q_value"] < 0.05).all()


def test_ranks_are_among_scores_of_one_protocol_and_others_are_stale(scored_lake, protocols_of):
    newest = plan_leaderboard(scored_lake, protocols_of(scored_lake)).inputs["protocols"]
    moved = scores_of(scored_lake).with_columns(
        pl.when(pl.col("model_key") == "good.v1")
        .then(pl.lit("earlier"))
        .otherwise("protocol_fingerprint")
        .alias("protocol_fingerprint")
    )
    ranked = rank_models(moved, newest)
    good, fair = (ranked.filter(pl.col("model_key") == key) for key in ("good.v1", "fair.v1"))
    assert set(good["rank"]) == set(fair["rank"]) == {1}
    assert good["is_stale"].all()
    assert not fair["is_stale"].any()


def test_equal_scores_share_a_rank(scored_lake):
    scores = scores_of(scored_lake)
    twin = scores.filter(pl.col("model_key") == "good.v1").with_columns(pl.lit("twin.v1").alias("model_key"))
    ranked = rank_models(pl.concat([scores, twin]), {}).filter(pl.col("benchmark_name") == "known_relationships")
    assert ranked["rank"].to_list() == [1, 1, 3, 4]


def test_scores_that_could_not_be_taken_now_are_stale(scored_lake, tmp_path):
    shutil.copytree(scored_lake.root, tmp_path / "lake")
    lake = Lake(UPath(tmp_path / "lake"))
    build_leaderboard(lake, lambda *_names: None)
    assert board(lake)["is_stale"].all()


def test_scores_of_a_map_that_was_made_anew_are_stale_and_not_compared(scored_lake, tmp_path, protocols_of):
    shutil.copytree(scored_lake.root, tmp_path / "lake")
    lake = Lake(UPath(tmp_path / "lake"))
    record = json.loads((lake.perturbation_map("SIM", "good.v1").root / "record.json").read_text())
    record["fingerprint"] = "f" * len(record["fingerprint"])
    (lake.perturbation_map("SIM", "good.v1").root / "record.json").write_text(json.dumps(record))
    build_leaderboard(lake, protocols_of(lake))
    assert board(lake).filter("is_stale")["model_key"].unique().to_list() == ["good.v1"]
    best = board(lake).filter(~pl.col("is_stale") & (pl.col("benchmark_name") == "perturbation_magnitude"))
    assert best.sort("rank")["rank"].to_list() == [1, 2], "a stale score takes no rank from a fresh one"
    differences = read_table(lake.leaderboard().path("differences.parquet"), DIFFERENCES)
    assert differences.height
    assert "good.v1" not in {*differences["model_key_a"], *differences["model_key_b"]}


def test_scores_are_stale_where_another_map_that_they_are_of_was_made_anew(scored_lake, protocols_of):
    protocols = protocols_of(scored_lake)
    record = scored_lake.scores("perturbation_magnitude", "SIM", "good.v1").record()
    own = scored_lake.perturbation_map("SIM", "good.v1").record().fingerprint
    for made_from, is_fresh in (({"SIM": own}, True), ({"SIM": "earlier"}, False), ({"GONE": own}, False)):
        of_both = record.model_copy(update={"inputs": {**record.inputs, "made_from_maps": made_from}})
        assert (protocol_now(scored_lake, of_both, protocols) is not None) == is_fresh


def test_making_it_again_does_nothing_until_a_score_is_published(scored_lake, protocols_of, add_model):
    protocols = protocols_of(scored_lake)
    first = build_leaderboard(scored_lake, protocols)
    assert build_leaderboard(scored_lake, protocols) == first
    before = plan_leaderboard(scored_lake, protocols).fingerprint
    add_model(scored_lake, "new.v1", benchmarks=[])
    assert plan_leaderboard(scored_lake, protocols).fingerprint == before
    add_model(scored_lake, "new.v1", benchmarks=["known_relationships"])
    assert plan_leaderboard(scored_lake, protocols).fingerprint != before
    (scored_lake.scores("known_relationships", "SIM", "new.v1").root / "record.json").unlink()


def test_a_terminal_of_eighty_columns_shows_it_whole(scored_lake):
    stream = io.StringIO()
    Console(file=stream, width=80).print(leaderboard_table(scored_lake))
    text = stream.getvalue()
    assert "…" not in text
    names = board(scored_lake)["benchmark_name"].unique().to_list()
    assert text.count("good.v1") == len(names) > 5
    assert all(name.replace("_", " ") in text for name in names)


def test_markdown_has_a_row_a_score(scored_lake):
    lines = leaderboard_markdown(scored_lake).splitlines()
    assert len(lines) == 2 + board(scored_lake).height
    assert len({line.count("|") for line in lines}) == 1


def test_an_empty_lake_has_no_leaderboard_to_make_or_to_show(tmp_path):
    lake = Lake(UPath(tmp_path))
    assert plan_leaderboard(lake, lambda *_names: None).inputs["scores"] == {}
    with pytest.raises(ArtifactMissing):
        leaderboard_table(lake)
