"""Searches as the daemon runs them: each variant asked for once, as many at once as there are slots, poor ones stopped.

The results of most tests are simulated: records of checkpoints are published without training.
"""

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest
import yaml

from assets.checkpoint import checkpoint
from assets.inputs import training_data
from assets.inputs import variant_results as variant_results_input
from assets.search import search
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import open_snapshot, stage_named
from cellassets.stages.search import SEARCH
from cellassets.stages.stage import Context
from cellassets.storage.artifact import write_bytes
from cellassets.storage.deployment import Deployment
from cellassets.training.search_summary import SearchSummary
from cellassets.training.summary import CheckpointSummary
from resources.places import DeploymentResource
from resources.search_slots import SLOT_TAG, slot_tags
from sensors import live
from sensors.new_recipes import new_recipes
from sensors.variant_results import variant_results

BASE = {
    "kind": "network",
    "train_experiments": ["HUVEC-1"],
    "validation_experiments": ["HUVEC-2"],
    "backbone": {"family": "resnet", "stem_width": 4, "widths": [4], "depths": [1]},
    "embedding_dim": 4,
    "uses_flagged_sites": True,
    "augmentation": {"crop_px": 32},
    "n_epochs": 4,
}
RATE = "optimiser.learning_rate"
BAYESIAN = {
    "method": "bayesian",
    "parameters": {RATE: {"low": 1e-4, "high": 1e-2, "scale": "log"}},
    "n_variants": 5,
    "n_at_once": 2,
    "n_random": 3,
}


def deployment_at(home: Path) -> Deployment:
    return Deployment.of({}, home=home, configs=home / "configs")


class World:
    """A deployment with one instance of Dagster, whose sensors are evaluated by hand."""

    def __init__(self, home: Path, instance: dg.DagsterInstance) -> None:
        self.home = home
        self.instance = instance
        self.deployment = deployment_at(home)
        self.resources = {"deployment": DeploymentResource.of(self.deployment)}
        (home / "configs/recipes").mkdir()

    def set_search(self, search: dict, **changes) -> None:
        values = {**BASE, **changes, "search": search}
        (self.home / "configs/recipes/wide.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    def tick(self, sensor) -> dg.SensorResult:
        with dg.build_sensor_context(instance=self.instance, resources=self.resources) as context:
            answer = sensor(context)
        for request in answer.dynamic_partitions_requests or []:
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
            else:
                for key in request.partition_keys:
                    self.instance.delete_dynamic_partition(request.partitions_def_name, key)
        return answer

    def asked(self, sensor) -> list[str]:
        return [request.partition_key for request in self.tick(sensor).run_requests or []]

    def carry_out(self, request: dg.RunRequest) -> bool:
        """Carries out a request as the daemon does; whether it succeeded."""
        return dg.materialize(
            [checkpoint, search, training_data, variant_results_input],
            instance=self.instance,
            selection=request.asset_selection,
            partition_key=request.partition_key,
            resources=self.resources,
            tags={**request.tags, "dagster/run_key": request.run_key},
            raise_on_error=False,
        ).success

    def search(self) -> SearchSummary:
        return SearchSummary.model_validate(self.deployment.lake.current("search", "wide").record.summary)

    def checkpoint(self, name: str) -> CheckpointSummary:
        return CheckpointSummary.model_validate(self.deployment.lake.current("checkpoint", name).record.summary)

    def end(self, name: str, value: float) -> None:
        """Publishes a simulated result."""
        plan = stage_named("checkpoint").plan(open_snapshot(self.deployment), {"recipe": name})
        history = [{"epoch": float(n), "validation_accuracy": value * n / 4} for n in (1, 2, 3, 4)]
        with self.deployment.lake.draft(plan) as draft:
            write_bytes(draft.folder / "curves.json", json.dumps(history).encode())
            draft.publish(["curves.json"], CheckpointSummary(run_id="1", metrics={"validation_accuracy": value}))


@pytest.fixture
def world(stored, tmp_path):

    shutil.copytree(stored, tmp_path / "home")
    live._snapshots.clear()
    with dg.DagsterInstance.ephemeral() as instance:
        yield World(tmp_path / "home", instance)


def test_a_bayesian_search_proposes_from_results_and_asks_for_each_variant_once(world):
    world.set_search(BAYESIAN)
    assert world.asked(new_recipes) == [], "nothing is proposed yet"
    first, again = world.tick(variant_results).run_requests, world.tick(variant_results).run_requests
    assert [request.run_key for request in first] == [request.run_key for request in again]
    assert world.carry_out(first[0])
    assert world.carry_out(again[0]), "a second run of the same work"
    assert world.deployment.lake.current("search", "wide").record.generation == 1
    assert world.search().proposed_by.startswith("optuna ")

    asked, sizes = world.asked(new_recipes), [len(world.search().variants)]
    assert asked == [row.name for row in world.search().variants]
    assert world.asked(new_recipes) == asked, "by the same run keys, until it is under way"
    assert world.asked(variant_results) == [], "nothing has ended"
    value = 0.3
    for _ in range(5):
        (name, *_) = [row.name for row in world.search().variants if row.state == "open"]
        world.end(name, value)
        value += 0.1
        # two runs at once, from the same state: the second finds what the first has proposed
        plan = SEARCH.plan(open_snapshot(world.deployment), {"search": "wide"})
        (request,) = world.tick(variant_results).run_requests
        assert world.carry_out(request)
        proposed = world.search()
        assert SearchSummary.model_validate(SEARCH.make(Context(world.deployment), plan).summary) == proposed
        assert world.search() == proposed
        sizes.append(len(world.search().variants))
        asked += [one for one in world.asked(new_recipes) if one not in asked]
    assert sizes == [2, 3, 4, 5, 5, 5], "two at once, five in all"
    assert len(set(asked)) == len(asked) == 5
    summary = world.search()
    assert (summary.n_trained, summary.n_open, summary.best_value) == (5, 0, pytest.approx(0.7))
    assert world.asked(new_recipes) == world.asked(variant_results) == []
    assert sorted(world.instance.get_dynamic_partitions("recipe")) == sorted(asked)

    world.set_search({**BAYESIAN, "n_at_once": 4})
    assert world.asked(new_recipes) == [], "another number of slots trains nothing again"


def test_a_variant_that_failed_for_good_frees_its_slot_in_a_bayesian_search(world):
    parameters = {"augmentation.crop_px": [900, 32], **BAYESIAN["parameters"]}  # the sites have 48 pixels
    world.set_search({**BAYESIAN, "n_at_once": 1, "n_variants": 12, "parameters": parameters})
    for _ in range(12):
        for request in world.tick(variant_results).run_requests or []:
            assert world.carry_out(request)
        (name,) = [row.name for row in world.search().variants if row.state == "open"]
        if "crop900" in name:
            break
        world.end(name, 0.5)
    (request,) = world.tick(new_recipes).run_requests
    assert not world.carry_out(request)
    (after,) = world.tick(variant_results).run_requests
    assert world.carry_out(after)
    states = {row.name: row.state for row in world.search().variants}
    assert states[name] == "given up"
    assert list(states.values()).count("open") == 1, "the next one was proposed"
    assert world.asked(variant_results) == [], "it is given up once"
    assert world.asked(new_recipes) == [row.name for row in world.search().variants if row.state == "open"]


def test_only_as_many_variants_are_asked_for_as_there_are_slots(world):
    world.set_search({"method": "grid", "n_at_once": 2, "parameters": {"seed": [0, 1, 2, 3]}})
    answer = world.tick(new_recipes)
    assert [request.partition_key for request in answer.run_requests] == ["wide-seed0", "wide-seed1"]
    world.end("wide-seed0", 0.5)
    assert world.asked(new_recipes) == ["wide-seed1", "wide-seed2"], "the slot goes to the next"
    world.end("wide-seed1", 0.5)
    world.end("wide-seed2", 0.5)
    assert world.asked(new_recipes) == ["wide-seed3"]
    (world.home / "configs/recipes/wide.yaml").write_text("kind: network\nsearch: {method: gird}\n")
    assert world.asked(new_recipes) == []
    assert len(world.instance.get_dynamic_partitions("recipe")) == 4, "a file that is wrong for a while retires nothing"
    assert "search: not a valid" in world.tick(variant_results).skip_reason.skip_message


def test_runs_of_variants_get_the_slot_with_the_fewest_runs_whoever_starts_them(world):
    world.set_search({"method": "grid", "n_at_once": 2, "parameters": {"seed": [0, 1, 2, 3]}})
    (world.home / "configs/recipes/plain.yaml").write_text("kind: classical\n")
    job = dg.Definitions(assets=[checkpoint], resources=world.resources).resolve_implicit_global_asset_job_def()

    def slot(name: str) -> str | None:
        """The slot of a run that a person starts."""
        run = world.instance.create_run_for_job(job, tags={"dagster/partition": name})
        tags = slot_tags(world.instance, run, world.deployment.configs)
        world.instance.add_run_tags(run.run_id, tags)
        return tags.get(SLOT_TAG)

    assert [slot(f"wide-seed{number}") for number in range(4)] == ["wide/1", "wide/2", "wide/1", "wide/2"]
    assert slot("plain") is None
    assert slot("unknown") is None


@pytest.mark.slow
def test_a_poor_variant_is_stopped_registers_nothing_and_its_slot_goes_to_the_next(world):
    rates = [1e-2, 2e-2, 1e-12, 5e-3]
    world.set_search(
        {
            "method": "grid",
            "n_at_once": 1,
            "metric": "train_loss",
            "parameters": {RATE: rates},
            "stop_poor": {"rule": "median", "after_epochs": 2, "n_siblings": 2},
        }
    )
    order = []
    for _ in rates:
        (request,) = world.tick(new_recipes).run_requests
        order.append(request.partition_key)
        assert world.carry_out(request)
    assert order == ["wide-lr0.01", "wide-lr0.02", "wide-lr1e-12", "wide-lr5e-3"]
    poor, good = world.checkpoint(order[2]), world.checkpoint(order[0])
    assert (poor.model_key, good.model_key, good.stopped) == (None, "wide-lr0.01.v1", None)
    assert (poor.stopped.rule, poor.stopped.epoch, poor.stopped.n_siblings) == ("median", 2, 2)
    assert poor.stopped.value > poor.stopped.compared_with, "it is a loss"
    registry = Context(world.deployment).registry
    entries = {entry.name: entry for entry in registry.list_models()}
    trained = [name for name in order if world.checkpoint(name).stopped is None]
    assert set(entries) == set(trained) >= {order[0], order[1]}, "the last one may be stopped too"
    assert {entry.tags["family"] for entry in entries.values()} == {"wide"}
    run = registry.client().get_run(poor.run_id)
    assert (run.info.status, run.data.tags["outcome"], run.data.tags["stopped_epoch"]) == ("FINISHED", "stopped", "2")
    assert len(registry.client().get_metric_history(poor.run_id, "train_loss")) == 2

    (request,) = world.tick(variant_results).run_requests
    assert world.carry_out(request)
    summary = world.search()
    assert (summary.n_trained, summary.n_stopped, summary.n_open) == (len(trained), 4 - len(trained), 0)
    (event,) = world.instance.fetch_materializations(dg.AssetKey("search"), limit=1).records
    shown = event.asset_materialization.metadata
    assert "stopped after epoch 2 by the rule median" in shown["variants"].value
    assert shown["curves"].value.startswith("![Variants of the search](data:image/svg+xml;base64,")
    assert world.asked(new_recipes) == world.asked(variant_results) == []

    # without the rule it is trained to its end
    world.set_search({"method": "grid", "metric": "train_loss", "parameters": {RATE: rates}})
    assert world.asked(new_recipes) == [name for name in order if name not in trained]


@pytest.mark.slow
def test_a_variant_killed_after_the_decision_stops_there_in_the_next_process(world, monkeypatch):
    from cellassets.training import poor_variant
    from cellassets.training.attempts import Attempt
    from cellassets.training.pruning import Sibling

    rule = {"rule": "median", "after_epochs": 2, "n_siblings": 1}
    world.set_search({"method": "grid", "parameters": {"seed": [0, 1]}, "stop_poor": rule})
    stage, save = stage_named("checkpoint"), Attempt.save
    better = [Sibling("other", "trained", dict.fromkeys(range(1, 5), 2.0))]
    decide = poor_variant.stop_decision
    monkeypatch.setattr(poor_variant, "stop_decision", lambda *given: decide(*given[:-1], better))

    def killed(attempt, epoch, content):
        if epoch == 1:
            raise OSError("the disk is gone")
        save(attempt, epoch, content)

    with monkeypatch.context() as patch:
        patch.setattr(Attempt, "save", killed)
        with pytest.raises(OSError, match="the disk is gone"):
            carry_out(stage, world.deployment, {"recipe": "wide-seed0"})
    monkeypatch.setattr(poor_variant, "stop_decision", lambda *_: pytest.fail("it was decided before"))
    reports = []

    def keep(*_, note=""):
        reports.append(note)

    carry_out(stage, world.deployment, {"recipe": "wide-seed0"}, progress=keep)
    found = world.checkpoint("wide-seed0")
    assert (found.stopped.epoch, found.stopped.compared_with, found.model_key) == (2, 2.0, None)
    assert {note.split(",")[0] for note in reports} == {"epoch 2 of 4"}, "the second epoch is trained again, no other"
    assert [row["epoch"] for row in json.loads(_curves(world, "wide-seed0"))] == [1, 2]


def _curves(world: World, name: str) -> bytes:
    return world.deployment.lake.current("checkpoint", name).path("curves.json").read_bytes()


def test_a_loss_that_is_not_finite_is_a_result_of_a_variant(world):
    optimiser = {"name": "sgd", "warmup_frac": 0}
    world.set_search({"method": "grid", "parameters": {RATE: [1e20]}}, optimiser=optimiser)
    (request,) = world.tick(new_recipes).run_requests
    assert world.carry_out(request)
    found = world.checkpoint("wide-lr1e20")
    assert found.model_key is None
    assert "loss is" in found.diverged
    assert world.asked(new_recipes) == []
    (request,) = world.tick(variant_results).run_requests
    assert world.carry_out(request)
    assert [row.state for row in world.search().variants] == ["diverged"]
