"""A snapshot that is kept up to date says what a new one says, whatever changed."""

import os
import random
import shutil
from pathlib import Path

import pytest

from cellassets.errors import ConfigError, StaleArtifact
from cellassets.reconcile import live as live_module
from cellassets.reconcile.standing import leaderboard_agenda, recipe_agenda, report_agenda
from cellassets.reconcile.wanted import active_datasets, idle_datasets
from cellassets.reconcile.work import embedding_agenda, map_agenda
from cellassets.stages.datasets import dataset_names
from cellassets.stages.state import state_of

N_STEPS = 45
MODELS = ("a.v1", "b.v1", "c.v1")
EXPERIMENTS = ("HUVEC-1", "HUVEC-2", "RPE-1", "U2OS-1")
DATASETS = ("HUVEC", "RPE", "U2OS", "genes", "listed")
SETTINGS = {
    "policy.yaml": ({}, {"datasets": {"active": ["HUVEC"]}}, {"models": {"newest": 1}}, "modls: {}", "{", None),
    "mapping.yaml": ({}, {"aggregation": "median"}, "steps: 7"),
    "datasets/genes.yaml": ({"perturbation_kinds": ["gene"]}, {"cell_types": ["RPE"]}, "cell_typs: [RPE]", None),
    "datasets/listed.yaml": ({"experiment_ids": ["HUVEC-1"]}, {"annotation_sources": ["known"]}, None),
    "datasets/HUVEC.yaml": ({"cell_types": ["HUVEC"]}, None),
    "benchmarks/dose_response.yaml": ({"n_permutations": 199}, "n_permutation: 199", None),
    "recipes/plain.yaml": ({"kind": "classical"}, "kind: classic", None),
}


class Story:
    """Random events in a deployment."""

    def __init__(self, world, seed: int) -> None:
        self.world = world
        self.rng = random.Random(seed)
        self.old_plans = []
        self.tells = [self.land, self.unland, self.settings, self.annotate, self.model, self.alias]
        self.tells += [self.publish_due] * 12 + [self.publish_late, self.delete, self.lose_catalogue]

    def happens(self) -> str:
        event = self.rng.choice(self.tells)
        event()
        return event.__name__

    def land(self):
        self.world.land(self.rng.choice(EXPERIMENTS), self.rng.choice(["", "other"]))

    def unland(self):
        shutil.rmtree(Path(self.world.deployment.landing_root) / self.rng.choice(EXPERIMENTS), ignore_errors=True)

    def settings(self):
        name = self.rng.choice(sorted(SETTINGS))
        content = self.rng.choice(SETTINGS[name])
        if content is None:
            (self.world.configs / name).unlink(missing_ok=True)
        else:
            self.world.write(name, content)

    def annotate(self):
        path = self.world.annotate("known", *self.rng.sample(["A,B", "B,C", "C,D"], 2))
        if self.rng.random() < 0.3:
            path.unlink()

    def model(self):
        name = self.rng.choice(MODELS).removesuffix(".v1")
        if any(entry.name == name for entry in self.world.fresh().models()):
            self.world.client.delete_registered_model(name)
        else:
            self.world.register(name)

    def alias(self):
        entries = self.world.fresh().models()
        if entries:
            self.world.client.set_registered_model_alias(self.rng.choice(entries).name, "champion", "1")

    def publish_due(self):
        """Publishes what is due in the order of the flow, so that the story gets to the end of it."""
        snapshot = self.world.fresh()
        due = [address for address in partitions() if state_of(snapshot, *address).status == "due"]
        for kind, *keys in due[: self.rng.randrange(1, 30)]:
            plan = self.world.plan(kind, *keys)
            self.old_plans.append(plan)
            self.world.publish(plan)

    def publish_late(self):
        """Publishes a plan of some time ago, as a run that took long does."""
        if self.old_plans:
            try:
                self.world.publish(self.rng.choice(self.old_plans))
            except StaleArtifact:
                return

    def delete(self):
        published = list(self.world.lake.records())
        if published:
            row = self.rng.choice(published)
            artifact = self.world.lake.artifact(row.kind, *row.keys)
            Path(artifact.record_path(row.generation).path).unlink()
            self.world.lake.scan()

    def lose_catalogue(self):
        for path in Path(self.world.lake.root.path).glob("catalogue.db*"):
            path.unlink()


def partitions():
    """Every partition that there might be, those that should not exist included."""
    from cellassets.reconcile.work import PLATES, map_chain

    for kind in PLATES:
        yield from ((kind, experiment) for experiment in EXPERIMENTS)
    yield ("checkpoint", "plain")
    yield from (("site_embeddings", experiment, model) for model in MODELS for experiment in EXPERIMENTS)
    for kind in map_chain():
        yield from ((kind, dataset, model) for model in MODELS for dataset in DATASETS)
    yield ("leaderboard",)
    yield from (("model_report", model) for model in MODELS)


def says(snapshot) -> dict:
    """Everything that sensors and people see."""
    agendas = (embedding_agenda, map_agenda, recipe_agenda, leaderboard_agenda, report_agenda)
    told = {agenda.__name__: agenda(snapshot) for agenda in agendas}
    for function in (active_datasets, idle_datasets, dataset_names):
        try:
            told[function.__name__] = function(snapshot)
        except ConfigError as error:
            told[function.__name__] = str(error)
    return told | {address: state_of(snapshot, *address) for address in partitions()}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2, 3))])
def test_after_any_events_it_says_what_a_new_snapshot_says(world, seed):
    for name in MODELS[:2]:
        world.register(name.removesuffix(".v1"))
    for experiment_id in EXPERIMENTS[:3]:
        world.land(experiment_id)
    live, story, statuses = world.live(), Story(world, seed), set()
    for _ in range(N_STEPS):
        event = story.happens()
        world.refresh(live)
        found, expected = says(live), says(world.fresh())
        for what, value in expected.items():
            assert found[what] == value, f"{what} after {event}"
        statuses |= {(address[0], expected[address].status) for address in partitions()}
    assert {("perturbation_map", "current"), ("benchmark/dose_response", "current")} <= statuses


def test_only_what_depends_on_a_change_is_planned_again(world):
    for name in ("a", "b"):
        world.register(name)
    world.store("HUVEC-1", "HUVEC-2", "RPE-1")
    for model in ("a.v1", "b.v1"):
        world.embed(model, "HUVEC-1", "HUVEC-2", "RPE-1")
    live = world.live()
    says(live)

    def n_planned() -> int:
        world.refresh(live)
        before = live.graph.n_computed
        says(live)
        return live.graph.n_computed - before

    assert n_planned() == 0
    world.write("recipes/plain.yaml", {"kind": "classical"})
    n_of_recipe = n_planned()
    assert n_of_recipe <= 5  # the recipe, its state, and whether it is a search
    for number in range(5):
        world.write(f"recipes/plain_{number}.yaml", {"kind": "classical"})
        # every other recipe is asked whether it is a variant of the new file; their plans are not made again
        assert n_planned() <= n_of_recipe + 1 + number
    world.make("perturbation_map", "RPE", "a.v1")
    assert n_planned() < len(list(partitions())) / 3


def test_an_error_in_one_source_loses_no_change_of_another(world, monkeypatch):
    world.register("a")
    live = world.live()
    assert state_of(live, "plate_store", "HUVEC-1").status == "waiting"
    world.land("HUVEC-1")
    world.make("raw_plates", "HUVEC-1")

    def broken(_self):
        raise OSError("the disk went away")

    monkeypatch.setattr(live_module.LiveSnapshot, "_changed_models", broken)
    with pytest.raises(OSError, match="disk"):
        live.refresh()
    monkeypatch.undo()
    live.refresh()
    assert state_of(live, "plate_store", "HUVEC-1").status == "due"


def test_a_catalogue_that_was_deleted_under_it_is_rebuilt(world):
    world.store("HUVEC-1")
    live = world.live()
    for path in Path(world.lake.root.path).glob("catalogue.db*"):
        path.unlink()
    world.refresh(live)
    assert state_of(live, "plate_quality", "HUVEC-1").status == "current"


def test_settings_behind_a_link_that_is_moved_are_noticed(world):
    """Kubernetes mounts a ConfigMap as links into a folder that is itself a link, and moves that one."""
    mounted = world.root / "mounted"
    for version, active in (("1", "all"), ("2", "[]")):
        (mounted / version).mkdir(parents=True)
        path = mounted / version / "policy.yaml"
        path.write_text(f"datasets: {{active: {active}}} # same size{' ' * (5 - len(active))}")
        os.utime(path, (1, 1))
    (mounted / "data").symlink_to("1")
    (world.configs / "policy.yaml").unlink()
    (world.configs / "policy.yaml").symlink_to(mounted / "data" / "policy.yaml")
    world.store("HUVEC-1")
    live = world.live()
    assert active_datasets(live) == ("HUVEC",)
    (mounted / "new").symlink_to("2")
    (mounted / "new").rename(mounted / "data")
    world.refresh(live)
    assert active_datasets(live) == ()


def test_settings_in_a_folder_below_are_not_taken_for_settings_of_the_folder(world):
    (world.configs / "datasets" / "old").mkdir()
    world.write("datasets/old/earlier.yaml", {})
    world.write("datasets/now.yaml", {})
    assert dataset_names(world.live()) == dataset_names(world.fresh()) == ("now",)


def test_models_that_come_and_go_leave_nothing_behind(world, monkeypatch):
    monkeypatch.setattr(live_module, "MIN_GROWTH", 0)
    world.store("HUVEC-1")
    live, sizes = world.live(), []
    for number in range(8):
        world.register(f"m{number}")
        world.refresh(live)
        embedding_agenda(live), map_agenda(live)
        world.client.delete_registered_model(f"m{number}")
        world.refresh(live)
        embedding_agenda(live), map_agenda(live)
        sizes.append(len(live.graph))
    assert max(sizes[4:]) <= max(sizes[:4])
