"""Annotation sources in a lake: installed from a pack, with where they come from and their licence; and removed.

An installed source is one table, as for every other source, and a provenance file beside it:

    annotations/CORUM.txt                                  the table
    annotations/CORUM.<first digits of its SHA-256>.json   its provenance

The provenance is written first and names the table by its checksum. The table then appears in one step. A table is
therefore never there without its provenance, also if the process is killed or two people install at the same time; and
a table that somebody changed afterwards has no provenance.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from pydantic import Field, ValidationError
from upath import UPath

from cellassets.configuration import Parameters
from cellassets.errors import AnnotationError
from cellassets.knowledge.annotations import annotation_files, file_state
from cellassets.knowledge.packs import Licence, Pack
from cellassets.storage.artifact import write_bytes

N_DIGITS = 12
ChecksumFrom = Literal["pack", "given", "first use"]


class Provenance(Parameters):
    """Where an installed source comes from.

    Attributes:
        name: the pack.
        version: version of the source.
        source: address or file that it was read from.
        source_sha256: SHA-256 of what was read.
        checksum_from: who named that checksum: the pack, the person who installed it (given), or nobody (first use:
            what came first is trusted).
        sha256: SHA-256 of the installed table.
        n_rows: rows of the source.
        licence: its terms, as they were accepted.
        citation: what to cite.
        columns: columns of ours that were read from another column than the pack declares.
        installed_at: time in UTC, ISO 8601.
        installed_by: account of the person.
    """

    name: str
    version: str
    source: str
    source_sha256: str
    checksum_from: ChecksumFrom
    sha256: str
    n_rows: int
    licence: Licence
    citation: str
    columns: dict[str, str] = Field(default_factory=dict)
    installed_at: str
    installed_by: str

    def describe(self) -> str:
        """Returns what a report says of the source, on one line."""
        trusted = ", trusted at first use" if self.checksum_from == "first use" else ""
        return (
            f"{self.version}; {self.licence.describe()} ({self.licence.url}); SHA-256 of the source "
            f"{self.source_sha256}{trusted}; installed {self.installed_at} by {self.installed_by}; cite {self.citation}"
        )


@dataclass(frozen=True)
class InstalledSource:
    """One source of a lake. `provenance` is None if it was added by hand, or changed after it was installed."""

    name: str
    path: UPath
    provenance: Provenance | None
    is_changed: bool


def installed_sources(folder: UPath, names: Collection[str] | None = None) -> dict[str, InstalledSource]:
    """Returns the sources of a lake by name, with their provenance.

    Args:
        folder: the lake's annotations.
        names: sources to describe; None: all.

    Raises:
        AnnotationError: two files have one source name, or one of `names` does not exist.
    """
    return {name: _source(name, path) for name, path in annotation_files(folder, names).items()}


def described_sources(folder: UPath) -> dict[str, str]:
    """Returns what a report says of every source of a lake, by name: version, licence, checksum, citation."""
    by_hand = "added by hand; version and licence are not recorded"
    changed = "changed after it was installed; version and licence are not recorded"
    return {
        name: found.provenance.describe() if found.provenance is not None else changed if found.is_changed else by_hand
        for name, found in installed_sources(folder).items()
    }


def publish_pack(folder: UPath, pack: Pack, content: bytes, provenance: Provenance) -> UPath:
    """Returns the path of the table after making it visible with its provenance. Doing it again changes nothing.

    Args:
        folder: the lake's annotations.
        pack: the pack.
        content: the table.
        provenance: where it comes from.

    Raises:
        AnnotationError: there is a source of this name that does not come from this pack.
    """
    path = folder / pack.file_name
    known = installed_sources(folder).get(pack.name)
    if known is not None:
        if known.provenance is not None and _is_same(known.provenance, provenance):
            return path
        if known.path.name != path.name or (known.provenance is None and _sha256(known.path) != provenance.sha256):
            how = "was changed after it was installed" if known.is_changed else "was added by hand"
            message = (
                f"{known.path}: a source of this name is there, and {how}; nothing was installed. Keep it under "
                f"another name, or remove it with `cellassets annotation remove {pack.name}`"
            )
            raise AnnotationError(message)
    write_bytes(_provenance_path(path, provenance.sha256), provenance.model_dump_json(indent=1).encode())
    write_bytes(path, content)
    return path


def remove_source(folder: UPath, name: str) -> UPath:
    """Returns the path of the table that was removed, with all its provenance.

    Raises:
        AnnotationError: there is no such source.
    """
    path = annotation_files(folder, [name])[name]
    path.unlink()
    for sidecar in _sidecars(path):
        sidecar.unlink()
    return path


def _source(name: str, path: UPath) -> InstalledSource:
    found = _provenance(path)
    return InstalledSource(name, path, found, is_changed=found is None and bool(_sidecars(path)))


def _provenance(path: UPath) -> Provenance | None:
    """The provenance of exactly this table."""
    sidecar = _provenance_path(path, _sha256(path))
    try:
        return Provenance.model_validate_json(sidecar.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        message = f"{sidecar}: not the provenance of an annotation source; remove the source and install it again"
        raise AnnotationError(message) from error


def _is_same(known: Provenance, new: Provenance) -> bool:
    """Whether two installations differ at most in time, person and place."""
    ignored = {"installed_at", "installed_by", "source", "checksum_from"}
    return known.model_dump(exclude=ignored) == new.model_dump(exclude=ignored)


def _provenance_path(path: UPath, sha256: str) -> UPath:
    return path.parent / f"{path.stem}.{sha256[:N_DIGITS]}.json"


def _sidecars(path: UPath) -> list[UPath]:
    found = (other for other in path.parent.iterdir() if other.suffix == ".json")
    return [other for other in found if other.name[: -len(".json")].rpartition(".")[0] == path.stem]


def _sha256(path: UPath) -> str:
    return _sha256_in_state(path, file_state(path))


@lru_cache(maxsize=1024)
def _sha256_in_state(path: UPath, _state: str) -> str:
    """Of one file in one state; cached, because sensors ask at every tick."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
