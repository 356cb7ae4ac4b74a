"""The sequence of candidates against one champion, and the level at which each of them is tested.

Hundreds of candidates are compared with one champion on the same wells. At a fixed level of 0.05, one in twenty models
that are no better would replace it. So the level falls along the sequence, and all levels together are at most `alpha`:
that is the chance that a champion is ever replaced by a model that is no better, however many candidates there are.

The method is discard-spending (Tian and Ramdas 2021): a candidate whose p-value is above one half, which is one that
does not even score higher, is not counted, and the next candidate has the same level. A promotion begins a new
sequence, with the new champion. docs/production-gate.md explains the choice.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from cellassets.configuration import Parameters

COUNTED_UP_TO = 0.5  # a larger p-value is discarded
DECAY = 1.2  # the shares k^-1.2 are larger than those of 1.1 and 1.3 between the 34th and the 590th candidate
ALL_SHARES = 5.591582441177751  # Riemann's zeta(1.2): the sum of k^-1.2


def share_of(number: int) -> float:
    """Returns the share of alpha for a candidate's number in the sequence; all shares sum to 1."""
    return float(number) ** -DECAY / ALL_SHARES


def level_of(number: int, alpha: float) -> float:
    """Returns the largest one-sided p-value of a gain that counts.

    Args:
        number: the candidate's number in the sequence, from 1.
        alpha: the chance that any model of the sequence that is no better is promoted.

    Source: Tian and Ramdas (2021), Stat. Methods Med. Res. 30:976, Discard-Spending: tau * alpha * share.
    """
    return COUNTED_UP_TO * alpha * share_of(number)


class Place(Parameters):
    """A candidate's place in the sequence.

    Attributes:
        number: its number, from 1. Candidates that were not counted share it with the next one.
        evidence: fingerprint of the scores that it was compared by.
        p_value: the largest one-sided p-value of its deciding comparisons.
    """

    number: int
    evidence: str
    p_value: float


class Sequence(Parameters):
    """The candidates that were judged against one champion.

    Attributes:
        n_counted: how many of them took a number.
        places: the last place of each one, by model_key.
    """

    n_counted: int = 0
    places: dict[str, Place] = Field(default_factory=dict)

    def number_of(self, candidate: str, evidence: str, *, n_passed_over: int = 0) -> int:
        """Returns a candidate's number; the same as before where it is judged again by the same scores.

        Args:
            candidate: model_key.
            evidence: fingerprint of the scores that it is compared by.
            n_passed_over: scored models whose turn is before this one. They count as judged before it: who picks the
                model that looks best out of many must not have the level of a first one.
        """
        place = self.places.get(candidate)
        if place is not None and place.evidence == evidence:
            return place.number
        return self.n_counted + n_passed_over + 1

    def after(self, candidate: str, place: Place) -> "Sequence":
        """Returns the sequence after a judgement; the same where the candidate was judged by the same scores before."""
        before = self.places.get(candidate)
        if before is not None and before.evidence == place.evidence:
            return self
        is_counted = place.p_value <= COUNTED_UP_TO
        return Sequence(n_counted=self.n_counted + is_counted, places={**self.places, candidate: place})

    def alpha_left(self, alpha: float) -> float:
        """Returns how much of alpha later candidates have together."""
        return alpha * (1 - sum(share_of(number) for number in range(1, self.n_counted + 1)))


def describe_turn(summary: Mapping[str, Any]) -> str:
    """Returns one sentence on the candidate's place in the sequence, from the summary of a decision."""
    if summary.get("number") is None:
        return "no champion to compare with: not a part of any sequence"
    found = "not compared" if summary.get("p_value") is None else f"p = {summary['p_value']:.2g}"
    return (
        f"number {summary['number']} against {summary['previous_champion']}: level {summary['level']:.2g}, {found}; "
        f"{summary['alpha_left']:.2g} of alpha is left for later candidates"
    )
