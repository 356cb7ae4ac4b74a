"""Which publications, unfinished folders and temporary files of a lake nothing needs any more, and why the rest stays.

What stays: the current publication of every address; every publication that a record which stays names among its
inputs, by its fingerprint; what was superseded, or written, after a given time; what the caller holds; and everything
at an address with a commit record that cannot be read. `cellassets.storage.removal` removes the rest.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cellassets.errors import ArtifactMissing, CellAssetsError
from cellassets.progress import Progress, no_progress
from cellassets.storage.artifact import Record, describe_address
from cellassets.storage.holdings import Holding, StoredFile, read_holdings
from cellassets.storage.lake import Lake
from cellassets.storage.objects import in_parallel
from cellassets.storage.records import Address

SUPERSEDED, UNFINISHED, TEMPORARY = "superseded", "unfinished", "temporary"
N_READ_AT_ONCE = 500
UNREADABLE = "a commit record at this address cannot be read"


@dataclass(frozen=True)
class Piece:
    """A superseded publication, an unfinished folder or a temporary file.

    Attributes:
        state: one of `superseded`, `unfinished` and `temporary`.
        kind: kind of artefact.
        keys: keys of its address; empty for a temporary file.
        generation: number of the publication; 0 for what was not published.
        folder: name of the data folder that goes with it; empty if another record uses the folder too.
        file: the temporary file.
        n_bytes: size of all that goes with it.
        n_files: number of files that go with it.
        reason: why it stays; empty if nothing needs it.
    """

    state: str
    kind: str
    keys: tuple[str, ...]
    generation: int = 0
    folder: str = ""
    file: StoredFile | None = None
    n_bytes: int = 0
    n_files: int = 0
    reason: str = ""

    @property
    def name(self) -> str:
        """Its name for people."""
        if self.file is not None:
            return self.file.path
        what = f"publication {self.generation}" if self.generation else f"folder {self.folder}"
        return f"{what} of {describe_address(self.kind, self.keys)}"


@dataclass(frozen=True)
class Needs:
    """What a caller knows that the lake does not.

    Attributes:
        before: everything superseded or written at this time or later stays.
        young: the reason of what stays for its age.
        hold: returns why the superseded publication of a record stays, '' if no more is known about it.
        continues: returns why an unfinished folder of an address stays, '' if no run would continue with it.
    """

    before: datetime
    young: str
    hold: Callable[[Record], str] = lambda _record: ""
    continues: Callable[[str, tuple[str, ...], str], str] = lambda _kind, _keys, _folder: ""


@dataclass(frozen=True)
class Survey:
    """All pieces of a lake that are not current, and why commit records could not be read."""

    pieces: tuple[Piece, ...]
    unreadable: tuple[str, ...]


def survey(lake: Lake, n_keys: Mapping[str, int], needs: Needs, *, progress: Progress = no_progress) -> Survey:
    """Returns every superseded publication, unfinished folder and temporary file of a lake. Nothing is changed.

    Args:
        lake: the lake.
        n_keys: number of keys of each kind of artefact.
        needs: what stays although the lake does not say so.
        progress: receives the number of kinds listed and of commit records read.
    """
    holdings = read_holdings(lake, n_keys, progress=progress)
    surveyor = _Surveyor(lake, needs, list(holdings.by_address.values()), progress)
    pieces = [*surveyor.superseded(), *surveyor.unfinished()]
    for kind, file in holdings.temporaries:
        reason = needs.young if file.written_s >= needs.before.timestamp() else ""
        pieces.append(Piece(TEMPORARY, kind, (), file=file, n_bytes=file.n_bytes, n_files=1, reason=reason))
    return Survey(tuple(pieces), tuple(surveyor.unreadable))


class _Surveyor:
    """Reads the commit records that matter, once each."""

    def __init__(self, lake: Lake, needs: Needs, holdings: Sequence[Holding], progress: Progress) -> None:
        self._lake, self._needs, self._progress = lake, needs, progress
        self._holdings = holdings
        self._records: dict[tuple[Address, int], Record] = {}
        self._torn: set[Address] = set()
        self.unreadable: list[str] = []
        # a single record needs no look, unless there is a folder beside its own
        self._read([one for one in holdings if len(one.records) > 1 or (one.records and len(one.folders) > 1)])

    def superseded(self) -> Iterator[Piece]:
        """Yields all superseded publications, with the reason of each that stays."""
        reasons = {
            (holding.address, generation): self._own_reason(holding, generation)
            for holding in self._holdings
            for generation in holding.records
            if generation != holding.newest
        }
        free = [place for place, reason in reasons.items() if not reason]
        if free:
            self._read([one for one in self._holdings if one.records])
            reasons |= self._needed(free)
        for holding in self._holdings:
            yield from self._pieces(holding, reasons)

    def unfinished(self) -> Iterator[Piece]:
        """Yields all data folders without a commit record, with the reason of each that stays."""
        for holding in self._holdings:
            if holding.records and len(holding.folders) == 1:
                continue  # that of its record
            known = {record.folder for record in self._of(holding)}
            for name, folder in holding.folders.items():
                if name not in known:
                    kind, keys = holding.address
                    reason = self._why_it_stays(holding, name)
                    yield Piece(UNFINISHED, kind, keys, 0, name, None, folder.n_bytes, folder.n_files, reason)

    def _why_it_stays(self, holding: Holding, folder: str) -> str:
        if holding.address in self._torn:
            return UNREADABLE
        if holding.folders[folder].written_s >= self._needs.before.timestamp():
            return self._needs.young
        return self._needs.continues(*holding.address, folder)

    def _own_reason(self, holding: Holding, generation: int) -> str:
        if holding.address in self._torn:
            return UNREADABLE
        if holding.superseded_s(generation) >= self._needs.before.timestamp():
            return self._needs.young
        return self._needs.hold(self._records[holding.address, generation])

    def _needed(self, free: Iterable[tuple[Address, int]]) -> dict[tuple[Address, int], str]:
        """Returns the publications that records which stay name among their inputs, directly or through others."""
        waiting: dict[str, dict[Address, int]] = {}  # the newest of each address with a fingerprint
        for address, generation in sorted(free):
            waiting.setdefault(self._records[address, generation].fingerprint, {})[address] = generation
        left = set(free)
        stays = [place for place in self._records if place not in left]
        for address, generation in stays:  # what has the same fingerprint at the same address serves as well
            waiting.get(self._records[address, generation].fingerprint, {}).pop(address, None)
        found: dict[tuple[Address, int], str] = {}
        while stays:
            place = stays.pop()
            record = self._records[place]
            for name in names_among(record.inputs):
                for needed in waiting.pop(name, {}).items():
                    found[needed] = f"needed by {_named(record)}"
                    stays.append(needed)
        return found

    def _pieces(self, holding: Holding, reasons: Mapping[tuple[Address, int], str]) -> Iterator[Piece]:
        """A folder that several records use goes with the newest of them, and only if all of them go."""
        users: dict[str, int] = {}
        for generation in sorted(holding.records):
            record = self._records.get((holding.address, generation))
            if record is not None:
                stays = reasons.get((holding.address, generation), "current")
                users[record.folder] = 0 if stays or users.get(record.folder) == 0 else generation
        for generation in sorted(set(holding.records) - {holding.newest}):
            record = self._records.get((holding.address, generation))
            reason = reasons[holding.address, generation]
            name = "" if record is None else record.folder
            goes_with = name in holding.folders and (bool(reason) or users.get(name) == generation)
            folder = holding.folders[name] if goes_with else None
            n_bytes = holding.records[generation].n_bytes + (folder.n_bytes if folder else 0)
            n_files = 1 + (folder.n_files if folder else 0)
            kind, keys = holding.address
            yield Piece(SUPERSEDED, kind, keys, generation, name if goes_with else "", None, n_bytes, n_files, reason)

    def _of(self, holding: Holding) -> list[Record]:
        found = (self._records.get((holding.address, generation)) for generation in holding.records)
        return [record for record in found if record is not None]

    def _read(self, holdings: Sequence[Holding]) -> None:
        """Reads the commit records of some addresses that are not read yet."""
        wanted = [
            (one.address, generation)
            for one in holdings
            for generation in one.records
            if (one.address, generation) not in self._records and one.address not in self._torn
        ]
        for start in range(0, len(wanted), N_READ_AT_ONCE):
            self._progress(start, len(wanted), "commit records read")
            places = wanted[start : start + N_READ_AT_ONCE]
            for place, found in zip(places, in_parallel(self._record_or_refusal, places), strict=True):
                if isinstance(found, Record):
                    self._records[place] = found
                    continue
                self._torn.add(place[0])
                if not isinstance(found, ArtifactMissing):  # somebody else removed it after it was listed
                    self.unreadable.append(str(found))

    def _record_or_refusal(self, address: Address, generation: int) -> Record | CellAssetsError:
        kind, keys = address
        try:
            return self._lake.artifact(kind, *keys).record_of(generation)
        except CellAssetsError as error:
            return error


def names_among(value: Any) -> Iterator[str]:
    """Yields every text in the inputs of a record, at any depth. Some of them are fingerprints of publications."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from names_among(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from names_among(item)


def _named(record: Record) -> str:
    return f"{describe_address(record.kind, record.keys)} (publication {record.generation})"
