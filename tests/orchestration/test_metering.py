"""What runs took and cost: in the metadata of the asset, in the ledger and in SQL."""

import importlib.util
import shutil
from pathlib import Path

import dagster as dg
import pytest
import yaml

from assets import metering
from cellassets.stages.costs import load_prices
from cellassets.stages.tables import query_lake
from cellassets.storage.ledger import Ledger

_spec = importlib.util.spec_from_file_location("container_screen", Path(__file__).parents[1] / "container_screen.py")
container_screen = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(container_screen)
stored, PLAIN = container_screen.stored, container_screen.PLAIN
PRICES = Path(__file__).parents[2] / "configs" / "examples" / "prices" / "round_numbers.yaml"
pytestmark = pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.PreviewWarning")


@pytest.fixture
def screen(stored, tmp_path):
    shutil.copytree(stored, tmp_path / "home")
    shutil.copy(PRICES, tmp_path / "home" / "configs" / "prices.yaml")
    with dg.DagsterInstance.ephemeral() as instance:
        made = container_screen.Screen(tmp_path / "home", instance)
        made.allow()
        yield made


def attempts(screen):
    return Ledger(screen.deployment.lake.catalogue.url).attempts()


def shown(result):
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_a_partition_shows_its_time_and_its_cost_per_thousand_images(screen):
    key = screen.program("sleep 1\n" + PLAIN)
    result = screen.embed(key, "HUVEC-1")
    assert result.success, screen.log(result)
    (attempt,) = attempts(screen)
    assert (attempt.asset, attempt.experiment, attempt.model, attempt.outcome) == (
        "site_embeddings", "HUVEC-1", key, "made",
    )  # fmt: skip
    landed = screen.deployment.lake.current("raw_plates", "HUVEC-1").record.summary
    assert (attempt.n_images, attempt.n_sites) == (landed["n_images"], landed["n_sites"])
    assert 1 < attempt.wall_s < 120
    amounts = {"cores": attempt.cores, "memory_gib": attempt.memory_gib, "gpus": attempt.gpus}
    expected = load_prices(screen.deployment.configs).cost(attempt.wall_s, **amounts)
    values = shown(result)
    assert values["cost_eur"] == attempt.cost == pytest.approx(expected)
    assert values["cost_eur_per_1000_images"] == pytest.approx(1000 * expected / landed["n_images"])
    assert values["pod"] == f"{attempt.cores:g} cores, {attempt.memory_gib:g} GiB, {attempt.gpus:g} GPUs"
    found = query_lake(screen.deployment.lake, "SELECT model, cost_per_1000_images FROM costs").rows()
    assert found == [(key, pytest.approx(1000 * expected / landed["n_images"]))]


def test_what_is_there_already_is_noted_as_reused_and_shows_no_cost(screen):
    key = screen.program(PLAIN)
    screen.embed(key, "HUVEC-1")
    again = screen.embed(key, "HUVEC-1")
    assert [attempt.outcome for attempt in attempts(screen)] == ["made", "reused"]
    assert not {"pod_s", "cost_eur"} & set(shown(again))


def test_a_refusal_is_noted_with_its_time(screen):
    screen.embed(screen.program("exit 3\n"), "HUVEC-1")
    (attempt,) = attempts(screen)
    assert attempt.outcome == "refused"
    assert attempt.wall_s > 0
    assert attempt.cost > 0


def test_partitions_of_one_run_are_measured_on_their_own(screen):
    key = screen.program(PLAIN)
    assert screen.embed(key, *container_screen.EXPERIMENTS).success
    assert [attempt.experiment for attempt in attempts(screen)] == list(container_screen.EXPERIMENTS)


def test_work_that_is_killed_leaves_its_time(screen, monkeypatch):
    monkeypatch.setattr(metering, "REPORT_EVERY_S", 0.0)
    seen = []
    honest = Ledger.note
    monkeypatch.setattr(Ledger, "note", lambda self, attempt: (seen.append(attempt), honest(self, attempt)))
    assert screen.embed(screen.program(PLAIN, running={"batch_size": 20}), "HUVEC-1").success
    running = [attempt.wall_s for attempt in seen if attempt.outcome == "running"]
    assert len(running) > 2, "at the start, and with each part"
    assert running == sorted(running)


def test_without_prices_only_times_are_shown_and_a_wrong_file_stops_nothing(screen):
    prices = screen.home / "configs" / "prices.yaml"
    prices.write_text(yaml.safe_dump({"currency": "euro"}))
    result = screen.embed(screen.program(PLAIN), "HUVEC-1")
    assert result.success
    assert "no cost is computed" in screen.log(result)
    assert "pod_s" in shown(result)
    assert attempts(screen)[0].cost is None
