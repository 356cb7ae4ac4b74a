"""Sensor ticks as the daemon evaluates them: what they add, what they ask for, and what they leave alone."""

import json
import shutil
import subprocess
from pathlib import Path

import dagster as dg
import pytest
import yaml

from assets.benchmarks import build_benchmark_assets
from assets.plate_quality import plate_quality
from assets.plate_store import plate_store
from assets.raw_plates import raw_plates
from cellassets.registry import Registry
from cellassets.screens.policy import IngestPolicy
from cellassets.storage.deployment import Deployment
from resources.places import DeploymentResource
from sensors import live
from sensors.new_experiments import new_experiments
from sensors.new_models import new_models
from sensors.new_recipes import new_recipes
from sensors.retry_failed import RetryConfig, retry_failed
from sensors.stale_scores import stale_scores
from sensors.work_list import ask_again, work_list

TAKEN_IN = ["plate_quality", "plate_store", "raw_plates"]
TAKE_IN = [raw_plates, plate_store, plate_quality]


@pytest.fixture
def places(tmp_path, policy):
    """Resources of an empty deployment."""
    configs = tmp_path / "configs"
    (configs / "recipes").mkdir(parents=True)
    write_policy(configs, policy)
    (tmp_path / "landing").mkdir()
    live._snapshots.clear()  # a code server that has just started
    return {"deployment": DeploymentResource.of(Deployment.of({}, home=tmp_path, configs=configs))}


def configs_of(places) -> Path:
    return Path(places["deployment"].configs_root)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def write_policy(configs: Path, policy: IngestPolicy) -> None:
    (configs / "policy.yaml").write_text(yaml.safe_dump({"ingest": policy.model_dump(mode="json")}))


def tick(sensor, instance, places, cursor=None) -> dg.SensorResult:
    """One evaluation; partitions are added and retired and events reported, as the daemon does it."""
    wanted = {name: places[name] for name in sensor.required_resource_keys}
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources=wanted) as context:
        answer = sensor(context)
    for request in answer.dynamic_partitions_requests or []:
        if isinstance(request, dg.AddDynamicPartitionsRequest):
            instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        else:
            for key in request.partition_keys:
                instance.delete_dynamic_partition(request.partitions_def_name, key)
    for event in answer.asset_events:
        instance.report_runless_asset_event(event)
    return answer


def asked(answer) -> list[tuple[str | None, list[str]]]:
    return [
        (request.partition_key, sorted(key.to_user_string() for key in request.asset_selection))
        for request in answer.run_requests or []
    ]


def take_in(instance, places, experiment_id, **options) -> dg.ExecuteInProcessResult:
    return dg.materialize(TAKE_IN, instance=instance, partition_key=experiment_id, resources=places, **options)


def carry_out(instance, places, answer) -> list[bool]:
    """Carries out the runs that a tick asks for, with the tags that the daemon gives them; whether each succeeded."""
    return [
        take_in(
            instance,
            places,
            request.partition_key,
            tags={**request.tags, "dagster/run_key": request.run_key},
            selection=request.asset_selection,
            raise_on_error=False,
        ).success
        for request in answer.run_requests
    ]


def ask_at_once(places) -> None:
    """Sets the delay before the second attempt to zero."""
    path = configs_of(places) / "policy.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "retries": {"first_delay_minutes": 0}}))


def test_a_tick_says_what_it_waits_for_and_remembers_since_when(zone, instance, places):
    zone.land(is_complete=False)
    answer = tick(new_experiments, instance, places)
    assert not answer.run_requests
    assert "E-1: no _COMPLETE in it" in answer.skip_reason.skip_message
    again = tick(new_experiments, instance, places, cursor=answer.cursor)
    assert json.loads(again.cursor) == json.loads(answer.cursor)
    assert instance.get_dynamic_partitions("experiment") == []


def test_a_complete_folder_becomes_a_partition_and_one_run(zone, instance, places):
    zone.land("E-1")
    zone.land("E-2", is_complete=False)
    answer = tick(new_experiments, instance, places)
    assert asked(answer) == [("E-1", ["plate_quality", "plate_store", "raw_plates"])]
    assert instance.get_dynamic_partitions("experiment") == ["E-1"]


def test_repeated_ticks_ask_for_the_same_run_key_and_for_nothing_once_it_is_done(zone, instance, places):
    zone.land()
    first, second = tick(new_experiments, instance, places), tick(new_experiments, instance, places)
    # the daemon launches a run key once
    assert [request.run_key for request in first.run_requests] == [request.run_key for request in second.run_requests]
    assert not second.dynamic_partitions_requests
    assert take_in(instance, places, "E-1").success
    third = tick(new_experiments, instance, places)
    assert not third.run_requests
    assert third.skip_reason.skip_message == "everything is there"


def test_what_is_queued_or_running_is_not_asked_for_again(zone, instance, places):
    zone.land()
    tick(new_experiments, instance, places)
    job = dg.Definitions(assets=TAKE_IN, resources=places).resolve_implicit_global_asset_job_def()
    instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": "E-1"},
        asset_selection=frozenset({dg.AssetKey("raw_plates")}),
    )
    assert not tick(new_experiments, instance, places).run_requests


def test_a_folder_that_changed_is_asked_for_again_under_another_key(zone, instance, places):
    folder = zone.land()
    first = tick(new_experiments, instance, places)
    assert take_in(instance, places, "E-1").success
    rows = [row for row in zone.read_metadata(folder) if row["well"] != "C03"]
    zone.write_metadata(folder, rows)
    again = tick(new_experiments, instance, places)
    assert asked(again) == [("E-1", ["plate_quality", "plate_store", "raw_plates"])]
    assert again.run_requests[0].run_key != first.run_requests[0].run_key


def test_a_changed_policy_is_seen(zone, instance, places, policy):
    zone.land()
    first = tick(new_experiments, instance, places)
    assert take_in(instance, places, "E-1").success
    assert not tick(new_experiments, instance, places).run_requests
    write_policy(configs_of(places), policy.model_copy(update={"on_bad_site": "refuse"}))
    again = tick(new_experiments, instance, places)
    assert asked(again) == asked(first)
    assert again.run_requests[0].run_key != first.run_requests[0].run_key


def test_changed_code_of_a_stage_is_seen(zone, instance, places, monkeypatch):
    zone.land()
    tick(new_experiments, instance, places)
    assert take_in(instance, places, "E-1").success
    monkeypatch.setattr("cellassets.stages.plate_quality.CODE_VERSION", "of tomorrow")
    live._snapshots.clear()  # other code is another process
    assert [key for key, _ in asked(tick(new_experiments, instance, places))] == ["E-1"]


def test_one_wrong_dataset_holds_up_itself_alone(zone, instance, places):
    zone.land()
    tick(new_experiments, instance, places)
    assert take_in(instance, places, "E-1").success
    folder = configs_of(places) / "datasets"
    folder.mkdir()
    for name, text in {
        "good": "experiment_ids: [E-1]\n",
        "early": "experiment_ids: [E-1, E-9]\n",
        "typo": "cell_typs: [HUVEC]\n",
        "unknown": "annotation_sources: [CORUM]\n",
        "HUVEC": "cell_types: [HUVEC]\n",
    }.items():
        (folder / f"{name}.yaml").write_text(text)
    answer = tick(new_experiments, instance, places)
    assert sorted(instance.get_dynamic_partitions("dataset")) == ["HUVEC", "early", "good", "typo", "unknown"]
    for words in ("dataset early: ", "E-9", "typo.yaml", "rename the file", "no annotation source ['CORUM']"):
        assert words in answer.skip_reason.skip_message
    assert tick(new_models, instance, places).skip_reason
    assert tick(stale_scores, instance, places).skip_reason


def test_a_refused_experiment_fails_its_check_and_names_the_images(zone, instance, places):
    folder = zone.land()
    (folder / "Plate1/B02_s1_w2.png").write_bytes(b"not an image")
    (folder / "Plate2/C03_s2_w1.png").unlink()
    strict = IngestPolicy(on_bad_site="refuse")
    write_policy(configs_of(places), strict)
    tick(new_experiments, instance, places)
    result = take_in(instance, places, "E-1", raise_on_error=False)
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    shown = check.metadata["findings"].value
    assert "Plate1/B02_s1_w2.png" in shown
    assert "C03" in shown
    assert places["deployment"].open().lake.artifact("raw_plates", "E-1").find_record() is None


def test_a_dropped_site_is_a_warning_and_the_rest_goes_on(zone, instance, places):
    folder = zone.land()
    (folder / "Plate1/B02_s1_w2.png").write_bytes(b"not an image")
    tick(new_experiments, instance, places)
    result = take_in(instance, places, "E-1")
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert not checks["images_are_whole"].passed
    assert checks["images_are_whole"].severity == dg.AssetCheckSeverity.WARN
    assert checks["sampled_sites_equal_the_landed_images"].passed
    assert places["deployment"].open().lake.current("plate_store", "E-1").record.summary["n_sites"] == 11


def test_an_experiment_with_a_damaged_summary_is_named_and_the_others_go_on(zone, instance, places):
    for name in ("E-1", "E-2"):
        zone.land(name)
        tick(new_experiments, instance, places)
        assert take_in(instance, places, name).success
    lake = places["deployment"].open().lake
    path = Path(lake.artifact("raw_plates", "E-1").record_path(1).path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "summary": {}}))
    for file in Path(lake.root.path).glob("catalogue.db*"):
        file.unlink()
    for sensor in (new_experiments, new_models, stale_scores):
        told = tick(sensor, instance, places).skip_reason.skip_message
        if sensor is not stale_scores:
            assert "experiment E-1: raw_plates of E-1: the summary of publication 1 is not a RawPlatesSummary" in told
    assert instance.get_dynamic_partitions("dataset") == ["HUVEC"]


def test_an_unmarked_folder_leaves_the_cursor_when_it_is_published(zone, instance, places):
    zone.land(is_complete=False)
    first = tick(new_experiments, instance, places)
    (since,) = json.loads(first.cursor)["first_seen"].values()
    earlier = {"E-1": [since[0], "2020-01-01T00:00:00+00:00"]}
    quiet = tick(new_experiments, instance, places, cursor=json.dumps({"first_seen": earlier}))
    assert carry_out(instance, places, quiet) == [True]
    for cursor in (quiet.cursor, None):
        done = tick(new_experiments, instance, places, cursor=cursor)
        assert not done.run_requests
        assert "first_seen" not in json.loads(done.cursor)


def test_a_deleted_partition_key_comes_back_and_nobody_asks_without_it(zone, instance, places):
    zone.land()
    tick(new_experiments, instance, places)
    assert take_in(instance, places, "E-1").success
    tick(new_experiments, instance, places)
    for axis in ("experiment", "dataset"):
        (key,) = instance.get_dynamic_partitions(axis)
        instance.delete_dynamic_partition(axis, key)
    shutil.rmtree(zone.root / "E-1")  # it is in the lake, and that is enough
    tick(new_experiments, instance, places)
    assert instance.get_dynamic_partitions("experiment") == ["E-1"]
    assert instance.get_dynamic_partitions("dataset") == ["HUVEC"]


def test_a_new_instance_over_an_old_lake_goes_on(zone, instance, places):
    zone.land()
    tick(new_experiments, instance, places)
    assert take_in(instance, places, "E-1").success
    live._snapshots.clear()
    with dg.DagsterInstance.ephemeral() as new:
        for sensor in (new_models, stale_scores, new_experiments):
            assert not tick(sensor, new, places).run_requests
        assert new.get_dynamic_partitions("experiment") == ["E-1"]


def test_a_recipe_waits_for_its_experiments_and_is_asked_for_once_they_are_stored(zone, instance, places):
    recipe = {"kind": "network", "train_experiments": ["E-1"], "validation_experiments": ["E-2"]}
    (configs_of(places) / "recipes/small.yaml").write_text(yaml.safe_dump(recipe))
    zone.land("E-1")
    zone.land("E-2")
    tick(new_experiments, instance, places)
    assert take_in(instance, places, "E-1").success
    waiting = tick(new_recipes, instance, places)
    assert not waiting.run_requests
    assert "checkpoint of small: waits for plate_store of E-2" in waiting.skip_reason.skip_message
    assert instance.get_dynamic_partitions("recipe") == ["small"]
    assert take_in(instance, places, "E-2").success
    assert asked(tick(new_recipes, instance, places)) == [("small", ["checkpoint"])]


def test_one_wrong_recipe_holds_up_itself_alone(instance, places):
    recipes = configs_of(places) / "recipes"
    (recipes / "broken.yaml").write_text("kind: network\nn_epoch: 3\n")
    (recipes / "classical.yaml").write_text("kind: classical\nparameters: {n_channels: 3}\n")
    answer = tick(new_recipes, instance, places)
    assert asked(answer) == [("classical", ["checkpoint"])]
    assert instance.get_dynamic_partitions("recipe") == ["broken", "classical"]


def test_a_folder_whose_name_cannot_be_a_key_is_named_in_the_tick(zone, instance, places):
    zone.land("E-1")
    zone.land("bad name|x")
    assert [key for key, _ in asked(tick(new_experiments, instance, places))] == ["E-1"]
    assert take_in(instance, places, "E-1").success
    told = tick(new_experiments, instance, places).skip_reason.skip_message
    assert "landing zone, bad name|x: ignored: " in told


def test_partitions_of_removed_recipes_and_datasets_are_retired(zone, instance, places):
    zone.land("E-1")
    recipes, datasets = configs_of(places) / "recipes", configs_of(places) / "datasets"
    datasets.mkdir()
    (recipes / "classical.yaml").write_text("kind: classical\nparameters: {n_channels: 3}\n")
    (datasets / "mine.yaml").write_text("experiment_ids: [E-1]\n")
    tick(new_experiments, instance, places)
    tick(new_recipes, instance, places)
    assert instance.get_dynamic_partitions("recipe") == ["classical"]
    assert instance.get_dynamic_partitions("dataset") == ["mine"]
    (recipes / "classical.yaml").unlink()
    (datasets / "mine.yaml").unlink()
    tick(new_experiments, instance, places)
    tick(new_recipes, instance, places)
    assert instance.get_dynamic_partitions("recipe") == []
    assert instance.get_dynamic_partitions("dataset") == []


def test_refused_data_is_asked_for_once_and_named_until_it_changes(zone, instance, places):
    folder = zone.land()
    ask_at_once(places)
    (folder / "metadata.csv").write_text("nonsense\n1\n")
    assert carry_out(instance, places, tick(new_experiments, instance, places)) == [False]
    told = tick(new_experiments, instance, places)
    assert not told.run_requests
    assert "raw_plates of E-1: refused, run `cellassets work retry` to ask again: " in told.skip_reason.skip_message
    assert "metadata.csv" in told.skip_reason.skip_message
    zone.land()
    assert carry_out(instance, places, tick(new_experiments, instance, places)) == [True]


def test_refused_work_is_listed_and_asked_for_again_by_a_person(zone, instance, places):
    folder = zone.land()
    zone.land("E-2", is_complete=False)
    good = (folder / "metadata.csv").read_text()
    (folder / "metadata.csv").write_text("nonsense\n1\n")
    carry_out(instance, places, tick(new_experiments, instance, places))
    (configs_of(places) / "recipes/plain.yaml").write_text("kind: classical\nparameters: {n_channels: 3}\n")
    with live.live_snapshot(places["deployment"]) as snapshot:
        listed = {(entry.what, entry.partition): entry for entry in work_list(snapshot, instance)}
    refused = listed["raw_plates, plate_store, plate_quality", "E-1"]
    assert (refused.state, refused.n_attempts) == ("refused", 1)
    assert "metadata.csv" in refused.reason
    assert listed["checkpoint", "plain"].state == "missing"
    assert listed["landing zone, E-2", ""].state == "waiting"
    assert not tick(new_experiments, instance, places).run_requests
    config = dg.RunConfig(ops={"ask_for_failed_work": RetryConfig(asset="raw_plates")})
    done = retry_failed.execute_in_process(run_config=config, instance=instance, resources=places)
    assert done.output_for_node("ask_for_failed_work") == 1
    again = tick(new_experiments, instance, places)
    assert asked(again) == [("E-1", TAKEN_IN)]
    (folder / "metadata.csv").write_text(good)
    assert carry_out(instance, places, again) == [True]
    with live.live_snapshot(places["deployment"]) as snapshot:
        assert ask_again(snapshot, instance) == []


def test_a_cause_that_passes_is_asked_for_again(zone, instance, places, tmp_path):
    zone.land()
    ask_at_once(places)
    lake = tmp_path / "lake"
    lake.mkdir()
    (lake / "data").write_text("in the way of a folder")
    for _ in range(2):
        assert carry_out(instance, places, tick(new_experiments, instance, places)) == [False]
    (lake / "data").unlink()
    assert carry_out(instance, places, tick(new_experiments, instance, places)) == [True]
    assert tick(new_experiments, instance, places).skip_reason.skip_message == "everything is there"


def test_a_full_disk_is_a_cause_that_passes(zone, instance, places, tmp_path):
    zone.land()
    ask_at_once(places)
    (tmp_path / "lake").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(tmp_path / "lake")]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount a file system")
    try:
        (tmp_path / "lake" / "filler").write_bytes(bytes(100_000))
        assert carry_out(instance, places, tick(new_experiments, instance, places)) == [False]
        subprocess.run(["mount", "-o", "remount,size=50m", str(tmp_path / "lake")], check=True)
        assert carry_out(instance, places, tick(new_experiments, instance, places)) == [True]
    finally:
        subprocess.run(["umount", str(tmp_path / "lake")], check=True)


def test_a_waiting_cell_type_is_named_by_every_sensor_that_it_concerns(zone, instance, places):
    zone.land("E-1")
    policy_file = configs_of(places) / "policy.yaml"
    values = yaml.safe_load(policy_file.read_text())
    policy_file.write_text(yaml.safe_dump({**values, "datasets": {"active": ["RPE"]}}))
    tick(new_experiments, instance, places)
    assert take_in(instance, places, "E-1").success
    for sensor in (new_experiments, new_models, stale_scores):
        told = tick(sensor, instance, places).skip_reason.skip_message
        assert "dataset HUVEC: it is not active: name it in datasets.active" in told


def test_a_model_that_is_ignored_is_named_with_the_reason(instance, places, empty_home, tmp_path):
    shutil.copy(empty_home / "mlflow.db", tmp_path / "mlflow.db")
    deployment = places["deployment"].open()
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "encoder.json").write_text("{}")
    Registry(deployment.tracking_uri, deployment.model_root).register(folder, name="kindless", run_id=None, tags={})
    told = tick(new_models, instance, places).skip_reason.skip_message
    assert (
        "model kindless.v1: ignored: it has no tag `kind`; expected network or classical or container or profiles"
        in told
    )
    assert not instance.get_dynamic_partitions("model")


def test_a_benchmark_of_a_model_without_a_map_leaves_its_partition_missing(instance, places):
    """What a backfill over all partitions meets: nothing fails, and the check says why nothing came."""
    (benchmark,) = [
        asset for asset in build_benchmark_assets() if asset.key == dg.AssetKey(["benchmark", "dose_response"])
    ]
    for axis, key in (("dataset", "HUVEC"), ("model", "m.v1")):
        instance.add_dynamic_partitions(axis, [key])
    done = dg.materialize([benchmark], instance=instance, partition_key="HUVEC|m.v1", resources=places)
    assert done.success
    assert not done.asset_materializations_for_node("benchmark__dose_response")
    (check,) = done.get_asset_check_evaluations()
    assert not check.passed
    assert check.description == "m.v1 has no map of HUVEC: nothing is made of it"
