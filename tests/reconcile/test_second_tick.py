"""The second tick does none of the work of the first again, however many datasets share all experiments.

Counted are operations: rows of the catalogue, files that are opened, plans that are computed. A cache with a limit that
the plans exceed would compute all of them again at each tick.
"""

import sys
from collections import Counter

import pytest

from cellassets.reconcile import live as live_module
from cellassets.reconcile.standing import leaderboard_agenda, plate_agenda, recipe_agenda, report_agenda
from cellassets.reconcile.wanted import active_datasets
from cellassets.reconcile.work import PLATES, embedding_agenda, map_agenda, map_chain

N_PLANS = 113_408  # of bench/reconcile.py, for which the limits of forgetting were chosen
EXPERIMENTS = tuple(f"HUVEC-{number:02d}" for number in range(12))
MODELS = ("a.v1", "b.v1", "c.v1")
DATASETS = {
    "all_1": {"cell_types": ["HUVEC"]},
    "all_2": {"perturbation_kinds": ["gene"]},
    "all_3": {"perturbation_kinds": ["compound"]},
    "all_4": {"experiment_ids": list(EXPERIMENTS)},
    "all_5": {"quality": {"min_sites_per_well": 2}},
}
SENSORS = {
    "new_experiments": lambda snapshot: [active_datasets(snapshot), plate_agenda(snapshot)],
    "new_recipes": lambda snapshot: [recipe_agenda(snapshot)],
    "new_models": lambda snapshot: [embedding_agenda(snapshot)],
    "stale_scores": lambda snapshot: [map_agenda(snapshot), leaderboard_agenda(snapshot), report_agenda(snapshot)],
}
opened: list[str] = []


def _note(event, arguments):
    if event == "open":
        opened.append(str(arguments[0]))


sys.addaudithook(_note)  # it cannot be removed


@pytest.fixture
def many(world):
    """Twelve experiments that five datasets and the cell type's own contain all of; everything by three models."""
    for name, settings in DATASETS.items():
        world.write(f"datasets/{name}.yaml", settings)
    for model in MODELS:
        world.register(model.removesuffix(".v1"))
    for experiment_id in EXPERIMENTS:
        world.land(experiment_id)
    pairs = [(dataset, model) for dataset in ("HUVEC", *DATASETS) for model in MODELS]
    for kind in PLATES:
        world.publish_many(kind, [(name,) for name in EXPERIMENTS])
    world.publish_many("site_embeddings", [(name, model) for name in EXPERIMENTS for model in MODELS])
    for kind in map_chain():
        world.publish_many(kind, pairs)
    return world


def tick(snapshot, sensor, root) -> Counter:
    """What one tick of a sensor reads and computes."""
    rows, nodes = snapshot.records.n_rows_read, snapshot.graph.n_computed
    opened.clear()
    snapshot.refresh()
    SENSORS[sensor](snapshot)
    files = [path for path in opened if path.startswith(str(root)) and ".db" not in path]  # SQLite opens its own
    return Counter(rows=snapshot.records.n_rows_read - rows, nodes=snapshot.graph.n_computed - nodes, files=len(files))


def test_an_idle_second_tick_reads_no_row_and_no_file_and_computes_nothing(many):
    snapshot = many.live()
    first = sum((tick(snapshot, sensor, many.root) for sensor in SENSORS), Counter())
    assert first["files"] > 0
    assert first["nodes"] > len(map_chain()) * len(DATASETS) * len(MODELS)
    for sensor in SENSORS:
        assert tick(snapshot, sensor, many.root) == Counter(rows=0, nodes=0, files=0), sensor


def test_ticks_between_changes_do_not_make_each_other_compute_again(many, monkeypatch):
    """A tick after a change may forget what nobody asked for lately; the limits are scaled down to this lake."""
    probe = many.live()
    for sensor in SENSORS:
        tick(probe, sensor, many.root)
    monkeypatch.setattr(live_module, "MIN_GROWTH", round(live_module.MIN_GROWTH * len(probe.graph) / N_PLANS))
    snapshot, rounds = many.live(), []
    for _ in range(4):
        rounds.append(0)
        for sensor in SENSORS:
            many.write("policy.yaml", {"models": {"newest": 9}})  # the same content, later
            rounds[-1] += tick(snapshot, sensor, many.root)["nodes"]
    assert max(rounds[1:]) < rounds[0] / 20, rounds
