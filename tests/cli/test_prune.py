"""`cellassets lake prune` and `work prune`: dry run and deletion, on a real deployment whose screen landed again."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import imagecodecs
import pytest

from cellassets.reporting.page_links import outside_links

REPOSITORY = Path(__file__).parents[2]
DAY_S = 86_400.0


def files_of(lake):
    return [path for tree in ("records", "data") for path in (lake / tree).rglob("*") if path.is_file()]


def n_bytes_in(lake):
    return sum(path.stat().st_size for path in files_of(lake))


def make_older(lake, *, days):
    for path in files_of(lake):
        os.utime(path, (path.stat().st_mtime - days * DAY_S,) * 2)


@pytest.fixture
def landed_again(home, settle_home):
    """The home after an experiment landed again with another image, 40 days ago, and everything was made again."""
    make_older(home / "lake", days=10)
    folder = home / "landing" / "HUVEC-1"
    image = min(folder.rglob("*.png"))
    image.write_bytes(imagecodecs.png_encode(255 - imagecodecs.png_decode(image.read_bytes())))
    (folder / "_COMPLETE").write_text("landed again")
    settle_home(home)
    make_older(home / "lake", days=40)
    return home


@pytest.fixture
def dagster_home(home):
    """The home with a Dagster instance."""
    (home / "dagster").mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", home / "dagster")
    return home


def pieces(text):
    return json.loads(text)["pieces"]


def test_a_prune_frees_what_the_dry_run_says_and_leaves_a_whole_deployment(landed_again, run):
    lake, options = landed_again / "lake", ("--home", landed_again, "--no-dagster")
    before, status = n_bytes_in(lake), run("status", "--home", landed_again, "--json")
    free = [piece for piece in pieces(run("lake", "prune", *options, "--json")) if not piece["reason"]]
    assert {"raw_plates", "plate_store", "site_embeddings", "perturbation_map", "leaderboard", "model_report"} <= {
        piece["kind"] for piece in free
    }
    n_bytes = sum(piece["n_bytes"] for piece in free)
    assert f"{n_bytes} bytes would go; add --delete" in run("lake", "prune", *options)
    assert n_bytes_in(lake) == before, "a dry run changes nothing"
    done = pieces(run("lake", "prune", "--delete", *options, "--json"))
    assert sum(piece["n_bytes_freed"] for piece in done) == n_bytes == before - n_bytes_in(lake)
    assert run("artifact", "verify", "--home", landed_again)
    assert run("status", "--home", landed_again, "--json") == status
    reports = list((lake / "data/model_report").rglob("report.html"))
    assert reports
    assert all(outside_links(page.read_text()) == [] for page in reports)
    assert [piece for piece in pieces(run("lake", "prune", *options, "--json")) if not piece["reason"]] == []


def test_what_is_younger_than_the_days_or_than_an_unfinished_run_stays(dagster_home, run):
    record = max((dagster_home / "lake/records/leaderboard").glob("*.json"))
    newer = record.with_name(f"{int(record.stem) + 1:06d}.json")
    newer.write_text(
        record.read_text().replace(f'"generation": {int(record.stem)}', f'"generation": {int(newer.stem)}')
    )
    make_older(dagster_home / "lake", days=40)
    options = ("lake", "prune", "--home", dagster_home)
    assert "younger than 50 days" in run(*options, "--older-than", "50")
    assert "younger than" not in run(*options)
    with dg.DagsterInstance.from_config(str(dagster_home / "dagster")) as instance:
        long_ago = datetime.now(UTC) - timedelta(days=60)
        unfinished = dg.DagsterRun("job", status=dg.DagsterRunStatus.STARTED)
        instance.run_storage.add_historical_run(unfinished, long_ago)
    assert f"younger than run {unfinished.run_id}, which is not finished" in run(*options)


def test_a_record_that_cannot_be_read_is_named_and_the_status_is_1(home, call):
    first = home / "lake/records/leaderboard/000001.json"
    shutil.copy(first, first.with_name("000009.json"))
    first.write_text("{")
    answer = call("lake", "prune", "--home", home, "--no-dagster")
    assert answer.status == 1
    assert str(first) in answer.stderr


def test_a_lake_without_dagster_is_pruned_only_on_request(home, refused, run):
    assert "no Dagster instance (dagster.yaml) here" in refused("lake", "prune", "--home", home)
    assert run("lake", "prune", "--home", home, "--no-dagster")


@pytest.mark.parametrize(("noun", "days"), [("lake", "1"), ("work", "6")])
def test_too_few_days_are_wrong_usage(home, call, noun, days):
    assert call(noun, "prune", "--older-than", days, "--home", home).status == 2


@pytest.mark.parametrize("noun", ["lake", "work"])
def test_help_shows_an_example(run, noun):
    assert f"cellassets {noun} prune --delete" in " ".join(run(noun, "prune", "--help").split())


def test_old_runs_go_and_what_was_not_made_since_stays(dagster_home, run):
    @dg.asset
    def leaderboard():
        pass

    with dg.DagsterInstance.from_config(str(dagster_home / "dagster")) as instance:
        first, last = (dg.materialize([leaderboard], instance=instance).run_id for _ in range(2))
        long_ago = (datetime.now(UTC) - timedelta(days=60)).replace(tzinfo=None)
        with instance.run_storage.connect() as connection:
            connection.exec_driver_sql("UPDATE runs SET update_timestamp = ?", (long_ago.isoformat(" "),))
    options = ("work", "prune", "--home", dagster_home)
    shown = run(*options)
    assert f"leaderboard ({last[:8]}): made the latest materialisation of leaderboard" in shown
    assert "1 would go; add --delete" in shown
    answer = json.loads(run(*options, "--delete", "--json"))
    assert (answer["n_deleted"], {run["run_id"] for run in answer["runs"] if not run["reason"]}) == (1, {first})
    with dg.DagsterInstance.from_config(str(dagster_home / "dagster")) as instance:
        assert [one.run_id for one in instance.get_runs()] == [last]
