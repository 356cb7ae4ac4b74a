"""Asks at every validation whether a variant of a search goes on, and keeps the decision to stop it.

The decision is kept with the states of the training before anything follows from it: a process that is killed and
starts again, on any machine, stops after the same epoch for the same reason.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from cellassets.errors import CorruptArtifact, RegistryError
from cellassets.training.attempts import Attempt
from cellassets.training.pruning import Sibling, StopDecision, stop_decision
from cellassets.training.recipe import JudgedBy, StopRule

DECISION_NAME = "stopped.json"
logger = logging.getLogger(__name__)


@dataclass
class PoorVariant:
    """The rule of one training.

    Attributes:
        rule: how it is decided.
        metric: what is compared.
        attempt: keeps the decision.
        siblings: returns the other variants as they are now; raises `RegistryError` if they are not known.
        not_compared: epochs after which this process could not compare.
    """

    rule: StopRule
    metric: JudgedBy
    attempt: Attempt
    siblings: Callable[[], Sequence[Sibling]]
    not_compared: list[int] = field(default_factory=list)

    def decided(self) -> StopDecision | None:
        """Returns the decision to stop, of this process or an earlier one; None if the training goes on.

        Raises:
            CorruptArtifact: the decision cannot be read.
        """
        content = self.attempt.noted(DECISION_NAME)
        if content is None:
            return None
        try:
            return StopDecision.model_validate_json(content)
        except ValidationError as error:
            message = f"{self.attempt.folder / DECISION_NAME}: not a decision to stop: {error}; remove the file"
            raise CorruptArtifact(message) from error

    def ends_after(self, history: Sequence[Mapping[str, float]]) -> StopDecision | None:
        """Returns why the training ends after the last epoch; None if it goes on.

        If the siblings are not known, it goes on.

        Args:
            history: `epoch`, from 1, and the metrics of all epochs so far. Nothing is compared after an epoch without
                the metric.

        Raises:
            StaleArtifact: another process took over.
        """
        epoch, decided = int(history[-1]["epoch"]), self.decided()
        if decided is not None and decided.epoch <= epoch:
            return decided
        if self.metric not in history[-1]:
            return None
        try:
            siblings = self.siblings()
        except RegistryError as error:
            self.not_compared.append(epoch)
            logger.warning("not compared with other variants after epoch %d, the training goes on: %s", epoch, error)
            return None
        found = stop_decision(self.rule, self.metric, curve_of(history, self.metric), siblings)
        if found is None:
            return None
        self.attempt.note(DECISION_NAME, found.model_dump_json().encode())
        logger.info("%s", found.in_words())
        return self.decided()


def curve_of(history: Sequence[Mapping[str, float]], metric: str) -> dict[int, float]:
    """Returns a metric by epoch, counted from 1, without the epochs that lack it."""
    return {int(epoch["epoch"]): epoch[metric] for epoch in history if metric in epoch}
