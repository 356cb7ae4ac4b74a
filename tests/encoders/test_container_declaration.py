"""The file that declares a container encoder: what is refused, and what decides the identity of the model."""

import pytest
import yaml

from cellassets.encoders.container.declaration import RUNNING_TAG, Running
from cellassets.encoders.container.registering import register_container
from cellassets.encoders.container.settings import ContainerSettings
from cellassets.encoders.loading import load_encoder
from cellassets.errors import ConfigError, EncoderError, RegistryError
from cellassets.registry import Registry

DECLARED = {"local_command": ["sh", "encode.sh"], "files": ["encode.sh"], "n_channels": 3, "embedding_dim": 2}
DIGEST = "ghcr.io/lab/encoder@sha256:" + "a" * 64


@pytest.fixture
def register(tmp_path, empty_home):
    """Registers a declaration in a registry of this test's own: `register(embedding_dim=3)`."""
    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", (tmp_path / "models").as_uri())
    (tmp_path / "mlflow.db").write_bytes((empty_home / "mlflow.db").read_bytes())
    (tmp_path / "encode.sh").write_text("exit 0\n")

    def register(**changes):
        file = tmp_path / "mine.yaml"
        file.write_text(yaml.safe_dump({**DECLARED, **changes}))
        return register_container(registry, file)

    register.registry = registry
    register.folder = tmp_path
    return register


def test_the_name_of_the_file_is_the_name_of_the_model_and_its_files_are_kept(register, tmp_path):
    entry = register()
    assert (entry.key, entry.kind) == ("mine.v1", "container")
    folder = register.registry.fetch("mine.v1", tmp_path / "fetched")
    assert sorted(path.name for path in folder.iterdir()) == ["encode.sh", "encoder.json"]


def test_the_program_decides_the_version_and_how_it_is_run_does_not(register):
    assert register().key == "mine.v1"
    again = register(running={"batch_size": 7})
    assert again.key == "mine.v1"
    assert Running.model_validate_json(again.tags[RUNNING_TAG]).batch_size == 7
    (register.folder / "encode.sh").write_text("exit 1\n")
    assert register().key == "mine.v2"
    assert register(image=DIGEST).key == "mine.v3"
    assert register(image=DIGEST.replace("a" * 64, "b" * 64)).key == "mine.v4"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "ghcr.io/lab/encoder:1.2"}, "'ghcr.io/lab/encoder:1.2' is not pinned"),
        ({"local_command": []}, "names no program: expected image, local_command or both"),
        ({"command": ["perl"]}, "command is the program in the image, and there is no image"),
        ({"channel_names": ["a", "b"]}, "channel_names has 2 names; expected n_channels = 3"),
        ({"files": ["../secret"]}, "'../secret': expected the name of a file beside the declaration"),
        ({"files": ["/etc/passwd"]}, "'/etc/passwd': expected the name of a file beside the declaration"),
        ({"files": ["encoder.json"]}, "not a path or encoder.json"),
        ({"files": ["absent.sh"]}, "absent.sh: no such file, but `files` of the encoder mine names it"),
        ({"name": "a/b"}, "'a/b' cannot be part of a model key"),
        ({"running": {"cores": 2}}, "running.cores: unknown key (did you mean n_cores"),
    ],
)
def test_a_wrong_declaration_is_refused_and_registers_nothing(register, changes, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        register(**changes)
    assert register.registry.list_models() == []


def test_a_damaged_tag_is_named(register, tmp_path):
    folder = register.registry.fetch(register().key, tmp_path / "fetched")
    with pytest.raises(RegistryError, match=r"(?s)tag 'running' of the model version: .*batch_size"):
        load_encoder(folder, tags={RUNNING_TAG: '{"batch_size": 0}'})


def test_without_somebody_who_starts_processes_it_is_refused(register, tmp_path):
    folder = register.registry.fetch(register().key, tmp_path / "fetched")
    with pytest.raises(EncoderError, match="a container encoder is started by a Dagster run"):
        load_encoder(folder)


def test_pods_need_a_volume_and_a_list_of_allowed_images():
    with pytest.raises(ValueError, match="needs exchange, volume_claim, image_prefixes too"):
        ContainerSettings(where="kubernetes")
    assert ContainerSettings().where == "refused"
