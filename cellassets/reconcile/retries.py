"""When work is asked for again whose runs ended without doing it: now, later, or not before a person says so.

Pure logic. `sensors.attempts` reads the attempts from Dagster's runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cellassets.stages.settings import RetryPolicy

Outcome = Literal["ready", "restarting", "waiting", "refused", "failed"]


@dataclass(frozen=True)
class Attempt:
    """A run that ended without doing its work.

    Attributes:
        run_id: identifier of the run.
        ended_s: when it ended, in seconds since 1970.
        is_restarting: Dagster itself is about to start it again, because its process died.
        is_pardoned: a person has asked for its work again since.
    """

    run_id: str
    ended_s: float
    is_restarting: bool = False
    is_pardoned: bool = False


@dataclass(frozen=True)
class Verdict:
    """What follows from the attempts.

    Attributes:
        outcome: `ready` to be asked for; `restarting` by Dagster itself; `waiting` for the end of a delay; `refused` or
            `failed` for good.
        n_attempts: attempts that count, since a person asked last.
        wait_s: seconds until the next attempt.
    """

    outcome: Outcome
    n_attempts: int = 0
    wait_s: float = 0.0

    @property
    def is_final(self) -> bool:
        """True if only a person, or another input, starts the work again."""
        return self.outcome in ("refused", "failed")


def verdict(attempts: Sequence[Attempt], policy: RetryPolicy, *, is_refused: bool, now_s: float) -> Verdict:
    """Returns when work is asked for again.

    Args:
        attempts: its attempts, oldest first.
        policy: number of attempts, and the delays between them.
        is_refused: the last attempt ended because the data was refused.
        now_s: the time now, in seconds since 1970. If the clock was set back behind the last attempt, its delay counts
            as over.
    """
    counted = [attempt for attempt in attempts if not attempt.is_pardoned]
    if attempts and attempts[-1].is_restarting:
        return Verdict("restarting", len(counted))
    if not counted:
        return Verdict("ready")
    if is_refused or len(counted) >= policy.max_attempts:
        return Verdict("refused" if is_refused else "failed", len(counted))
    elapsed_s, delay_s = now_s - counted[-1].ended_s, policy.delay_s(len(counted))
    if 0 <= elapsed_s < delay_s:
        return Verdict("waiting", len(counted), delay_s - elapsed_s)
    return Verdict("ready", len(counted))
