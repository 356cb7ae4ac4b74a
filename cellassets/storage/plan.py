"""Plans: the inputs of an artefact, determined before it is made.

A plan pins the publications that it reads. A run reads exactly these, even if somebody publishes a newer input
meanwhile. So an artefact is always made from the inputs that its fingerprint describes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cellassets.errors import ArtifactMissing, CorruptArtifact
from cellassets.fingerprint import fingerprint
from cellassets.storage.artifact import Record, describe_address

SummaryT = TypeVar("SummaryT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Publication:
    """What the catalogue stores about one publication. The list of its files is in its commit record.

    Attributes:
        kind: kind of artefact.
        keys: its keys.
        plan_fingerprint: fingerprint of the plan that it was made by.
        fingerprint: what the plans of later stages depend on.
        generation: number of the publication at this address, from 1.
        summary_json: the record's summary as JSON.
        change: number of the catalogue's change that brought it, which grows with every publication anywhere; 0 if it
            does not come from the catalogue.
    """

    kind: str
    keys: tuple[str, ...]
    plan_fingerprint: str
    fingerprint: str
    generation: int
    summary_json: str
    change: int = 0

    def summary(self, model: type[SummaryT]) -> SummaryT:
        """Returns the summary as its stage's model.

        Raises:
            CorruptArtifact: it does not fit the model.
        """
        try:
            return model.model_validate_json(self.summary_json)
        except ValidationError as error:
            first = error.errors()[0]
            what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}, in {error.error_count()} places at most"
            message = (
                f"{describe_address(self.kind, self.keys)}: the summary of publication {self.generation} is not a "
                f"{model.__name__} ({what}); delete its commit record and materialise this asset's partition again"
            )
            raise CorruptArtifact(message) from error


@dataclass(frozen=True)
class Plan:
    """The inputs of an artefact if it were made now.

    Attributes:
        kind: kind of artefact.
        keys: its keys.
        inputs: JSON-like values that the fingerprint is computed from: fingerprints of the pinned publications,
            parameters, code version.
        pins: the publications that are read.
        settings: the same parameters as objects, by name.
        replaces: number of the publication that was current when this plan was made, 0 for none.
    """

    kind: str
    keys: tuple[str, ...]
    inputs: Mapping[str, Any]
    pins: Sequence[Publication] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    replaces: int = 0

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of the kind and all inputs."""
        return fingerprint({"kind": self.kind, "inputs": self.inputs})

    def pin(self, kind: str, *keys: str) -> Publication:
        """Returns a pinned publication.

        Raises:
            ArtifactMissing: the plan does not read it.
        """
        found = self._pins.get((kind, keys))
        if found is None:
            message = f"the plan of {self} does not read {describe_address(kind, keys)}"
            raise ArtifactMissing(message)
        return found

    def pinned(self, kind: str) -> list[Publication]:
        """Returns all pinned publications of a kind, in the order of the plan."""
        return [publication for publication in self.pins if publication.kind == kind]

    def __str__(self) -> str:
        """Returns the address for people."""
        return describe_address(self.kind, self.keys)

    @cached_property
    def _pins(self) -> dict[tuple[str, tuple[str, ...]], Publication]:
        return {(publication.kind, publication.keys): publication for publication in self.pins}


def publication_of(record: Record, summary_json: str) -> Publication:
    """Returns what the catalogue stores of a commit record."""
    return Publication(
        kind=record.kind,
        keys=record.keys,
        plan_fingerprint=record.plan_fingerprint,
        fingerprint=record.fingerprint,
        generation=record.generation,
        summary_json=summary_json,
    )
