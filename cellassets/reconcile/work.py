"""One piece of work that is missing, and the key under which it is asked for once."""

from dataclasses import dataclass

from cellassets.fingerprint import fingerprint
from cellassets.storage.artifact import Artifact, Plan


@dataclass(frozen=True)
class Work:
    """Partitions to materialise.

    Attributes:
        keys: what the partition key is made of, by axis (`experiment`, `recipe`, `model`, `dataset`).
        assets: names of the assets to materialise there.
        run_key: equal for equal inputs on top of the same publications, so asking again asks for nothing twice.
    """

    keys: dict[str, str]
    assets: tuple[str, ...]
    run_key: str


@dataclass(frozen=True)
class Waiting:
    """Something that cannot be asked for yet, and why."""

    what: str
    reason: str


def run_key(*steps: tuple[Artifact, str]) -> str:
    """Returns the run key of publishing some artefacts with some fingerprints.

    The generation of what is published there now is part of it: an input that changes and changes back is asked for
    again, the same request repeated is not.
    """
    parts = [(str(artifact.root), wanted, generation(artifact)) for artifact, wanted in steps]
    return fingerprint({"steps": sorted(parts)})


def generation(artifact: Artifact) -> int:
    """Returns how often something was published there."""
    record = artifact.find_record()
    return 0 if record is None else record.generation


def is_missing(artifact: Artifact, plan: Plan) -> bool:
    """True where what `plan` asks for is not what is published."""
    return not artifact.is_done(plan)
