"""What the earlier attempts at some work mean for it now, for sensors, the command line and alerts."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dagster as dg

from cellassets.reconcile.retries import Verdict, verdict
from cellassets.stages.settings import RetryPolicy
from resources.partitions import partition_key
from resources.runs import OUT_OF_MEMORY_TAG
from sensors.attempts import PARDON_TAG, Attempts, Ended, read_attempts
from sensors.reasons import Reason

if TYPE_CHECKING:
    from cellassets.reconcile.work import Work


@dataclass
class Outlook:
    """The ended runs of an instance, and the policy by which their work is asked for again."""

    instance: dg.DagsterInstance
    attempts: Attempts
    retries: RetryPolicy = field(default_factory=RetryPolicy)

    @classmethod
    def of(cls, instance: dg.DagsterInstance) -> "Outlook":
        """Returns the outlook as it is now, with the default policy."""
        return cls(instance, read_attempts(instance))

    def verdict(self, item: "Work") -> Verdict:
        """Returns whether some work that is due can be asked for now."""
        ended = self.attempts.of(item)
        is_refused = bool(ended) and (
            OUT_OF_MEMORY_TAG in ended[-1].run.tags
            or (partition_key(item.keys) or "") in self.reason(ended[-1]).refused
        )
        return self.verdict_on(ended, is_refused=is_refused)

    def verdict_on(self, ended: list[Ended], *, is_refused: bool) -> Verdict:
        """Returns the same for its ended runs, oldest first."""
        now_s = time.time()
        return verdict([one.attempt(now_s) for one in ended], self.retries, is_refused=is_refused, now_s=now_s)

    def reason(self, ended: Ended) -> Reason:
        """Returns why a run ended."""
        return self.attempts.reason(self.instance, ended.run.run_id)

    def in_words(self, item: "Work", found: Verdict) -> str:
        """Returns why some work is not asked for now."""
        if found.outcome == "restarting":
            return "its run died; Dagster starts it again"
        ended = self.attempts.of(item)
        if not ended:
            return ""
        reason = self.reason(ended[-1]).text
        if found.outcome == "waiting":
            number = f"attempt {found.n_attempts + 1} of {self.retries.max_attempts}"
            return f"{number} in {found.wait_s:.0f} s, after: {reason}"
        if not found.is_final:
            return f"its last run ended with: {reason}"
        what = f"failed {found.n_attempts} times" if found.outcome == "failed" else "refused"
        return f"{what}, run `cellassets work retry` to ask again: {reason}"

    def pardon(self, item: "Work") -> bool:
        """Returns true if some work has earlier attempts, after noting that a person asks for it again.

        The next tick of its sensor then asks for it at once. Work that shared a run with it is pardoned with it.
        """
        now_s = time.time()
        counted = [one for one in self.attempts.of(item) if not one.attempt(now_s).is_pardoned]
        for one in counted:
            self.instance.add_run_tags(one.run.run_id, {PARDON_TAG: one.run.run_id})
        return bool(counted)
