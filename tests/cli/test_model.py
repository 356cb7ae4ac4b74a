"""`cellassets model` and `leaderboard`: what is listed, judged and overridden."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from cellassets.registry import Registry
from cellassets.registry.lineage import declared
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment

REPOSITORY = Path(__file__).parents[2]
OVERRIDE = ("--approved-by", "M. Curie", "--override-reason", "the only model of six channels")


def champions(run, home) -> list[str]:
    return [
        row["key"] for row in json.loads(run("model", "list", "--home", home, "--json")) if "champion" in row["aliases"]
    ]


def test_without_a_candidate_every_model_that_waits_is_judged_once(home, run):
    (decision,) = json.loads(run("model", "judge", "--home", home, "--json"))
    assert (decision["candidate"], decision["decision"]) == ("plain.v1", "kept")
    assert decision["comparisons"][0]["benchmark_name"] == "known_relationships"
    assert "No model waits to be judged" in run("model", "judge", "--home", home)
    assert json.loads(run("model", "judge", "--home", home, "--json")) == []


def test_a_model_that_passes_goes_into_production(home, run):
    (home / "configs/gate.yaml").write_text("deciding_datasets: [HUVEC]\nguarded: []\nalpha: 0.99\n")
    said = run("model", "judge", "plain.v1", "--home", home)
    told, turn, row, *_ = said.splitlines()
    assert told == "plain.v1: promoted; in production: plain.v1"
    assert turn == "  no champion to compare with: not a part of any sequence"
    assert row.startswith("  passed  deciding")
    assert champions(run, home) == ["plain.v1"]
    assert "No model waits" in run("model", "judge", "--home", home)
    assert "plain.v1 is in production already" in run("model", "foresee", "plain.v1", "--home", home)


def test_without_a_model_in_production_there_is_nothing_to_foresee_and_it_says_what_to_do(settled, run):
    told = run("model", "foresee", "plain.v1", "--home", settled)
    assert told.startswith("No model is in production, so there is no comparison to foresee: plain.v1 is judged")
    assert "`cellassets model judge plain.v1` does that" in told


def test_what_the_gate_could_show_is_shown_and_nothing_is_judged(home, run):
    (row,) = json.loads(run("model", "foresee", "plain.v1", "--home", home, "--json"))
    assert (row["role"], row["benchmark_name"]) == ("deciding", "known_relationships")
    assert "gain" not in row
    assert json.loads(run("model", "judge", "--home", home, "--json"))[0]["candidate"] == "plain.v1"


def test_an_override_puts_a_model_into_production_and_shows_as_one(home, run):
    assert "plain.v1: kept; in production: no model" in run("model", "judge", "plain.v1", "--home", home)
    assert champions(run, home) == []
    assert "plain.v1: overridden; in production: plain.v1" in run(
        "model", "judge", "plain.v1", "--home", home, *OVERRIDE
    )
    assert champions(run, home) == ["plain.v1"]


def test_the_gate_acts_on_the_deployment_of_the_environment(home, run):
    run("model", "judge", "plain.v1", *OVERRIDE, CELLASSETS_HOME=home)
    assert champions(run, home) == ["plain.v1"]


def test_a_model_that_is_not_registered_is_refused(settled, refused):
    assert "model other.v1 is not in the registry" in refused("model", "judge", "other.v1", "--home", settled)


def test_half_an_override_is_refused(settled, refused):
    told = refused("model", "judge", "plain.v1", "--home", settled, "--override-reason", "it is needed now")
    assert "approved_by: this key is missing" in told


def test_the_leaderboard_is_shown_for_people_and_programs(settled, run):
    assert "known relationships" in run("leaderboard", "show", "--home", settled)
    rows = json.loads(run("leaderboard", "show", "--home", settled, "--json"))
    assert {row["model_key"] for row in rows} == {"plain.v1"}


def test_a_leaderboard_that_does_not_exist_says_what_to_do(refused, tmp_path):
    (tmp_path / "home/lake").mkdir(parents=True)
    assert "materialise this asset's partition first" in refused("leaderboard", "show", "--home", tmp_path / "home")


@pytest.fixture
def deployment(home):
    return Deployment.of({}, home=home)


@pytest.fixture
def registry(deployment):
    return Registry(deployment.tracking_uri, deployment.model_root)


@pytest.fixture
def elsewhere(save_network, tmp_path, home, run):
    """The key of a network from elsewhere, registered from the folder of another deployment."""
    save_network(tmp_path / "elsewhere")
    return run("model", "register", tmp_path / "elsewhere", "--home", home).strip()


def test_a_folder_of_a_model_is_registered_and_embedded(elsewhere, deployment):
    assert elsewhere == "elsewhere.v1"
    carry_out(stage_named("site_embeddings"), deployment, {"experiment": "HUVEC-1", "model": elsewhere})
    assert deployment.lake.current("site_embeddings", "HUVEC-1", elsewhere).record.summary


def test_a_model_is_tried_and_given_to_people(elsewhere, home, run, refused, tmp_path):
    tried = json.loads(run("model", "register", tmp_path / "elsewhere", "--check", "--json", "--home", home))
    assert tried == {"key": None, "kind": "network", "name": elsewhere.partition(".")[0]}
    folder = tmp_path / "mine"
    assert run("model", "get", "elsewhere@latest", folder, "--home", home) == f"elsewhere.v1: {folder}\n"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "encoder.json", "weights.safetensors"]
    assert "exists already" in refused("model", "get", "elsewhere.v1", folder, "--home", home)
    said = refused("model", "get", "elsewhere.v7", tmp_path / "other", "--home", home)
    assert "model 'elsewhere.v7' is not registered; registered are elsewhere.v1, plain.v1" in said


def test_a_declaration_shows_what_was_declared_before(elsewhere, registry, home, tmp_path, run):
    file = tmp_path / "trained_on.yaml"
    file.write_text("experiments: [HUVEC-1]\n")
    said = run("model", "declare", elsewhere, file, "--home", home)
    assert said.startswith("elsewhere.v1: was: not declared, now: HUVEC-1\n")
    file.write_text("experiments: []\n")
    said = run("model", "declare", elsewhere, file, "--home", home)
    assert said.startswith("elsewhere.v1: was: HUVEC-1, now: nothing\n")
    assert declared(registry.find(elsewhere)).experiments == ()


def test_experiments_that_are_not_here_need_a_flag_and_are_listed(elsewhere, home, tmp_path, call, refused):
    file = tmp_path / "trained_on.yaml"
    file.write_text("experiments: [HUVEC1]\n")
    told = "experiment 'HUVEC1' did not land here (similar: HUVEC-1)"
    assert told in refused("model", "declare", elsewhere, file, "--home", home)
    answer = call("model", "declare", elsewhere, file, "--elsewhere", "--home", home)
    assert (answer.status, answer.stderr) == (0, f"accepted: {told}\n")


def test_a_declaration_that_is_empty_or_too_long_or_of_a_recipe_is_refused(elsewhere, home, tmp_path, refused):
    file = tmp_path / "trained_on.yaml"
    file.write_text("")
    assert "declares nothing; expected at least one of" in refused("model", "declare", elsewhere, file, "--home", home)
    file.write_text("experiments: []\n")
    assert "its recipe declares" in refused("model", "declare", "plain.v1", file, "--home", home)
    file.write_text(f"experiments: [{', '.join(f'E-{number:02000}' for number in range(60))}]\n")
    told = refused("model", "declare", elsewhere, file, "--elsewhere", "--home", home)
    assert "RegistryError: the declaration has" in told
    assert "expected at most 100,000 characters" in told


def test_a_model_without_a_kind_is_named_as_ignored(elsewhere, registry, home, call, run):
    client = registry.client()
    name, _, version = elsewhere.partition(".v")
    client.delete_model_version_tag(name, version, "kind")
    told = "ignored: it has no tag `kind`; expected network or classical or container or profiles or "
    told += "exported or huggingface or onnx"
    assert f"{elsewhere}: {told}" in call("model", "list", "--home", home).stderr
    assert f"- model {elsewhere}: {told}" in run("status", "--home", home)
    client.set_model_version_tag(name, version, "kind", "torch")
    assert "its tag `kind` is 'torch'" in call("model", "list", "--home", home).stderr
    client.set_model_version_tag(name, version, "kind", "network")
    assert not call("model", "list", "--home", home).stderr


def test_a_program_is_registered_by_its_file_and_the_same_program_is_the_same_version(settled, run, tmp_path):
    file = tmp_path / "moments.yaml"
    for name in ("moments.yaml", "moments.pl"):
        (tmp_path / name).write_bytes((REPOSITORY / "examples/container_encoder" / name).read_bytes())
    home = tmp_path / "home"
    shutil.copytree(settled, home)
    assert run("model", "register", file, "--home", home) == "moments.v1\n"
    file.write_text(file.read_text().replace("memory_gib: 0.5", "memory_gib: 3"))
    again = json.loads(run("model", "register", file, "--home", home, "--json"))
    assert (again["key"], json.loads(again["tags"]["running"])["memory_gib"]) == ("moments.v1", 3)
    (row,) = [row for row in json.loads(run("model", "list", "--home", home, "--json")) if row["key"] == "moments.v1"]
    assert (row["kind"], row["trained_on"]) == ("container", "not declared")


def test_a_table_of_profiles_is_checked_and_registered(settled, run, call, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(settled, home)
    wells = pl.DataFrame(
        {
            "Metadata_Plate": ["Plate1"] * 4,
            "Metadata_Well": ["A1", "A2", "A3", "A4"],
            "Cells_AreaShape_Area": [1.0, 2.0, 3.0, 5.0],
            "Nuclei_AreaShape_EulerNumber": [1.0] * 4,
        }
    )
    wells.write_csv(tmp_path / "wells.csv")
    file = tmp_path / "jump.yaml"
    file.write_text(
        "kind: profiles\ntable: wells.csv\nrows: well\nexperiment: HUVEC-1\n"
        "steps: [{kind: mad_robustize}, {kind: frequency_threshold}]\n"
    )
    found = json.loads(run("model", "register", file, "--home", home, "--check", "--json"))
    dropped = {"1 frequency_threshold": 1}
    assert found == {"key": None, "n_rows": 4, "n_features": 1, "dropped": dropped}
    assert "jump.v1" not in run("model", "list", "--home", home)
    assert run("model", "register", file, "--home", home) == "jump.v1\n"
    (row,) = [row for row in json.loads(run("model", "list", "--home", home, "--json")) if row["key"] == "jump.v1"]
    assert (row["kind"], row["trained_on"]) == ("profiles", "not declared")
    file.write_text(file.read_text().removeprefix("kind: profiles\n"))
    assert run("model", "register-profiles", file, "--home", home) == "jump.v1\n", "the earlier form, which has no kind"
    wells.vstack(wells[:1]).write_csv(tmp_path / "wells.csv")
    refused = call("model", "register", file, "--home", home)
    assert refused.status == 1
    assert "wells.csv: 2 rows for experiment HUVEC-1, plate Plate1, well A01" in refused.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experiment": "HUVEC_1"}, "rows of experiment 'HUVEC_1', which did not land here (similar: HUVEC-1"),
        ({"plate": "Plate9"}, "experiment HUVEC-1 has no plate Plate9 (similar: Plate1"),
        ({"well": "P24"}, "experiment HUVEC-1 has no well Plate1 P24. Correct the table, or say in `names`"),
        (
            {"value": float("inf")},
            "values that are not finite are left after all steps: first feature Cells_AreaShape_Area",
        ),
        ({"columns": {"Cells_AreaShape_Area": "Area"}}, "no feature column: none of its 3 columns"),
        ({"columns": {"Metadata_Well": "Well"}}, "no column 'Metadata_Well'"),
    ],
)
def test_a_table_of_profiles_that_does_not_fit_is_refused_with_the_reason(settled, call, tmp_path, changes, message):
    values = {"experiment": "HUVEC-1", "plate": "Plate1", "well": "A4", "value": 5.0, "columns": {}, **changes}
    wells = {
        "Metadata_Plate": ["Plate1", "Plate1", values["plate"]],
        "Metadata_Well": ["A1", "A2", values["well"]],
        "Cells_AreaShape_Area": [1.0, 2.0, values["value"]],
    }
    pl.DataFrame(wells).rename(values["columns"]).write_csv(tmp_path / "wells.csv")
    file = tmp_path / "jump.yaml"
    file.write_text(f"kind: profiles\ntable: wells.csv\nrows: well\nexperiment: {values['experiment']}\nsteps: []\n")
    for options in ([], ["--check"]):
        refused = call("model", "register", file, "--home", settled, *options)
        assert refused.status == 1
        assert message in refused.stderr.replace("\n", " "), refused.stderr
    accepted = call("model", "register", file, "--home", settled, "--check", "--elsewhere")
    assert accepted.status == (0 if set(changes) & {"experiment", "plate", "well"} else 1)
