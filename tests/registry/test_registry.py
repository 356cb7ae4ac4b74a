import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from dagster import DagsterExecutionInterruptedError

from cellassets.errors import CorruptArtifact, PartitionKeyError, RegistryError
from cellassets.registry import Registry, folder_fingerprint, parse_model_key


def model_folder(path: Path, kind: str = "classical") -> Path:
    path.mkdir(parents=True)
    (path / "encoder.json").write_text(json.dumps({"kind": kind}))
    return path


def sqlite_registry(folder: Path) -> Registry:
    return Registry(f"sqlite:///{folder / 'mlflow.db'}", (folder / "models").as_uri())


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Registry:
    return sqlite_registry(tmp_path_factory.mktemp("a registry"))


def test_a_registered_folder_comes_back_with_its_tags(shared, tmp_path):
    folder = model_folder(tmp_path / "model")
    entry = shared.register(folder, name="first", run_id=None, tags={"kind": "classical", "recipe_name": "first"})
    assert (entry.key, entry.version, entry.kind) == ("first.v1", 1, "classical")
    assert entry.fingerprint == folder_fingerprint(folder)
    assert shared.find("first.v1") == entry
    fetched = shared.fetch("first.v1", tmp_path / "cache")
    assert folder_fingerprint(fetched) == entry.fingerprint
    assert not (tmp_path / "cache").exists(), "files on this machine are read at their own place"


def test_the_same_folder_is_registered_once_and_a_changed_one_anew(shared, tmp_path):
    folder = model_folder(tmp_path / "model")
    first = shared.register(folder, name="again", run_id=None, tags={"kind": "classical"})
    assert shared.register(folder, name="again", run_id=None, tags={"kind": "classical"}) == first
    (folder / "encoder.json").write_text("{}")
    second = shared.register(folder, name="again", run_id=None, tags={"kind": "classical"})
    assert second.key == "again.v2"
    assert [entry.key for entry in shared.list_models() if entry.name == "again"] == ["again.v1", "again.v2"]


def test_aliases_show_in_the_list_and_in_the_entry(shared, tmp_path):
    shared.register(model_folder(tmp_path / "model"), name="named", run_id=None, tags={})
    shared.client().set_registered_model_alias("named", "champion", "1")
    assert shared.find("named.v1").aliases == ("champion",)
    assert shared.find("named.v1") in shared.list_models()


def test_a_model_registered_by_others_is_listed_with_a_kind_unknown(shared, tmp_path):
    client = shared.client()
    client.create_registered_model("foreign")
    client.create_model_version("foreign", model_folder(tmp_path / "model").as_uri())
    entry = shared.find("foreign.v1")
    assert entry.kind == "unknown"
    assert len(entry.fingerprint) == 32
    assert shared.fetch("foreign.v1", tmp_path / "cache") == tmp_path / "model"


def test_a_name_that_cannot_be_a_partition_key_is_left_out_and_logged(tmp_path, caplog):
    registry = sqlite_registry(tmp_path)
    client = registry.client()
    client.create_registered_model("a name, with spaces")
    client.create_model_version("a name, with spaces", model_folder(tmp_path / "model").as_uri())
    assert registry.list_models() == []
    assert "a name, with spaces" in caplog.text
    with pytest.raises(PartitionKeyError, match="a, b"):
        registry.register(tmp_path / "model", name="a, b", run_id=None, tags={})


def test_changed_files_are_refused(shared, tmp_path):
    shared.register(model_folder(tmp_path / "model"), name="damaged", run_id=None, tags={})
    place = shared.fetch("damaged.v1", tmp_path)
    (place / "encoder.json").write_text("other")
    with pytest.raises(CorruptArtifact, match=r"damaged\.v1"):
        shared.fetch("damaged.v1", tmp_path)


def test_a_model_that_is_not_there_is_named(shared):
    with pytest.raises(RegistryError, match=r"nobody\.v3"):
        shared.find("nobody.v3")
    with pytest.raises(RegistryError, match="expected <name>"):
        shared.find("nobody")


def test_a_folder_without_encoder_json_is_refused(shared, tmp_path):
    with pytest.raises(RegistryError, match=r"no encoder\.json"):
        shared.register(tmp_path, name="empty", run_id=None, tags={})


def test_a_key_is_split_at_its_last_version():
    assert parse_model_key("a.v2.b.v10") == ("a.v2.b", 10)
    for wrong in ("a", ".v1", "a.v", "a.vx", "a.v-1"):
        with pytest.raises(RegistryError):
            parse_model_key(wrong)


def test_a_run_keeps_nested_parameters_and_curves_and_can_be_taken_up(shared):
    many = {f"p{i}": i for i in range(120)}
    run_id = shared.start_run("trial", parameters={"a": {"b": [1, 2]}, "c": "x", **many}, tags={"plan": "p"})
    for step in (1, 2):
        shared.log_metrics(run_id, {"loss": 1 / step}, step=step)
    shared.end_run(run_id, "FAILED")
    assert shared.take_up_run("trial", {"plan": "p"}) == run_id
    run = shared.client().get_run(run_id)
    assert run.info.status == "RUNNING"
    assert (run.data.params["a.b"], run.data.params["c"], run.data.params["p119"]) == ("[1, 2]", "x", "119")
    assert [point.value for point in shared.client().get_metric_history(run_id, "loss")] == [1.0, 0.5]
    assert shared.take_up_run("another", {"plan": "p"}) is None
    shared.end_run(run_id, "FINISHED")
    assert shared.take_up_run("trial", {"plan": "p"}) is None


def test_runs_that_killed_processes_left_running_are_closed(shared):
    same, duplicate, outdated = (shared.start_run("left", parameters={}, tags={"plan": p}) for p in ("b", "b", "a"))
    other = shared.start_run("other", parameters={}, tags={"plan": "b"})
    resumed = shared.take_up_run("left", {"plan": "b"})
    assert resumed in (same, duplicate)
    status = {run: shared.client().get_run(run).info.status for run in (same, duplicate, outdated, other)}
    left = {duplicate, same} - {resumed}
    assert status == {resumed: "RUNNING", **dict.fromkeys(left, "KILLED"), outdated: "KILLED", other: "RUNNING"}


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, "RUNNING"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")],
)
def test_a_run_ends_with_the_status_of_how_its_block_failed(shared, error, status):
    run_id = shared.start_run("block", parameters={}, tags={})
    expected = nullcontext() if error is None else pytest.raises(error)
    with expected, shared.ended_on_error(run_id):
        if error is not None:
            raise error
    assert shared.client().get_run(run_id).info.status == status


def test_runs_of_work_that_is_done_are_finished_and_no_others(shared):
    own, other = (shared.start_run("done", parameters={}, tags={"plan": plan}) for plan in ("p", "q"))
    killed, interrupted = (shared.start_run("done", parameters={}, tags={"plan": "p"}) for _ in range(2))
    for run_id in (killed, interrupted):
        shared.end_run(run_id, "KILLED")
    for _ in range(2):
        shared.finish_runs("done", {"plan": "p"}, run_id=interrupted)
    found = {shared.client().get_run(run_id).info.status for run_id in (own, interrupted)}
    assert found == {"FINISHED"}
    assert [shared.client().get_run(run_id).info.status for run_id in (other, killed)] == ["RUNNING", "KILLED"]


def test_an_orchestrator_interruption_counts_as_killed(shared):
    run_id = shared.start_run("interrupted", parameters={}, tags={})
    with pytest.raises(DagsterExecutionInterruptedError), shared.ended_on_error(run_id):
        raise DagsterExecutionInterruptedError
    assert shared.client().get_run(run_id).info.status == "KILLED"


def test_reading_a_registry_that_has_no_database_yet_finds_no_model_and_creates_nothing(tmp_path):
    registry = sqlite_registry(tmp_path)
    assert registry.list_models() == []
    with pytest.raises(RegistryError, match=r"first\.v1 is not in the registry .* no model is registered there yet"):
        registry.find("first.v1")
    assert list(tmp_path.iterdir()) == []


def test_reading_a_registry_in_a_folder_that_does_not_exist_is_an_error_that_names_it(tmp_path):
    registry = sqlite_registry(tmp_path / "typo")
    with pytest.raises(RegistryError, match=r"typo does not exist, .* check the path of the deployment"):
        registry.list_models()
    assert list(tmp_path.iterdir()) == []


def test_importing_the_registry_does_not_import_mlflow():
    program = "import sys, cellassets.registry; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


PROGRAM = """
import sys
from pathlib import Path
from cellassets.registry import Registry
registry = Registry(sys.argv[1], sys.argv[2])
print(registry.register(Path(sys.argv[3]), name="both", run_id=None, tags={"kind": "classical"}).key)
"""


def test_two_processes_at_a_new_database_register_one_version(tmp_path):
    folder = model_folder(tmp_path / "model")
    registry = sqlite_registry(tmp_path)
    command = [sys.executable, "-c", PROGRAM, registry.tracking_uri, registry.artifact_root, str(folder)]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    found = [(*process.communicate(), process.returncode) for process in started]
    assert [(out, err, code) for out, err, code in found] == [("both.v1\n", "", 0)] * 2
    assert [entry.key for entry in registry.list_models()] == ["both.v1"]


def test_a_kill_while_the_tables_are_created_leaves_no_half_database(tmp_path, monkeypatch):
    from alembic import op

    add_column = op.add_column

    def killed(*arguments, **options):
        add_column(*arguments, **options)
        raise SystemExit(9)

    registry = sqlite_registry(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(op, "add_column", killed)
        with pytest.raises(SystemExit):
            registry.client()
    (half,) = tmp_path.glob(".mlflow.db.new-????????????????????????????????")
    older = tmp_path / "older"
    older.mkdir()
    shutil.copy(half, older / "mlflow.db")  # as earlier versions left it
    with pytest.raises(RegistryError, match=r"mlflow.db: a process was killed while it created .* from a backup"):
        sqlite_registry(older).client()
    shutil.rmtree(older)
    assert registry.list_models() == [], "nothing was created"
    registry.client().create_registered_model("first")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]
