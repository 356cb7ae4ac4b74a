"""The lake: all artefacts of one deployment, below one local folder or any fsspec URL, with their catalogue.

    <root>/records/<kind>/<key>/.../000001.json   commit records (see `artifact`)
    <root>/data/<kind>/<key>/.../<folder>/...     the published files
    <root>/annotations/...                        known biology that maps are compared with, added by people
    <root>/catalogue.db                           the catalogue of a local lake, unless another one is named

Only this module and `holdings` know these names. `docs/data-layout.md` describes them.
"""

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel
from upath import UPath

from cellassets.errors import (
    ArtifactMissing,
    CellAssetsError,
    ConfigError,
    CorruptArtifact,
    PartitionKeyError,
    StaleArtifact,
)
from cellassets.fingerprint import check_partition_key
from cellassets.storage.artifact import (
    Artifact,
    FileEntry,
    PublishedFile,
    Record,
    describe_file,
    generation_of,
    is_local,
)
from cellassets.storage.catalogue import Catalogue
from cellassets.storage.objects import in_parallel
from cellassets.storage.plan import Plan, Publication
from cellassets.storage.records import Address, Records, current_records

RECORDS, DATA = "records", "data"
EARLIER_FOLDERS = ("raw_plates", "plate_store", "site_embeddings", "leaderboard")  # at the root, before 0.1
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """One publication with the list of its files."""

    artifact: Artifact
    record: Record

    @property
    def folder(self) -> UPath:
        """The folder of its files."""
        return self.artifact.folder(self.record)

    @property
    def names(self) -> list[str]:
        """Names of its files, sorted."""
        return [entry.name for entry in self.record.files]

    def path(self, name: str) -> UPath:
        """Returns the path of one of its files.

        Raises:
            ArtifactMissing: no such file belongs to it.
        """
        return self.artifact.path(name, self.record)

    def file(self, name: str) -> PublishedFile:
        """Returns one of its files, whose content is compared with the record when it is read.

        Raises:
            ArtifactMissing: no such file belongs to it.
        """
        return self.artifact.file(name, self.record)


@dataclass(frozen=True)
class Draft:
    """Files that are being made for a plan. They become visible with `publish`."""

    lake: "Lake"
    artifact: Artifact
    plan: Plan
    folder: UPath

    def publish(
        self, names: Sequence[str | FileEntry], summary: BaseModel, *, fingerprint: str | None = None
    ) -> Record:
        """Returns the commit record of the files after making them visible.

        Args:
            names: files below `folder`, which must exist. A file given by name is read again for its checksum; a
                `FileEntry` is used without reading the file.
            summary: values for people and sensors.
            fingerprint: what later stages depend on, if that differs from the plan's own fingerprint.

        Raises:
            StaleArtifact: another run published something else meanwhile.
        """
        entries = in_parallel(self._describe, [(name,) for name in names])
        record = Record(
            kind=self.plan.kind,
            keys=self.plan.keys,
            plan_fingerprint=self.plan.fingerprint,
            fingerprint=fingerprint or self.plan.fingerprint,
            generation=self.plan.replaces + 1,
            folder=self.folder.name,
            inputs=dict(self.plan.inputs),
            files=tuple(sorted(entries, key=lambda entry: entry.name)),
            summary=summary.model_dump(mode="json", exclude_none=True),
        )
        committed = self.artifact.commit(record)
        self.lake.catalogue.note([committed])
        return committed

    def _describe(self, name: str | FileEntry) -> FileEntry:
        return name if isinstance(name, FileEntry) else describe_file(self.folder / name, name)


@dataclass(frozen=True)
class Scan:
    """What a full scan found.

    Attributes:
        n_found: addresses with a commit record.
        n_noted: rows of the catalogue that were missing or wrong.
        n_forgotten: rows that had no commit record.
        unreadable: why each commit record that could not be read was left out.
    """

    n_found: int
    n_noted: int
    n_forgotten: int
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lake:
    """All artefacts of one deployment.

    Attributes:
        root: local folder or fsspec URL.
        catalogue_url: database of the catalogue; empty for `catalogue.db` in a local root.
    """

    root: UPath
    catalogue_url: str = ""

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue.

        Raises:
            ConfigError: the lake is not local and no database is named.
        """
        if self.catalogue_url:
            return Catalogue(self.catalogue_url)
        if not is_local(self.root):
            message = f"{self.root}: a lake that is not a local folder needs a database; set CELLASSETS_CATALOGUE"
            raise ConfigError(message)
        return Catalogue(f"sqlite:///{Path(self.root.path).absolute() / 'catalogue.db'}")

    @property
    def annotations(self) -> UPath:
        """Folder of the known biology that maps are compared with, one file per source."""
        return self.root / "annotations"

    def artifact(self, kind: str, *keys: str) -> Artifact:
        """Returns the artefact at an address, published or not.

        Raises:
            PartitionKeyError: a key has characters that are not allowed in partition keys.
        """
        parts = [*kind.split("/"), *(check_partition_key(key, f"{kind} key") for key in keys)]
        return Artifact(kind, tuple(keys), self.root.joinpath(RECORDS, *parts), self.root.joinpath(DATA, *parts))

    def records(self) -> Records:
        """Returns everything that is published now, as it stays. The first call with a new catalogue scans the lake.

        Raises:
            ConfigError: the lake was written by an earlier version of cellassets.
        """
        self.ensure_scanned()
        return current_records(self.catalogue)

    def ensure_scanned(self) -> None:
        """Scans the lake if its catalogue is new, or was deleted.

        Raises:
            ConfigError: the lake was written by an earlier version of cellassets.
        """
        if not self.catalogue.state().is_scanned:
            self.scan()

    def open(self, publication: Publication) -> Published:
        """Returns a publication with its files, even if a newer one has been published at its address.

        Raises:
            ArtifactMissing: its commit record is gone.
            StaleArtifact: its commit record was deleted and another one has its number now.
        """
        artifact = self.artifact(publication.kind, *publication.keys)
        record = artifact.record_of(publication.generation)
        if record.fingerprint != publication.fingerprint:
            message = (
                f"{artifact}: publication {record.generation} is {record.fingerprint}, expected "
                f"{publication.fingerprint}: its commit record was deleted and made again meanwhile; materialise the "
                "asset that reads it again"
            )
            raise StaleArtifact(message)
        return Published(artifact, record)

    def current(self, kind: str, *keys: str) -> Published:
        """Returns the current publication at an address, by its commit record.

        Raises:
            ArtifactMissing: nothing is published there.
        """
        artifact = self.artifact(kind, *keys)
        return Published(artifact, artifact.record())

    def find_done(self, plan: Plan) -> Record | None:
        """Returns the current record if it is what the plan asks for; adds it to the catalogue if it is missing there.

        Raises:
            CorruptArtifact: the current commit record cannot be read.
        """
        record = self.artifact(plan.kind, *plan.keys).find_record()
        if record is not None and record.generation > plan.replaces:
            self.catalogue.note([record])
        return record if record is not None and record.plan_fingerprint == plan.fingerprint else None

    @contextmanager
    def draft(self, plan: Plan, *, is_shared: bool = False) -> Iterator[Draft]:
        """Yields a draft with a folder for the plan's files.

        Args:
            plan: the plan of the artefact.
            is_shared: true if all runs of this plan use the same folder, so that a run finds the finished files of an
                earlier one. Files in a shared folder are never replaced, since another run may be publishing them.
                Once it is published and superseded, no plan gets this folder again, so that it can be removed.
                Otherwise each run has its own folder, which is removed if nothing is published from it.
        """
        artifact = self.artifact(plan.kind, *plan.keys)
        if is_shared:  # a record that somebody deleted is still in the catalogue, and its files can be taken up
            folder = artifact.data / shared_folder(plan.fingerprint, artifact.generation() + 1)
        else:
            folder = artifact.data / f"{plan.fingerprint}-{uuid.uuid4().hex[:8]}"
        try:
            yield Draft(self, artifact, plan, folder)
        finally:
            if not is_shared and not _is_published(artifact, plan.replaces + 1, folder):
                _remove(folder)

    def addresses(self) -> dict[Address, int]:
        """Returns every address that has a commit record, with its newest generation, by listing the lake."""
        self._refuse_earlier_layout()
        root = self.root / RECORDS
        found: dict[Address, int] = {}
        for path in root.fs.find(root.path) if root.exists() else []:
            *parts, name = path[len(root.path) :].strip("/").split("/")
            generation = generation_of(name)
            if not parts or not generation:
                continue
            depth = 2 if parts[0] == "benchmark" else 1  # benchmark/<name> is the kind
            address = ("/".join(parts[:depth]), tuple(parts[depth:]))
            found[address] = max(found.get(address, 0), generation)
        return found

    def scan(self) -> Scan:
        """Returns what was missing or wrong in the catalogue, after correcting it from a listing of the lake.

        Runs may publish at the same time: the scan does not change a row that a run has changed meanwhile.

        Raises:
            ConfigError: the lake was written by an earlier version of cellassets.
        """
        known = self.catalogue.generations()  # before the listing, so that an address which is not listed was deleted
        found = self.addresses()
        behind = [address for address, generation in found.items() if known.get(address) != generation]
        records, unreadable = self._read(behind, found)
        wrong = {address: n for address, n in known.items() if n > found.get(address, 0)}
        self.catalogue.note(records, deleted=wrong)
        self.catalogue.mark_scanned()
        return Scan(len(found), len(records), len(wrong.keys() - found.keys()), tuple(unreadable))

    def _read(self, addresses: Sequence[Address], generations: Mapping[Address, int]) -> tuple[list[Record], list[str]]:
        """Returns the commit records at some addresses, and messages about those that cannot be read."""
        found = in_parallel(self._read_or_refusal, [(*address, generations[address]) for address in addresses])
        refusals = [each for each in found if isinstance(each, CellAssetsError)]
        for error in refusals:
            logger.warning("left out of the catalogue: %s", error)
        return [each for each in found if isinstance(each, Record)], [str(error) for error in refusals]

    def _read_or_refusal(self, kind: str, keys: tuple[str, ...], generation: int) -> Record | CellAssetsError:
        try:
            return self.artifact(kind, *keys).record_of(generation)
        except (CorruptArtifact, ArtifactMissing, PartitionKeyError) as error:
            return error

    def _refuse_earlier_layout(self) -> None:
        earlier = [name for name in EARLIER_FOLDERS if (self.root / name).is_dir()]
        if earlier and not (self.root / RECORDS).is_dir():
            message = (
                f"{self.root}: written by an earlier version of cellassets ({', '.join(earlier)} at its root). Move "
                f"the folder away (mv {self.root.path} {self.root.path}-old); everything is then made again"
            )
            raise ConfigError(message)


def shared_folder(plan_fingerprint: str, generation: int) -> str:
    """Returns the name of the folder that all runs of a plan share; `generation` follows the newest commit record."""
    return f"{plan_fingerprint}-{generation:06d}"


def _is_published(artifact: Artifact, generation: int, folder: UPath) -> bool:
    """Returns true if the files of a publication are in a folder, or if that cannot be determined."""
    try:
        return artifact.record_of(generation).folder == folder.name
    except ArtifactMissing:
        return False
    except (CorruptArtifact, OSError):
        return True


def _remove(folder: UPath) -> None:
    try:
        folder.fs.rm(folder.path, recursive=True)
    except OSError as error:
        if folder.exists():
            logger.warning("%s: unpublished files could not be removed: %s", folder, error)
