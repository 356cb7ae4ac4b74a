"""Whose turn a candidate is: its number in the sequence of candidates against one champion.

Turns follow age. A candidate that a person names before its turn takes the number that it would have in its turn, so
that choosing the model that looks best on the leaderboard gains nothing. The levels of the numbers are in
`cellassets.judging.sequence`.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cellassets.fingerprint import fingerprint
from cellassets.judging.sequence import Sequence
from cellassets.stages.benchmark import kind_of
from cellassets.stages.leaderboard import label_of
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.state import is_current
from cellassets.storage.plan import Publication

if TYPE_CHECKING:
    from cellassets.judging.gate import GatePolicy
    from cellassets.registry import ModelEntry


@dataclass(frozen=True)
class History:
    """What the gate judged so far: models with their fingerprints, and the sequence against each champion."""

    judged: dict[str, str] = field(default_factory=dict)
    sequences: dict[str, Sequence] = field(default_factory=dict)


def turn_of(
    snapshot: Snapshot,
    policy: "GatePolicy",
    chosen: "ModelEntry",
    champion: str,
    *,
    history: History,
    fresh: list[Publication],
) -> dict[str, int | str]:
    """Returns the candidate's number, and the fingerprint of the deciding scores that it is compared by.

    Models that were never judged have their turn first, the oldest first; then those that an earlier champion won over.

    Args:
        snapshot: registered models and published scores.
        policy: which scores decide.
        chosen: the candidate.
        champion: model_key.
        history: what was judged so far.
        fresh: current scores of both models.
    """
    kind = kind_of(policy.deciding)
    deciding = [score for score in fresh if score.kind == kind and score.keys[0] in policy.deciding_on]
    evidence = fingerprint({label_of(score): score.fingerprint for score in deciding})
    sequence = history.sequences.get(champion, Sequence())

    def order(entry: "ModelEntry") -> tuple[bool, int, str]:
        return history.judged.get(entry.key) == entry.fingerprint, entry.created_at_ms, entry.key

    n_passed_over = sum(
        is_scored(snapshot, policy, entry)
        for entry in snapshot.models()
        if entry.key not in {champion, *sequence.places} and order(entry) < order(chosen)
    )
    return {"number": sequence.number_of(chosen.key, evidence, n_passed_over=n_passed_over), "evidence": evidence}


def is_scored(snapshot: Snapshot, policy: "GatePolicy", entry: "ModelEntry") -> bool:
    """Whether the deciding benchmark has current scores of a model on all deciding datasets."""
    kind = kind_of(policy.deciding)
    return all(is_current(snapshot, kind, dataset_id, entry.key) for dataset_id in policy.deciding_on)
