"""Costs: pod-time times price, worked by hand; the ledger on SQLite; the view `costs`."""

from dataclasses import replace

import pytest
from pydantic import ValidationError
from upath import UPath

from cellassets.errors import ConfigError
from cellassets.stages.catalogue import open_snapshot
from cellassets.stages.costs import Prices, costs_table, images_and_sites, load_prices
from cellassets.stages.tables import query_lake
from cellassets.storage.ledger import Attempt, Ledger

PRICES = Prices(currency="EUR", core_hour=0.03, memory_gib_hour=0.004, gpu_hour=2.0, spot_factor=0.4, spot="gpu")
ATTEMPT = Attempt(
    attempt="a",
    run_id="run-1",
    asset="site_embeddings",
    experiment="SIM-1",
    dataset=None,
    model="m.v1",
    recipe=None,
    started_at="2026-11-27T10:00:00+00:00",
    wall_s=90.0,
    outcome="running",
    cores=8.0,
    memory_gib=32.0,
    gpus=1,
)


def test_the_cost_is_time_times_amounts_times_price():
    # half an hour of 8 cores (0.24), 32 GiB (0.128) and 1 GPU (2): 2.368 per hour, at the price of a spot machine
    assert PRICES.cost(1800.0, cores=8.0, memory_gib=32.0, gpus=1) == pytest.approx(0.5 * 2.368 * 0.4)
    assert PRICES.cost(1800.0, cores=8.0, memory_gib=32.0, gpus=0) == pytest.approx(0.5 * 0.368)
    everything = PRICES.model_copy(update={"spot": "all"})
    assert everything.cost(3600.0, cores=1.0, memory_gib=0.0, gpus=0) == pytest.approx(0.03 * 0.4)


@pytest.mark.parametrize(
    "change", [{"currency": "euro"}, {"core_hour": -1}, {"spot_factor": 0}, {"spot_factor": 1.5}, {"gpu_hours": 1}]
)
def test_a_wrong_price_is_refused(change):
    with pytest.raises(ValidationError):
        Prices.model_validate({**PRICES.model_dump(), **change})


def test_prices_are_optional_and_a_wrong_file_is_named(tmp_path):
    assert load_prices(UPath(tmp_path)) is None
    (tmp_path / "prices.yaml").write_text("currency: EUR\ncore_hour: cheap\n")
    with pytest.raises(ConfigError, match=r"prices.yaml: not a valid Prices: .*core_hour"):
        load_prices(UPath(tmp_path))


def test_an_attempt_is_written_once_and_updated(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'catalogue.db'}")
    assert ledger.attempts() == []
    assert costs_table(ledger) is None
    ledger.note(ATTEMPT)
    done = replace(ATTEMPT, wall_s=120.5, outcome="made", n_images=500, n_sites=100, currency="EUR", cost=0.25)
    ledger.note(done)
    other = replace(ATTEMPT, attempt="b", started_at="2026-11-27T09:00:00+00:00")
    ledger.note(other)
    assert ledger.attempts() == [other, done]


def test_sql_shows_cost_by_asset_and_model_per_thousand_images(simulate):
    simulated = simulate(n_batches=1)
    with pytest.raises(ConfigError, match="costs"):
        query_lake(simulated.lake, "SELECT * FROM costs")
    ledger = Ledger(simulated.lake.catalogue.url)
    for number, (outcome, cost) in enumerate([("interrupted", 0.5), ("made", 1.5), ("running", None)]):
        currency = None if cost is None else "EUR"
        ledger.note(replace(ATTEMPT, attempt=str(number), outcome=outcome, n_images=4000, currency=currency, cost=cost))
    statement = """SELECT asset, model, 1000 * sum(cost) / max(n_images) AS per_thousand, count(*) AS n_attempts,
        min(started_at)::VARCHAR AS first FROM costs GROUP BY ALL"""
    (row,) = query_lake(simulated.lake, statement).rows()
    assert row == ("site_embeddings", "m.v1", 0.5, 3, "2026-11-27 10:00:00+00")
    assert (
        query_lake(simulated.lake, "SELECT cost_per_1000_images c FROM costs WHERE outcome = 'made'")["c"][0] == 0.375
    )


def test_images_of_an_experiment_and_of_a_dataset_are_those_that_landed(screen):
    snapshot = open_snapshot(screen.deployment)
    one, two = (screen.lake.current("raw_plates", name).record.summary for name in ("HUVEC-1", "HUVEC-2"))
    assert images_and_sites(snapshot, {"experiment": "HUVEC-1", "model": "m.v1"}) == (one["n_images"], one["n_sites"])
    both = (one["n_images"] + two["n_images"], one["n_sites"] + two["n_sites"])
    assert images_and_sites(snapshot, {"dataset": "HUVEC", "model": "m.v1"}) == both
    assert images_and_sites(snapshot, {"experiment": "HUVEC-9"}) == (None, None)
    assert images_and_sites(snapshot, {"dataset": "nothing"}) == (None, None)
    assert images_and_sites(snapshot, {"model": "m.v1"}) == (None, None)
