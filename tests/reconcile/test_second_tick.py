"""The second tick costs nothing of what the first did, however many datasets share all experiments.

Counted are operations: rows of the catalogue, files and folders below the lake and the settings, computed plans. A cache
with a limit that the plans exceed would compute all of them again at each tick.
"""

import sys
from collections import Counter

import pytest

from cellassets.reconcile import live as live_module
from cellassets.reconcile.standing import leaderboard_agenda, plate_agenda, recipe_agenda, report_agenda
from cellassets.reconcile.wanted import active_datasets
from cellassets.reconcile.work import embedding_agenda, map_agenda

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
is_counting = False


def _note(event, arguments):
    if is_counting and event in ("open", "os.scandir", "os.listdir"):
        opened.append(f"{event} {arguments[0]}")


sys.addaudithook(_note)  # it cannot be removed


@pytest.fixture
def many(world):
    """Twelve experiments that five datasets contain all of, embedded by three models."""
    for name, settings in DATASETS.items():
        world.write(f"datasets/{name}.yaml", settings)
    for model in MODELS:
        world.register(model.removesuffix(".v1"))
    world.store(*EXPERIMENTS)
    for model in MODELS:
        world.embed(model, *EXPERIMENTS)
    return world


def tick(snapshot, sensor, root) -> Counter:
    """What one tick of a sensor reads and computes."""
    global is_counting
    rows, nodes = snapshot.records.n_rows_read, snapshot.graph.n_computed
    opened.clear()
    is_counting = True
    try:
        snapshot.refresh()
        SENSORS[sensor](snapshot)
    finally:
        is_counting = False
    # SQLite opens its own files; the folder of settings is listed to see what changed
    files = [one for one in opened if str(root) in one and ".db" not in one and not one.startswith("os.")]
    return Counter(
        rows=snapshot.records.n_rows_read - rows, nodes=snapshot.graph.n_computed - nodes, files=len(files)
    )


def test_an_idle_second_tick_reads_no_row_and_no_file_and_computes_nothing(many):
    snapshot = many.live()
    first = sum((tick(snapshot, sensor, many.root) for sensor in SENSORS), Counter())
    assert first["nodes"] > len(DATASETS) * len(MODELS) * len(EXPERIMENTS)
    for sensor in SENSORS:
        assert tick(snapshot, sensor, many.root) == Counter(rows=0, nodes=0, files=0), sensor


def test_ticks_between_changes_do_not_drive_each_other_out_of_memory(many, monkeypatch):
    """Runs publish all the time, and then each tick may forget what nothing asked for lately."""
    monkeypatch.setattr(live_module, "GROWTH", 1.0)
    monkeypatch.setattr(live_module, "MIN_GROWTH", 0)
    snapshot = many.live()

    def round_of_ticks() -> int:
        n_computed = 0
        for sensor in SENSORS:
            many.make("plate_quality", EXPERIMENTS[0]) if False else many.write("policy.yaml", {"models": {"newest": 9}})
            n_computed += tick(snapshot, sensor, many.root)["nodes"]
        return n_computed

    rounds = [round_of_ticks() for _ in range(4)]
    print(rounds)
    assert max(rounds[1:]) < rounds[0] / 4
