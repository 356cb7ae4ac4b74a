"""The model registry: MLflow's, seen through a few functions. Model folders go in, model folders come out.

A model folder holds `encoder.json` (what kind of encoder, its preprocessing, its embedding width) and
`weights.safetensors` where the kind has weights. Nothing here knows torch; `cellassets.encoders.loading` turns a
folder into an encoder. A database URL and a tracking server take the same way: MLflow's client, never its globals.
"""

import fcntl
import hashlib
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from cellassets.configuration import Parameters
from cellassets.errors import CorruptArtifact, PartitionKeyError, RegistryError
from cellassets.fingerprint import check_partition_key, fingerprint

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

EXPERIMENT_NAME = "cellassets"
MODEL_FOLDER = "model"
SQLITE = "sqlite:///"
PARAMETER_MAX_CHARACTERS = 6000  # MLflow refuses longer values
PARAMETERS_PER_REQUEST = 100  # MLflow refuses more at once
logger = logging.getLogger(__name__)
_opening = Lock()


class ModelEntry(Parameters):
    """One registered model version. `key` names it everywhere in the lake."""

    key: str
    name: str
    version: int
    kind: str
    fingerprint: str
    aliases: tuple[str, ...]
    created_at_ms: int
    tags: dict[str, str]
    run_id: str | None


def model_key(name: str, version: int) -> str:
    """Returns the key of a model version: `<name>.v<version>`."""
    return check_partition_key(f"{name}.v{version}", "model")


def parse_model_key(key: str) -> tuple[str, int]:
    """Returns name and version of a model key.

    Raises:
        RegistryError: it is not `<name>.v<version>`.
    """
    name, separator, version = key.rpartition(".v")
    if not separator or not name or not version.isdecimal():
        message = f"model key {key!r}: expected <name>.v<version>, such as resnet_ce.v1"
        raise RegistryError(message)
    return name, int(version)


def folder_fingerprint(folder: Path) -> str:
    """Returns the fingerprint of a model folder: of its files' names and contents."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return fingerprint({path.relative_to(folder).as_posix(): _sha256(path) for path in files})


@dataclass(frozen=True)
class Registry:
    """Models and training runs of one deployment; nothing is contacted before it is used.

    Attributes:
        tracking_uri: a database (`sqlite:///...`, `postgresql+psycopg2://...`) or an MLflow server (`http://...`).
        artifact_root: URL below which runs keep their files; empty to leave it to the server.
    """

    tracking_uri: str
    artifact_root: str

    def client(self) -> "MlflowClient":
        """Returns MLflow's client of this registry; the first one at a new database makes its tables."""
        with _opening:
            return _open_client(self.tracking_uri)

    def list_models(self) -> list[ModelEntry]:
        """Returns all registered versions, sorted by key.

        Models whose names cannot be partition keys are left out, with a warning in the log.
        """
        aliases = {model.name: model.aliases for model in _pages(self.client().search_registered_models)}
        entries = []
        for version in _pages(self.client().search_model_versions):
            number = int(version.version)  # a server gives text, a database a number
            own = [alias for alias, its_number in aliases.get(version.name, {}).items() if int(its_number) == number]
            try:
                entries.append(_entry(version, own))
            except PartitionKeyError as error:
                logger.warning("registered model left out: %s", error)
        return sorted(entries, key=lambda entry: entry.key)

    def find(self, key: str) -> ModelEntry:
        """Returns a registered version.

        Raises:
            RegistryError: there is none with this key.
        """
        from mlflow.exceptions import MlflowException

        name, version = parse_model_key(key)
        try:
            found = self.client().get_model_version(name, str(version))
        except MlflowException as error:
            message = f"model {key} is not in the registry at {self.tracking_uri}: {error.message}"
            raise RegistryError(message) from error
        return _entry(found, list(found.aliases))

    def move_alias(self, alias: str, key: str) -> None:
        """Gives an alias to one model version and takes it from all others, whatever model they are of.

        The new one has it before the others lose it, so that a kill leaves two and never none.

        Raises:
            RegistryError: there is no such model.
        """
        chosen = self.find(key)
        if alias not in chosen.aliases:
            self.client().set_registered_model_alias(chosen.name, alias, str(chosen.version))
        for entry in self.list_models():
            if alias in entry.aliases and entry.name != chosen.name:
                self.client().delete_registered_model_alias(entry.name, alias)

    def register(self, folder: Path, *, name: str, run_id: str | None, tags: Mapping[str, str]) -> ModelEntry:
        """Returns the version that holds a model folder, after registering it where no version of that name does.

        The version is made last, so a kill leaves none; and where two processes register the same folder at once, the
        lower version stays and the other is taken back.

        Args:
            folder: a model folder; its files are copied into the run's artefacts.
            name: registered model.
            run_id: the training run, or None to make a run that holds just these files.
            tags: more tags; the fingerprint is added.

        Raises:
            PartitionKeyError: the name cannot be part of a partition key.
            RegistryError: the folder has no `encoder.json`.
        """
        model_key(name, 1)
        if not (folder / "encoder.json").is_file():
            message = f"{folder}: no encoder.json; a model folder says in it which kind of encoder it holds"
            raise RegistryError(message)
        tags = {**tags, "fingerprint": folder_fingerprint(folder)}
        known = self._same(name, tags["fingerprint"])
        if known:
            return known[0]
        run_id = run_id or self.start_run(f"register {name}", parameters={}, tags=tags)
        client = self.client()
        client.log_artifacts(run_id, str(folder), MODEL_FOLDER)
        source = f"{client.get_run(run_id).info.artifact_uri}/{MODEL_FOLDER}"
        _unless_there(client.create_registered_model, name)
        made = int(client.create_model_version(name, source, run_id, tags, await_creation_for=0).version)
        first = self._same(name, tags["fingerprint"])[0]
        if first.version != made:
            client.delete_model_version(name, str(made))
        return first

    def fetch(self, key: str, to: Path) -> Path:
        """Returns a local folder with a model's files, checked against the fingerprint that it was registered with.

        Where the registry keeps its files on this machine that is their own place: read it, leave it as it is.

        Args:
            key: model key.
            to: folder for downloads; a model fetched before is found there again.

        Raises:
            RegistryError: there is no such model.
            CorruptArtifact: its files are not those that were registered.
        """
        entry = self.find(key)
        uri = self.client().get_model_version_download_uri(entry.name, str(entry.version))
        parsed = urlparse(uri)
        if parsed.scheme in ("", "file"):
            return _checked(Path(url2pathname(parsed.path)), entry)
        target = to / f"{entry.key}-{entry.fingerprint[:12]}"
        if not target.is_dir():
            self._download(uri, target)
        return _checked(target, entry)

    def start_run(self, name: str, *, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Returns the id of a new run.

        Args:
            name: what people see in MLflow.
            parameters: JSON-like, nested keys are joined by dots.
            tags: the run's tags.
        """
        from mlflow.entities import Param

        client = self.client()
        run_id: str = client.create_run(self._experiment_id(), run_name=name, tags=dict(tags)).info.run_id
        values = [Param(key, text[:PARAMETER_MAX_CHARACTERS]) for key, text in _flat(parameters)]
        for start in range(0, len(values), PARAMETERS_PER_REQUEST):
            client.log_batch(run_id, params=values[start : start + PARAMETERS_PER_REQUEST])
        return run_id

    def log_json(self, run_id: str, values: Mapping[str, Any], name: str) -> None:
        """Keeps JSON-like values as a file of a run."""
        self.client().log_dict(run_id, dict(values), name)

    def resume_run(self, run_id: str) -> bool:
        """Returns whether there is a run of this id to go on with, marked as running again."""
        from mlflow.exceptions import MlflowException

        try:
            if self.client().get_run(run_id).info.lifecycle_stage != "active":
                return False
        except MlflowException:
            return False
        self.client().update_run(run_id, status="RUNNING")
        return True

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], *, step: int) -> None:
        """Adds a point to each of a run's curves."""
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now_ms = get_current_time_millis()
        self.client().log_batch(run_id, metrics=[Metric(key, value, now_ms, step) for key, value in metrics.items()])

    def finish_run(self, run_id: str, *, is_successful: bool) -> None:
        """Marks a run as finished or failed."""
        self.client().set_terminated(run_id, "FINISHED" if is_successful else "FAILED")

    def _experiment_id(self) -> str:
        client = self.client()
        if client.get_experiment_by_name(EXPERIMENT_NAME) is None:
            _unless_there(client.create_experiment, EXPERIMENT_NAME, artifact_location=self.artifact_root or None)
        experiment = client.get_experiment_by_name(EXPERIMENT_NAME)
        if experiment is None:
            message = f"MLflow at {self.tracking_uri} has no experiment {EXPERIMENT_NAME!r} and does not make it"
            raise RegistryError(message)
        return str(experiment.experiment_id)

    def _same(self, name: str, fingerprint_: str) -> list[ModelEntry]:
        """Versions of a model with the same files, lowest first."""
        found = _pages(self.client().search_model_versions, f"name = '{name}' and tags.fingerprint = '{fingerprint_}'")
        return sorted((_entry(version, list(version.aliases)) for version in found), key=lambda entry: entry.version)

    def _download(self, uri: str, target: Path) -> None:
        from mlflow.artifacts import download_artifacts

        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
            found = download_artifacts(artifact_uri=uri, dst_path=scratch, tracking_uri=self.tracking_uri)
            try:
                Path(found).rename(target)
            except OSError:
                if not target.is_dir():  # another process was faster: its copy is as good
                    raise


@lru_cache(maxsize=8)
def _open_client(tracking_uri: str) -> "MlflowClient":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody's screens are reported to a third party
    with warnings.catch_warnings(), _alone_at(tracking_uri):
        warnings.simplefilter("ignore")  # MLflow's own tables use what SQLAlchemy 2.1 calls deprecated
        from mlflow import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # or it tells stderr of making tables
        return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@contextmanager
def _alone_at(tracking_uri: str) -> Iterator[None]:
    """Keeps other processes from opening the same SQLite file meanwhile.

    MLflow 3.17 has a lock of its own for making tables and still lets two processes migrate a new file at once, which
    ends in 'duplicate column name' for one of them.
    """
    if not tracking_uri.startswith(SQLITE):
        yield
        return
    path = Path(f"{tracking_uri.removeprefix(SQLITE)}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # given back when the file is closed, by a kill too
        yield


def _pages(search: Any, *arguments: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(*arguments, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _unless_there(create: Any, *arguments: Any, **options: Any) -> None:
    """Creates something; another process may have been faster."""
    from mlflow.exceptions import MlflowException

    try:
        create(*arguments, **options)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _entry(version: "ModelVersion", aliases: list[str]) -> ModelEntry:
    tags = dict(version.tags)
    number, created_at_ms = int(version.version), int(version.creation_timestamp)
    unnamed = {"name": version.name, "version": number, "source": version.source, "created_at_ms": created_at_ms}
    return ModelEntry(
        key=model_key(version.name, number),
        name=version.name,
        version=number,
        kind=tags.get("kind", "unknown"),
        fingerprint=tags.get("fingerprint") or fingerprint(unnamed),
        aliases=tuple(sorted(aliases)),
        created_at_ms=created_at_ms,
        tags=tags,
        run_id=version.run_id or None,
    )


def _checked(folder: Path, entry: ModelEntry) -> Path:
    if not folder.is_dir():
        message = f"model {entry.key}: its folder {folder} is gone; register the model again"
        raise CorruptArtifact(message)
    expected = entry.tags.get("fingerprint")  # models that others registered may have none
    found = folder_fingerprint(folder) if expected else None
    if found != expected:
        message = f"model {entry.key}: {folder} has fingerprint {found}, registered {expected}: register it again"
        raise CorruptArtifact(message)
    return folder


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
