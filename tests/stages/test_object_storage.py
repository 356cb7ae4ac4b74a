"""The whole line of stages on an object store: by configuration alone, with the same results as on a local disk."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from upath import UPath

from cellassets import cli
from cellassets.errors import ConfigError, StaleArtifact, StorageRefused
from cellassets.images.store_spec import StoreSpec
from cellassets.reconcile.live import LiveSnapshot
from cellassets.reconcile.standing import plate_agenda
from cellassets.reconcile.work import map_agenda
from cellassets.registry import Registry
from cellassets.stages import plate_store
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import open_snapshot, stage_named, stages
from cellassets.stages.stage import Context
from cellassets.stages.stores import open_store
from cellassets.stages.tables import query_lake
from cellassets.storage import objects
from cellassets.storage.artifact import write_bytes
from cellassets.storage.deployment import Deployment
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen
from cellassets.synthetic.truth import write_truth
from cellassets.training.classical import set_up_classical
from cellassets.training.recipe import ClassicalRecipe

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # of answers that are not used
EXPERIMENTS = ("HUVEC-1", "HUVEC-2")
MODEL = "classical.v1"
DESIGN = tiny_design(
    image_size=48,
    n_rows=4,
    n_genes=8,
    complex_sizes=[3, 3],
    n_compounds=1,
    n_negative_controls=10,
    n_positive_controls=2,
)
MAP = {"steps": [{"kind": "pca", "n_components": 6}, {"kind": "centre_scale"}], "n_judged_wells": 20}
BENCHMARKS = ("perturbation_consistency", "known_relationships")
SETTINGS = {
    "policy.yaml": {},
    "mapping.yaml": MAP,
    "recipes/classical.yaml": {"kind": "classical"},
    **{f"benchmarks/{name}.yaml": {"n_permutations": 99} for name in BENCHMARKS},
}
LINE = (
    *(("raw_plates", name) for name in EXPERIMENTS),
    *(("plate_store", name) for name in EXPERIMENTS),
    *(("plate_quality", name) for name in EXPERIMENTS),
    *(("site_embeddings", name, MODEL) for name in EXPERIMENTS),
    ("perturbation_map", "HUVEC", MODEL),
    *((f"benchmark/{name}", "HUVEC", MODEL) for name in BENCHMARKS),
    ("leaderboard",),
    ("model_report", MODEL),
)


@dataclass(frozen=True)
class Line:
    """One deployment and what the line published in it."""

    deployment: Deployment
    records: dict


def run_line(deployment):
    """Carries out every stage of the line."""
    records = {}
    for name, *keys in LINE:
        stage = stage_named(name)
        records[name, *keys] = carry_out(stage, deployment, stage.by_axis(tuple(keys))).record
    return Line(deployment, records)


@pytest.fixture(scope="module")
def local(tmp_path_factory, empty_home):
    """The line on a local disk, with settings, a classical model, planted annotations and two landed experiments."""
    home = tmp_path_factory.mktemp("local") / "home"
    shutil.copytree(empty_home, home)
    for name, values in SETTINGS.items():
        path = home / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values))
    deployment = Deployment.of({}, home=home, configs=home / "configs")
    write_screen(DESIGN, home / "landing", experiment_ids=list(EXPERIMENTS))
    write_truth(DESIGN, home / "truth")
    write_bytes(deployment.lake.annotations / "planted.csv", (home / "truth" / "gene_pairs.csv").read_bytes())
    recipe = ClassicalRecipe(name="classical", parameters={"families": ["intensity"]})
    model = set_up_classical(recipe, home / "model").folder
    registry = Registry(deployment.tracking_uri, deployment.model_root)
    registry.register(model, name="classical", run_id=None, tags={"kind": "classical", "recipe_name": "classical"})
    return run_line(deployment)


def upload(source, target):
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        (target / str(path.relative_to(source))).write_bytes(path.read_bytes())


def on_gs(place, local, home):
    """The deployment whose landing zone and lake are in a bucket, with the registry and settings of the local one."""
    return Deployment.of(
        {
            **local.deployment.environment(),
            "CELLASSETS_LAKE": f"{place}/lake",
            "CELLASSETS_LANDING": f"{place}/landing",
            "CELLASSETS_CATALOGUE": f"sqlite:///{home}/catalogue.db",
            "CELLASSETS_WORK": f"{home}/work",
        }
    )


@pytest.fixture(scope="module")
def landed(gcs, local):
    """The name of a bucket with the landed experiments and the annotations."""
    place = UPath(gcs.make_bucket("landed"))
    upload(UPath(local.deployment.landing_root), place / "landing")
    upload(UPath(local.deployment.lake.annotations), place / "lake/annotations")
    return "landed"


@pytest.fixture(scope="module")
def remote(gcs, local, landed, tmp_path_factory):
    """The line on an object store."""
    place = gcs.make_bucket("line")
    gcs.copy_bucket(landed, "line")
    return run_line(on_gs(place, local, tmp_path_factory.mktemp("remote")))


@pytest.fixture
def begun(gcs, bucket, local, landed, tmp_path):
    """A deployment on an object store in which nothing is made yet."""
    gcs.copy_bucket(landed, bucket.path.rstrip("/"))
    return on_gs(str(bucket).rstrip("/"), local, tmp_path)


def make(deployment, name, *keys):
    stage = stage_named(name)
    return carry_out(stage, deployment, stage.by_axis(keys)).record


# --- the line ---


def test_every_file_is_bit_equal_to_that_of_a_local_lake(local, remote):
    for address, record in remote.records.items():
        expected = local.records[address]
        assert record.files == expected.files, address
        assert record.fingerprint == expected.fingerprint, address
        remote.deployment.lake.artifact(record.kind, *record.keys).verify(record)


def test_a_line_that_is_done_is_not_made_again(remote, gcs):
    before = len(gcs.requests)
    assert run_line(remote.deployment).records == remote.records
    assert gcs.counts(before)["insert"] == 0


def test_the_catalogue_is_rebuilt_from_the_bucket(local, remote, tmp_path):
    again = on_gs(remote.deployment.lake_root.removesuffix("/lake"), local, tmp_path)
    assert again.lake.scan().n_found == len(remote.records)
    assert {(row.kind, *row.keys): row.fingerprint for row in again.lake.records()} == {
        address: record.fingerprint for address, record in remote.records.items()
    }


def test_sql_reads_the_tables_of_a_bucket(local, remote):
    statement = "SELECT experiment_id, count(*) AS n_sites FROM site_embeddings GROUP BY ALL ORDER BY ALL"
    found = query_lake(remote.deployment.lake, statement)
    assert found.equals(query_lake(local.deployment.lake, statement))
    assert found.height == len(EXPERIMENTS)


def test_zarr_opens_a_plate_in_a_bucket(remote):
    published = remote.deployment.lake.current("plate_store", "HUVEC-1")
    array = zarr.open_array(
        zarr.storage.FsspecStore(
            AsyncFileSystemWrapper(published.folder.fs, asynchronous=True),
            path=str(published.folder / "Plate1.zarr").removeprefix("gs://"),
        ),
        mode="r",
    )
    store = open_store(remote.deployment.lake, remote.deployment.lake.records().need("plate_store", "HUVEC-1"))
    assert np.array_equal(array[5], store.read([5])[0])


# --- requests ---


def test_a_site_is_read_without_the_rest_of_its_plate(gcs, remote):
    store = open_store(remote.deployment.lake, remote.deployment.lake.records().need("plate_store", "HUVEC-1"))
    before = len(gcs.requests)
    store.read([7])
    asked = gcs.requests[before:]
    assert [request.operation for request in asked] == ["media", "media"]  # the index of the shard, and the site
    n_bytes = [int(end) - int(start) + 1 for start, end in (r.range.removeprefix("bytes=").split("-") for r in asked)]
    shard = next(f for f in remote.records["plate_store", "HUVEC-1"].files if ".zarr/c/" in f.name)
    assert sum(n_bytes) < shard.n_bytes / 10


def test_all_sites_of_a_shard_are_read_by_one_request(gcs, remote):
    store = open_store(remote.deployment.lake, remote.deployment.lake.records().need("plate_store", "HUVEC-1"))
    before = len(gcs.requests)
    store.read(range(store.n_sites))
    assert gcs.counts(before) == {"media": 2}


def test_a_record_is_found_by_one_listing_and_one_read(gcs, remote):
    lake = remote.deployment.lake
    before = len(gcs.requests)
    lake.artifact("plate_store", "HUVEC-1").record()
    assert gcs.counts(before) == {"list": 1, "media": 1}
    assert lake.artifact("plate_store", "nothing").find_record() is None
    assert gcs.counts(before) == {"list": 2, "media": 1}


def test_a_tick_reads_no_records(gcs, remote):
    """Of every landed experiment it asks for its marker, metadata and `experiment.yaml`, of which one is missing."""
    snapshot = LiveSnapshot(remote.deployment, stages())
    quiet, recheck = timedelta(minutes=10), timedelta(minutes=60)
    for _ in range(2):
        before = len(gcs.requests)
        snapshot.refresh()
        snapshot.refresh_landing({}, datetime.now(UTC), quiet, recheck)
        assert plate_agenda(snapshot).work == []
        map_agenda(snapshot)
    assert gcs.counts(before) == {"list": 2, "get": 4 * len(EXPERIMENTS)}  # lists: annotations and landing zone
    assert not [request for request in gcs.requests[before:] if "/records/" in request.name]


# --- faults ---


def test_an_outage_while_images_are_checked_costs_no_image(gcs, begun, local, monkeypatch):
    for name, value in {"GIVE_UP_AFTER_S": 0.5, "FIRST_PAUSE_S": 0.05}.items():
        monkeypatch.setattr(objects, name, value)
    gcs.fault = lambda _operation, name: 503 if name.endswith("_w3.png") else None
    with pytest.raises(ConnectionError, match="no usable answer"):
        make(begun, "raw_plates", "HUVEC-1")
    gcs.fault = lambda _operation, _name: None
    assert begun.lake.artifact("raw_plates", "HUVEC-1").find_record() is None
    assert make(begun, "raw_plates", "HUVEC-1").files == local.records["raw_plates", "HUVEC-1"].files


def test_a_refusal_while_images_are_packed_is_not_taken_for_a_damaged_image(gcs, begun):
    make(begun, "raw_plates", "HUVEC-1")
    gcs.fault = lambda operation, name: 403 if operation == "media" and name.endswith("_w3.png") else None
    with pytest.raises(StorageRefused, match="Storage Object User"):
        make(begun, "plate_store", "HUVEC-1")


def test_packing_goes_on_where_it_was_cut_off(gcs, begun, local, monkeypatch):
    monkeypatch.setattr("cellassets.stages.plate_store.plan", small_shards(plate_store.plan))
    stage = replace(stage_named("plate_store"), plan=plate_store.plan)
    make(begun, "raw_plates", "HUVEC-1")
    gcs.fault = lambda operation, name: 403 if operation == "insert" and "/c/2/" in name else None
    with pytest.raises(StorageRefused):
        carry_out(stage, begun, {"experiment": "HUVEC-1"})
    assert begun.lake.artifact("plate_store", "HUVEC-1").find_record() is None
    gcs.fault = lambda _operation, _name: None
    record = carry_out(stage, begun, {"experiment": "HUVEC-1"}).record
    undisturbed = carry_out(stage, local.deployment, {"experiment": "HUVEC-1"}).record
    assert record.summary["n_shards_resumed"] >= 1
    assert record.files == undisturbed.files


def small_shards(plan):
    def planned(snapshot, keys):
        found = plan(snapshot, keys)
        return replace(found, settings={"spec": StoreSpec(shard_sites=8)}, inputs={**found.inputs, "small": True})

    return planned


# --- two writers ---


@pytest.mark.parametrize("is_same", [True, False])
def test_of_two_runs_at_once_one_publishes_and_the_other_is_told(begun, is_same):
    make(begun, "raw_plates", "HUVEC-1")
    stage = stage_named("plate_store")
    plan = stage.plan(open_snapshot(begun), {"experiment": "HUVEC-1"})
    plans = [plan, plan if is_same else replace(plan, inputs={**plan.inputs, "other": True})]
    barrier = threading.Barrier(2)

    def run(own):
        barrier.wait()
        try:
            return stage.make(Context(begun), own)
        except StaleArtifact as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(run, plans))
    artifact = begun.lake.artifact("plate_store", "HUVEC-1")
    record = artifact.record()
    artifact.verify(record)
    assert record.generation == 1
    assert outcomes.count(record) == (2 if is_same else 1)
    assert sum(isinstance(outcome, StaleArtifact) for outcome in outcomes) == (0 if is_same else 1)
    assert begun.lake.records().need("plate_store", "HUVEC-1").plan_fingerprint == record.plan_fingerprint


# --- configuration ---


def test_a_model_in_a_bucket_embeds(bucket, local, remote, empty_home, tmp_path):
    shutil.copytree(empty_home, tmp_path / "mlflow")
    home = on_gs(remote.deployment.lake_root.removesuffix("/lake"), local, tmp_path)
    moved = replace(home, tracking_uri=f"sqlite:///{tmp_path}/mlflow/mlflow.db", model_root=f"{bucket}models")
    registry = Registry(moved.tracking_uri, moved.model_root)
    model = local.deployment.landing_root.removesuffix("/landing") + "/model"
    tags = {"kind": "classical", "recipe_name": "moved"}
    entry = registry.register(Path(model), name="moved", run_id=None, tags=tags)
    assert [name for name in bucket.fs.find(bucket.path) if name.endswith("encoder.json")]
    record = make(moved, "site_embeddings", "HUVEC-1", entry.key)
    assert record.summary["n_sites"] == local.records["site_embeddings", "HUVEC-1", MODEL].summary["n_sites"]


def test_a_lake_in_a_bucket_needs_a_named_database(bucket, local, tmp_path):
    deployment = replace(on_gs(bucket, local, tmp_path), catalogue_url="")
    with pytest.raises(ConfigError, match="set CELLASSETS_CATALOGUE"):
        deployment.lake.records()


def test_a_deployment_in_an_empty_bucket_is_there_and_one_without_a_bucket_is_not(bucket, local, tmp_path):
    assert on_gs(str(bucket).rstrip("/"), local, tmp_path).require()
    with pytest.raises(ConfigError, match="gs://no-such-bucket: there is no such bucket"):
        on_gs("gs://no-such-bucket", local, tmp_path).require()


def test_settings_can_be_in_a_bucket_too(bucket, local, begun):
    upload(local.deployment.configs, bucket / "configs")
    moved = replace(begun, configs_root=str(bucket / "configs"))
    assert make(moved, "raw_plates", "HUVEC-1").files == local.records["raw_plates", "HUVEC-1"].files
    snapshot = LiveSnapshot(moved, stages())
    snapshot.refresh()
    assert snapshot.config_names("recipes") == ("classical",)
    write_bytes(bucket / "configs/recipes/another.yaml", b"kind: classical")
    assert snapshot.refresh()
    assert snapshot.config_names("recipes") == ("another", "classical")


def test_the_command_line_works_on_a_bucket(remote, capsys, monkeypatch, tmp_path):
    for name, value in remote.deployment.environment().items():
        monkeypatch.setenv(name, value)
    zone, file = remote.deployment.landing_root, tmp_path / "pairs.csv"
    file.write_text("entity1,entity2\nA,B\n")
    for arguments in (
        ["artifact", "verify"],
        ["lake", "scan"],
        ["status"],
        ["leaderboard", "show"],
        ["sql", "SELECT count(*) AS n_rows FROM scores"],
        ["experiment", "check", zone, "HUVEC-1"],
        ["dataset", "list"],
        ["annotation", "list"],
        ["annotation", "add", str(file)],
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code in (0, None), (arguments, capsys.readouterr().err)
    assert (remote.deployment.lake.annotations / "pairs.csv").exists()
