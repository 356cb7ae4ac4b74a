"""Registered model versions: listed, found, registered, fetched, and given an alias.

Model folders go in and come out. Encoders are not loaded here (`cellassets.encoders.loading`).
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cellassets.errors import CorruptArtifact, PartitionKeyError, RegistryError
from cellassets.registry.entry import SCORE_TAG, ModelEntry, entry_of, folder_fingerprint, model_key, parse_model_key
from cellassets.registry.fetching import checked_folder, download
from cellassets.registry.lineage import (
    BY_HAND_TAG,
    TrainedOn,
    declaration,
    declared,
    is_declared_by_recipe,
    with_ancestors,
)
from cellassets.registry.opening import create_unless_there, pages
from cellassets.registry.relocation import place_of
from cellassets.registry.runs import Runs
from cellassets.registry.uploading import model_files, staged, upload
from cellassets.storage.unwritable import explained

MODEL_FOLDER = "model"
logger = logging.getLogger(__name__)


class Registry(Runs):
    """Models and training runs of one deployment. Nothing is contacted before the first call of a method.

    Attributes:
        tracking_uri: a database (`sqlite:///...`, `postgresql+psycopg2://...`) or an MLflow server (`http://...`).
        artifact_root: URL of the folder in which runs keep their files. Empty: the MLflow server decides.
    """

    def list_models(self) -> list[ModelEntry]:
        """Returns all registered versions, sorted by key. Empty, if the SQLite database does not exist yet.

        Models whose names cannot be partition keys are left out, with a warning in the log.

        Raises:
            RegistryError: the registry does not answer, or the folder that should hold the SQLite database does not
                exist.
        """
        client = self.reader()
        if client is None:
            return []
        from mlflow.exceptions import MlflowException

        try:
            aliases = {model.name: model.aliases for model in pages(client.search_registered_models)}
            versions = list(pages(client.search_model_versions))
        except MlflowException as error:
            message = f"the model registry at {self.tracking_uri} does not answer: {error.message}"
            raise RegistryError(message) from error
        entries = []
        for version in versions:
            number = int(version.version)  # a server returns text, a database returns a number
            own = [alias for alias, its_number in aliases.get(version.name, {}).items() if int(its_number) == number]
            try:
                entries.append(entry_of(version, own))
            except PartitionKeyError as error:
                logger.warning("a registered model is left out: %s", error)
        return sorted(entries, key=lambda entry: entry.key)

    def find(self, key: str) -> ModelEntry:
        """Returns the registered version with this key.

        Raises:
            RegistryError: no such version is registered.
        """
        from mlflow.exceptions import MlflowException

        name, version = parse_model_key(key)
        client = self.reader()
        if client is None:
            message = f"model {key} is not in the registry at {self.tracking_uri}: no model is registered there yet"
            raise RegistryError(message)
        try:
            found = client.get_model_version(name, str(version))
        except MlflowException as error:
            message = f"model {key} is not in the registry at {self.tracking_uri}: {error.message}"
            raise RegistryError(message) from error
        return entry_of(found, list(found.aliases))

    def move_alias(self, alias: str, key: str) -> None:
        """Gives an alias to one model version and removes it from all other models.

        The new version gets the alias before the others lose it. If the process is killed in between, two versions have
        the alias; there is never none.

        Raises:
            RegistryError: no such version is registered.
        """
        chosen = self.find(key)
        if alias not in chosen.aliases:
            self.client().set_registered_model_alias(chosen.name, alias, str(chosen.version))
        for entry in self.list_models():
            if alias in entry.aliases and entry.name != chosen.name:
                self.client().delete_registered_model_alias(entry.name, alias)

    def register(
        self,
        folder: Path,
        *,
        name: str,
        run_id: str | None,
        tags: Mapping[str, str],
        names: Sequence[str] | None = None,
        description: str = "",
    ) -> ModelEntry:
        """Returns the version that holds a model folder, after registering it if no version of that name does.

        The version is created last, so a killed process leaves none. If two processes register the same folder at the
        same time, the lower version stays and the other is deleted. If a version with these files exists and its files
        in MLflow are gone or damaged, they are uploaded again.

        Args:
            folder: a model folder; its files are copied to the artefacts of the run.
            name: name of the registered model.
            run_id: the training run, or None to create a run that holds only these files.
            tags: further tags; the fingerprint is added.
            names: the files of the model, relative to the folder; None for all files that are not hidden.
            description: Markdown that MLflow shows with a new version.

        Raises:
            PartitionKeyError: the name contains characters that a partition key cannot have.
            RegistryError: the folder has no `encoder.json`, or MLflow does not answer in time.
            StorageUnwritable: the disk of the files is full, or cannot be written.
        """
        model_key(name, 1)
        names = model_files(folder) if names is None else names
        if not (folder / "encoder.json").is_file():
            message = f"{folder}: no encoder.json; a model folder must contain it, with the kind of the encoder"
            raise RegistryError(message)
        tags = {**tags, "fingerprint": folder_fingerprint(folder, names)}
        known = self._same(name, tags["fingerprint"])
        if known:
            self._upload_if_unreadable(known[0], folder, names)
            return known[0]
        run_id = run_id or self.start_run(f"register {name}", parameters={}, tags=tags)
        client = self.client()
        source = f"{client.get_run(run_id).info.artifact_uri}/{MODEL_FOLDER}"
        with staged(folder, names) as files, explained(source):
            client.log_artifacts(run_id, files, MODEL_FOLDER)
        create_unless_there(client.create_registered_model, name)
        made = client.create_model_version(
            name, source, run_id, tags, description=description or None, await_creation_for=0
        )
        first = self._same(name, tags["fingerprint"])[0]
        if first.version != int(made.version):
            client.delete_model_version(name, str(made.version))
        return first

    def declare(self, key: str, trained_on: TrainedOn) -> None:
        """Declares what a registered version was trained on, in place of what was declared before.

        What its parents have seen is stored with it.

        Raises:
            RegistryError: no such version is registered, a parent is not or is the version itself, the recipe of the
                version declares what it was trained on, or the declaration is too long.
        """
        entry = self.find(key)
        if is_declared_by_recipe(entry):
            message = (
                f"model {key} was trained here by the recipe {entry.tags.get('recipe_name', entry.name)}: its recipe "
                "declares what it was trained on, and that cannot be changed; leave it, or train another recipe"
            )
            raise RegistryError(message)
        for parent in trained_on.parents:
            self.find(parent)
        if key in trained_on.parents:
            message = f"model {key} is declared as its own parent; expected the versions that it was fine-tuned from"
            raise RegistryError(message)
        known = {other.key: declared(other) for other in self.list_models()}
        tags = declaration(with_ancestors(key, trained_on, known))
        for name, value in {BY_HAND_TAG: "true", **tags}.items():
            self.client().set_model_version_tag(entry.name, str(entry.version), name, value)

    def note_scores(self, key: str, scores: Mapping[str, str]) -> None:
        """Writes scores to the tags of a version, where MLflow shows them; removes those that are not given.

        Args:
            key: model key.
            scores: text of each score, by `dataset/benchmark`.

        Raises:
            RegistryError: no such version is registered, or MLflow does not answer.
        """
        entry, client = self.find(key), self.client()
        wanted = {f"{SCORE_TAG}{name}": text for name, text in scores.items()}
        for name, text in wanted.items():
            if entry.tags.get(name) != text:
                client.set_model_version_tag(entry.name, str(entry.version), name, text)
        for name in entry.tags:
            if name.startswith(SCORE_TAG) and name not in wanted:
                client.delete_model_version_tag(entry.name, str(entry.version), name)

    def fetch(self, key: str, to: Path) -> Path:
        """Returns a local folder with the files of a model, checked against the fingerprint of the registration.

        If the registry keeps its files on this machine, this is the registry's own folder: do not change it.

        Args:
            key: model key.
            to: folder for downloads. A model that was downloaded before is not downloaded again.

        Raises:
            RegistryError: no such version is registered.
            CorruptArtifact: the files are gone or are not those that were registered.
        """
        entry = self.find(key)
        uri = self.client().get_model_version_download_uri(entry.name, str(entry.version))
        place = place_of(uri, self.artifact_root)
        if place is not None:
            return checked_folder(place, entry)
        target = to / f"{entry.key}-{entry.fingerprint[:12]}"
        if not target.is_dir():
            download(uri, target, tracking_uri=self.tracking_uri)
        return checked_folder(target, entry)

    def _upload_if_unreadable(self, entry: ModelEntry, folder: Path, names: Sequence[str]) -> None:
        """Uploads the files of a version again, to where they are looked for, if they cannot be read from there."""
        with tempfile.TemporaryDirectory() as scratch:
            try:
                self.fetch(entry.key, Path(scratch))
            except CorruptArtifact as error:
                logger.warning("its files are uploaded again: %s", error)
            else:
                return
        uri = self.client().get_model_version_download_uri(entry.name, str(entry.version))
        place = place_of(uri, self.artifact_root)
        upload(folder, names, uri if place is None else place.as_uri(), tracking_uri=self.tracking_uri)
        with tempfile.TemporaryDirectory() as scratch:
            self.fetch(entry.key, Path(scratch))

    def _same(self, name: str, fingerprint_: str) -> list[ModelEntry]:
        """Versions of a model with the same files, lowest first."""
        wanted = f"name = '{name}' and tags.fingerprint = '{fingerprint_}'"
        found = pages(self.client().search_model_versions, wanted)
        return sorted((entry_of(version, list(version.aliases)) for version in found), key=lambda entry: entry.version)
