"""A local deployment, that is one folder with MLflow's database and its files, is moved or copied as a whole."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cellassets.registry import Registry, folder_fingerprint

# Each step is a process of its own, as after a real move: MLflow keeps connections and places in memory.
FIRST = """
first = registry.start_run("training", parameters={}, tags={"plan": "p"})
registry.log_json(first, {"a": 1}, "note.json")
registry.register(folder, name="moved", run_id=first, tags={"kind": "classical"})
print(first)
"""
SECOND = """
assert [entry.key for entry in registry.list_models()] == ["moved.v1"]
place = registry.fetch("moved.v1", home / "cache")  # compares the files with their fingerprint
assert place.is_relative_to(home), place
assert registry.take_up_run("training", {"plan": "p"}) == sys.argv[3]
registry.log_json(sys.argv[3], {"a": 2}, "more.json")
new = registry.start_run("new", parameters={}, tags={})
registry.log_json(new, {"a": 3}, "note.json")
(folder / "encoder.json").write_text("{}")
entry = registry.register(folder, name="moved", run_id=new, tags={"kind": "classical"})
assert entry.key == "moved.v2", entry
assert registry.fetch("moved.v2", home / "cache").is_relative_to(home)
print(json.dumps([registry.client().get_run(run_id).info.artifact_uri for run_id in (sys.argv[3], new)]))
"""
OPENING = """
import json, sys
from pathlib import Path
from cellassets.registry import Registry
home, folder = Path(sys.argv[1]), Path(sys.argv[2])
registry = Registry(f"sqlite:///{home / 'mlflow.db'}", (home / "models").as_uri())
"""


def in_a_process(program: str, *arguments: Path | str) -> str:
    command = [sys.executable, "-c", OPENING + program, *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def model_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "encoder.json").write_text(json.dumps({"kind": "classical"}))
    return path


def locations(database: Path) -> list[str]:
    with sqlite3.connect(database) as connection:
        found = connection.execute(
            "SELECT artifact_uri FROM runs UNION ALL SELECT storage_location FROM model_versions "
            "UNION ALL SELECT artifact_location FROM experiments WHERE name = 'cellassets'"
        ).fetchall()
    connection.close()
    return [row[0] for row in found]


@pytest.mark.slow
def test_a_moved_deployment_goes_on_at_its_new_place_and_writes_nothing_at_the_old_one(tmp_path):
    old, new, folder = tmp_path / "old home", tmp_path / "new home", model_folder(tmp_path / "model")
    run_id = in_a_process(FIRST, old, folder)
    shutil.move(old, new)
    places = json.loads(in_a_process(SECOND, new, folder, run_id))
    assert all(place.startswith((new / "models").as_uri()) for place in places)
    assert all(place.startswith((new / "models").as_uri()) for place in locations(new / "mlflow.db"))
    assert not old.exists()


@pytest.mark.slow
def test_a_copied_deployment_leaves_the_original_as_it_is(tmp_path):
    old, new, folder = tmp_path / "old", tmp_path / "new", model_folder(tmp_path / "model")
    run_id = in_a_process(FIRST, old, folder)
    shutil.copytree(old, new)
    before = folder_fingerprint(old / "models"), locations(old / "mlflow.db")
    in_a_process(SECOND, new, folder, run_id)
    assert (folder_fingerprint(old / "models"), locations(old / "mlflow.db")) == before


def test_a_new_artifact_root_does_not_lose_files_that_stayed_at_the_old_one(tmp_path):
    uri, folder = f"sqlite:///{tmp_path / 'mlflow.db'}", model_folder(tmp_path / "model")
    Registry(uri, (tmp_path / "a").as_uri()).register(folder, name="kept", run_id=None, tags={})
    registry = Registry(uri, (tmp_path / "b").as_uri())
    assert registry.fetch("kept.v1", tmp_path).is_relative_to(tmp_path / "a")
    run_id = registry.start_run("new", parameters={}, tags={})
    assert registry.client().get_run(run_id).info.artifact_uri.startswith((tmp_path / "b").as_uri())


def test_a_deployment_reached_through_a_symbolic_link_is_not_rewritten(tmp_path):
    home, folder = tmp_path / "home", model_folder(tmp_path / "model")
    Registry(f"sqlite:///{home / 'mlflow.db'}", (home / "models").as_uri()).register(
        folder, name="linked", run_id=None, tags={}
    )
    before, link = locations(home / "mlflow.db"), tmp_path / "link"
    link.symlink_to(home)
    linked = Registry(f"sqlite:///{link / 'mlflow.db'}", (link / "models").as_uri())
    assert [entry.key for entry in linked.list_models()] == ["linked.v1"]
    assert locations(home / "mlflow.db") == before


def test_a_moved_database_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    from cellassets.errors import RegistryError
    from cellassets.registry import relocation

    old, new, folder = tmp_path / "old", tmp_path / "new", model_folder(tmp_path / "model")
    in_a_process(FIRST, old, folder)
    shutil.move(old, new)
    monkeypatch.setattr(relocation, "TIMEOUT_S", 0.1)
    holder = sqlite3.connect(new / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(RegistryError, match=r"mlflow\.db: the deployment was moved, .* make the file writable"):
            relocation.relocate(new / "mlflow.db", (new / "models").as_uri())
    finally:
        holder.close()
