"""Container encoders in real Dagster runs: programs in Perl and shell embed a stored experiment."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from scipy import stats
from upath import UPath

from cellassets.configuration import load_yaml
from cellassets.encoders.container.batch import write_batch
from cellassets.encoders.container.declaration import ContainerDeclaration
from cellassets.encoders.container.registering import register_container
from cellassets.tables.parquet import vectors
from cellassets.training.normalisation import channel_statistics
from resources import container_outcomes
from resources.container_processes import PASSED_ON

_spec = importlib.util.spec_from_file_location("container_screen", Path(__file__).parents[1] / "container_screen.py")
container_screen = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(container_screen)
EXAMPLE, EXPERIMENTS, PLAIN = container_screen.EXAMPLE, container_screen.EXPERIMENTS, container_screen.PLAIN
stored = container_screen.stored
SITE = ["experiment_id", "plate_id", "well_id", "site_index"]
# Dagster's own Pipes clients use a part of Dagster that is a preview
pytestmark = pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.PreviewWarning")


@pytest.fixture
def screen(stored, tmp_path, monkeypatch):
    monkeypatch.setattr(container_outcomes, "RETRY_AFTER_S", 0)
    shutil.copytree(stored, tmp_path / "home")
    with dg.DagsterInstance.ephemeral() as instance:
        yield container_screen.Screen(tmp_path / "home", instance)


def independently(plane):
    """The 14 features of one channel, by scipy and by the definition of the moments."""
    levels = plane.ravel().astype(float)
    quantiles = np.quantile(levels, (0.05, 0.25, 0.5, 0.75, 0.95), method="inverted_cdf")
    y, x = np.mgrid[: plane.shape[0], : plane.shape[1]]
    places, mass = np.stack([x.ravel(), y.ravel()]), levels / levels.sum()
    centre, spread = places @ mass, np.cov(places, aweights=levels, ddof=0)
    width, height = plane.shape[1], plane.shape[0]
    second = (spread[0, 0] / width**2, spread[1, 1] / height**2, spread[0, 1] / (width * height))
    first = (levels.mean(), levels.std(), stats.skew(levels), stats.kurtosis(levels, fisher=False))
    return [*first, *quantiles, centre[0] / width, centre[1] / height, *second]


def test_the_perl_example_is_an_encoder_like_any_other(screen):
    screen.allow()
    key = register_container(screen.registry, EXAMPLE / "moments.yaml").key
    result = screen.embed(key, "HUVEC-1")
    assert result.success, screen.log(result)
    table, store = screen.table(key), screen.store()
    assert table.select(SITE).equals(store.sites.select(SITE))
    assert set(table["model_key"]) == {"moments.v1"}
    expected = [
        [value for plane in site for value in independently(plane)] for site in store.read(range(store.n_sites))
    ]
    np.testing.assert_allclose(vectors(table), np.array(expected), rtol=1e-5, atol=1e-6)
    (event,) = result.get_asset_materialization_events()
    shown = {name: value.value for name, value in event.materialization.metadata.items()}
    assert shown["perl_version"].startswith("5.")
    assert (shown["features_per_channel"], shown["embedding_dim"], shown["n_sites"]) == (14, 84, store.n_sites)
    assert f"measured {store.n_sites} of {store.n_sites} sites" in screen.log(result)
    assert result.get_asset_check_evaluations()[0].passed


def test_the_perl_example_reads_16_bits_too(tmp_path, scaled_store):
    store, folder = scaled_store("HUVEC-1", "12 bit"), tmp_path / "batch"
    rows = np.arange(2)
    spec = load_yaml(UPath(EXAMPLE / "moments.yaml"), ContainerDeclaration, name="moments").spec()
    (folder / "out").mkdir(parents=True)
    write_batch(folder, store, rows, channel_statistics(store.sites[rows], "site"), spec, "moments.v1")
    places = {"CELLASSETS_INPUT": str(folder), "CELLASSETS_OUTPUT": str(folder / "out")}
    subprocess.run(["perl", EXAMPLE / "moments.pl"], check=True, env={**os.environ, **places})
    found = np.loadtxt(folder / "out" / "embeddings.csv", delimiter=",")[:, 1:]
    expected = [[value for plane in site for value in independently(plane)] for site in store.read(rows)]
    assert store.read(rows).max() > 255
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_program_without_pipes_embeds_all_partitions_of_a_run(screen):
    screen.allow()
    key = screen.program(PLAIN, running={"batch_size": 20})
    result = screen.embed(key, *EXPERIMENTS)
    assert result.success, screen.log(result)
    for experiment in EXPERIMENTS:
        n_sites = screen.store(experiment).n_sites
        sizes = [min(20, n_sites - start) for start in range(0, n_sites, 20)]
        expected = [(row, size) for size in sizes for row in range(size)]
        np.testing.assert_array_equal(vectors(screen.table(key, experiment)), np.array(expected))
        assert screen.published(key, experiment).record.summary["n_parts"] == len(sizes)
    assert not list((screen.home / "work" / "exchange").iterdir())


def test_a_failed_process_loses_its_own_batch_only(screen, tmp_path):
    screen.allow()
    count = f'echo x >> "{tmp_path}/started"\n'
    stop = f'[ -e "{tmp_path}/repaired" ] || [ "$(wc -l < "{tmp_path}/started")" -lt 3 ] || exit 3\n'
    key = screen.program(count + stop + PLAIN, running={"batch_size": 20})
    result = screen.embed(key, "HUVEC-1")
    assert not result.success
    last = min(60, screen.store().n_sites) - 1
    message = f"mine.v1 on HUVEC-1, sites 40 to {last}: the process ended with exit status 3; expected 0"
    assert message in screen.log(result)
    assert (tmp_path / "started").read_text() == "x\n" * 3, "a refusal is not tried again"
    assert screen.deployment.lake.artifact("site_embeddings", "HUVEC-1", key).find_record() is None
    (tmp_path / "repaired").touch()
    assert screen.embed(key, "HUVEC-1").success
    summary = screen.published(key).record.summary
    assert summary["n_parts_resumed"] == 2
    assert len((tmp_path / "started").read_text().split()) == 3 + summary["n_parts"] - 2


@pytest.mark.parametrize("end", ["exit 75", "kill -KILL $$"])
def test_an_interrupted_process_is_started_again_by_itself(screen, tmp_path, end):
    screen.allow()
    once = f'[ -e "{tmp_path}/second" ] || {{ touch "{tmp_path}/second"; {end}; }}\n'
    key = screen.program(once + PLAIN)
    result = screen.embed(key, "HUVEC-1")
    assert result.success, screen.log(result)
    assert len([event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]) == 1
    assert screen.table(key).height == screen.store().n_sites


def test_a_process_that_is_interrupted_for_ever_is_given_up(screen):
    screen.allow()
    result = screen.embed(screen.program("exit 75\n"), "HUVEC-1")
    assert not result.success
    n_retries = len([event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"])
    assert n_retries == container_outcomes.MAX_RETRIES


def test_a_wrong_answer_publishes_nothing_and_names_model_experiment_and_site(screen):
    screen.allow()
    key = screen.program(PLAIN.replace('"$row,$row,$n"', '"$row,$row"'))
    result = screen.embed(key, "HUVEC-1")
    assert not result.success
    site = " site ".join(map(str, screen.store().sites.select("well_id", "site_index").row(0)))
    log = screen.log(result)
    assert "model mine.v1, experiment HUVEC-1: " in log
    assert f"{site}) has 1 values; expected 2" in log
    assert screen.deployment.lake.artifact("site_embeddings", "HUVEC-1", key).find_record() is None


def test_the_process_sees_no_address_and_no_password_of_the_deployment(screen, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "swordfish")
    screen.allow()
    key = screen.program(f'env > "{tmp_path}/env"\n' + PLAIN)
    assert screen.embed(key, "HUVEC-1").success
    seen = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line)
    assert "swordfish" not in (tmp_path / "env").read_text()
    of_shells = {"PWD", "OLDPWD", "SHLVL", "_"}
    handed_over = {"CELLASSETS_INPUT", "CELLASSETS_OUTPUT", "DAGSTER_PIPES_CONTEXT", "DAGSTER_PIPES_MESSAGES"}
    assert set(seen) - PASSED_ON - of_shells == handed_over


def test_a_program_that_writes_beside_itself_leaves_the_model_as_it_was(screen):
    screen.allow()
    key = screen.program("echo x > encode.sh; echo y > more\n" + PLAIN)
    assert screen.embed(key, "HUVEC-1").success
    names = {path.name for path in screen.registry.fetch(key, screen.home / "fetched").iterdir()}
    assert names == {"encode.sh", "encoder.json"}


def test_equal_programs_give_bit_equal_files(screen):
    screen.allow()
    first, second = screen.program(PLAIN, name="one"), screen.program(PLAIN, name="two")
    assert screen.embed(first, "HUVEC-1").success
    assert screen.embed(second, "HUVEC-1").success
    np.testing.assert_array_equal(vectors(screen.table(first)), vectors(screen.table(second)))


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        (None, {}, "this deployment starts no container encoders; set `where` in"),
        ({}, {"local_command": [], "files": [], "image": "a/b@sha256:" + "0" * 64}, "the model has no local_command"),
        (
            {},
            {"channel_names": list("abcdef")},
            "mine.v1 expects the channels a, b, c, d, e, f; experiment HUVEC-1 has",
        ),
        ({}, {"n_channels": 4}, "mine.v1 was made for 4 channels"),
        ({}, {"local_command": ["no-such-program"]}, "exit status 127; expected 0"),
    ],
    ids=["not allowed", "image only", "other channels", "fewer channels", "no such program"],
)
def test_what_cannot_be_run_is_refused_with_what_to_do(screen, settings, changes, message):
    if settings is not None:
        screen.allow(**settings)
    result = screen.embed(screen.program(PLAIN, **changes), "HUVEC-1")
    assert not result.success
    assert message in screen.log(result)
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]


def test_batches_of_runs_that_were_killed_long_ago_are_removed(screen):
    screen.allow()
    exchange = screen.home / "work" / "exchange"
    for name in ("batch-old", "batch-new"):
        (exchange / name / "input").mkdir(parents=True)
    os.utime(exchange / "batch-old", (0, 0))
    assert screen.embed(screen.program(PLAIN), "HUVEC-1").success
    assert [path.name for path in exchange.iterdir()] == ["batch-new"]
