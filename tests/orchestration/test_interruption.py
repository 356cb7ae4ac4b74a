"""A run that gets SIGTERM ends so that Dagster retries it, at every stage, and the retry completes the work."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from assets.interruption import interruptions_kept
from assets.materialise import refusals_as_failures
from cellassets.errors import RecipeError
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen

REPOSITORY = Path(__file__).parents[2]
EXPERIMENTS = ("HUVEC-1", "HUVEC-2")
NETWORK = {
    "kind": "network",
    "train_experiments": ["HUVEC-1"],
    "validation_experiments": ["HUVEC-2"],
    "backbone": {"family": "resnet", "stem_width": 8, "widths": [8, 16], "depths": [1, 1]},
    "embedding_dim": 8,
    "augmentation": {"crop_px": 48},
    "n_epochs": 2,
}


@pytest.fixture(autouse=True)
def dagsters_handlers():
    """As while an asset is computed."""

    def interrupt(_number, _frame):
        raise dg.DagsterExecutionInterruptedError

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    yield interrupt
    assert signal.getsignal(signal.SIGTERM) is interrupt, "the handler is back"
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("becomes", [SystemExit, RecipeError, OSError, KeyboardInterrupt, None])
def test_a_signal_stays_an_interruption_whatever_the_code_makes_of_it(becomes):
    def work():
        try:
            signal.raise_signal(signal.SIGTERM)
        except dg.DagsterExecutionInterruptedError:
            if becomes is not None:
                raise becomes("something else") from None
            raise

    with pytest.raises(dg.DagsterExecutionInterruptedError), refusals_as_failures(None):
        work()


def test_without_a_signal_every_exception_stays():
    with pytest.raises(dg.Failure, match="too large") as failed, refusals_as_failures(None):
        raise RecipeError("too large")
    assert not failed.value.allow_retries
    for error in (SystemExit, OSError, KeyboardInterrupt):
        with pytest.raises(error), refusals_as_failures(None):
            raise error


def test_work_that_finishes_in_spite_of_the_signal_is_not_thrown_away():
    with interruptions_kept():
        try:
            signal.raise_signal(signal.SIGTERM)
        except dg.DagsterExecutionInterruptedError:
            finished = True
    assert finished


def test_a_signal_from_before_does_not_make_a_later_refusal_an_interruption():
    with pytest.raises(dg.DagsterExecutionInterruptedError), interruptions_kept():
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(dg.Failure), refusals_as_failures(None):
        raise RecipeError("too large")


PROGRAM = """
import json, os, signal, sys
import dagster as dg
import torch
from cellassets.definitions import build_definitions
from cellassets.storage.lake import Draft
from cellassets.training.attempts import Attempt
from resources.partitions import partition_key

torch.set_num_threads(1)
armed, answers = [], []

class Swallowing:
    # Python ignores what is raised here, so only Lightning knows of the signal and ends the training by a SystemExit
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

def ending(function, how):
    def end_first(self, *arguments, **options):
        if armed:
            armed.clear()
            how()
        return function(self, *arguments, **options)
    return end_first

Draft.publish = ending(Draft.publish, lambda: os.kill(os.getpid(), signal.SIGTERM))
Attempt.save = ending(Attempt.save, Swallowing)
job = build_definitions().resolve_implicit_global_asset_job_def()
with dg.DagsterInstance.get() as instance:
    for name, keys in json.loads(sys.argv[1]):
        for axis, key in keys.items():
            instance.add_dynamic_partitions(axis, [key])
        for is_ended in (True, False):
            armed[:] = [True] if is_ended else []
            result = job.execute_in_process(
                instance=instance, asset_selection=[dg.AssetKey(name.split("/"))], raise_on_error=False,
                partition_key=partition_key(keys),
            )
            run = instance.get_run_by_id(result.run_id)
            tags = [run.tags.get(f"dagster/{tag}") for tag in ("failure_reason", "will_retry")]
            answers.append([name, run.status.value, *tags])
print("ANSWERS " + json.dumps(answers))
"""


def ended_and_retried(home, steps, tmp_path):
    """What becomes of a run of each step that gets SIGTERM while it works, and of the next run."""
    dagster_home = tmp_path / "dagster"
    dagster_home.mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", dagster_home)
    places = {"CELLASSETS_HOME": str(home), "CELLASSETS_CONFIGS": str(home / "configs")}
    environment = {**os.environ, **places, "DAGSTER_HOME": str(dagster_home)}
    command = [sys.executable, "-c", PROGRAM, json.dumps(steps)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=REPOSITORY)
    line = next((line for line in ended.stdout.splitlines() if line.startswith("ANSWERS ")), None)
    assert line is not None, ended.stdout + ended.stderr
    return json.loads(line.removeprefix("ANSWERS "))


def expected(steps):
    interrupted = ["FAILURE", "UNEXPECTED_TERMINATION", "true"]
    return [[name, *how] for name, _ in steps for how in (interrupted, ["SUCCESS", None, None])]


@pytest.mark.slow
def test_every_stage_from_plates_to_embeddings_is_retried_after_sigterm(tmp_path):
    home = tmp_path / "home"
    for name, values in {"policy": {}, "recipes/net": NETWORK}.items():
        path = home / "configs" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values))
    write_screen(tiny_design(image_size=64, n_sites_per_well=2), home / "landing", experiment_ids=list(EXPERIMENTS))
    taken_in = ("raw_plates", "plate_store", "plate_quality")
    interrupted, other = EXPERIMENTS
    deployment = Deployment.of({}, home=home, configs=home / "configs")
    for name in taken_in:
        carry_out(stage_named(name), deployment, {"experiment": other})
    steps = [(name, {"experiment": interrupted}) for name in taken_in]
    steps += [("checkpoint", {"recipe": "net"}), ("site_embeddings", {"experiment": "HUVEC-1", "model": "net.v1"})]
    assert ended_and_retried(home, steps, tmp_path) == expected(steps)


@pytest.mark.slow
def test_every_stage_from_maps_to_reports_is_retried_after_sigterm(simulate, tmp_path):
    made = simulate()
    made.annotate("planted", made.known.pairs)
    pair = {"dataset": "SIM", "model": "m.v1"}
    steps = [("perturbation_map", pair), ("benchmark/perturbation_consistency", pair), ("map_clusters", pair)]
    steps += [("active_perturbations", pair), ("leaderboard", {}), ("model_report", {"model": "m.v1"})]
    assert ended_and_retried(made.home, steps, tmp_path) == expected(steps)
