"""The gain of a candidate over the champion in one benchmark, its one-sided tests, and what the data could show.

A guard is a test of non-inferiority: it is passed where a loss of the margin or more is ruled out (Schuirmann 1987).
What the data can show follows from the number of units and the standard error alone, never from the gain itself, so it
can be read before a candidate is judged.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cellassets.statistics.permutation import Mean, least_p_value

POWER = 0.8
GUARD_LEVEL = 0.025  # one-sided: the lower end of the 95% interval is above minus the margin
MAX_UNITS = 1 << 24


@dataclass(frozen=True)
class Gain:
    """How much better a candidate is than the champion: a mean of paired differences.

    Attributes:
        mean: of the differences, candidate minus champion.
        is_higher_better: direction of a better score.
    """

    mean: Mean
    is_higher_better: bool = True

    @property
    def value(self) -> float:
        """The gain; positive is better for the candidate."""
        return self.mean.value if self.is_higher_better else -self.mean.value

    @property
    def n_nodes(self) -> int:
        """Perturbations (genes of pairs, batches) that the differences depend on."""
        return self.mean.n_nodes

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95% interval by Student's t."""
        low, high = self.mean.student_interval()
        return (low, high) if self.is_higher_better else (-high, -low)

    def p_value(self, margin: float = 0.0) -> float:
        """Returns the one-sided p-value of a true loss of the margin or more; without a margin, of no gain.

        It is never below 2^-n of n perturbations (fewer where pairs share hubs): that is the smallest p-value from
        flipping the signs of differences.

        Source: Schuirmann (1987), J. Pharmacokinet. Biopharm. 15:657, one of the two one-sided tests.
        """
        from scipy.stats import t

        above, error = self.value + margin, self.mean.standard_error
        least = least_p_value(self.mean.n_free + 1.0)
        if error == 0:
            return least if above > 0 else 1.0
        return float(max(least, t.sf(above / error, self.mean.n_free)))

    def detectable(self, level: float, n_nodes: int | None = None) -> float:
        """Returns the gain that is found, or the loss that is ruled out for equal models, in 8 of 10 cases.

        Args:
            level: of the one-sided test.
            n_nodes: perturbations; None: those at hand. What control wells add to the error does not fall with them.

        Returns:
            The difference in units of the benchmark; infinite where no p-value can be as small as the level.

        Source: (t(1 - level) + t(power)) * standard error: Bloom (1995), Eval. Rev. 19:547; for non-inferiority Julious
        (2004), Stat. Med. 23:1921.
        """
        from scipy.stats import t

        times = 1.0 if n_nodes is None else n_nodes / self.n_nodes
        n_free = (self.mean.n_free + 1) * times - 1
        if least_p_value(n_free + 1) > level:
            return np.inf
        own = self.mean.standard_error**2 - self.mean.shared_error**2
        error = np.sqrt(max(own, 0.0) / times + self.mean.shared_error**2)
        return float(t.isf([level, 1 - POWER], n_free).sum() * error)

    def n_needed(self, margin: float, level: float = GUARD_LEVEL) -> int | None:
        """Returns how many perturbations would rule out a loss of the margin for equal models, in 8 of 10 cases.

        Returns:
            None where no number would: the control wells that all perturbations share leave too large an error.
        """
        low, high = 1, 2
        while self.detectable(level, high) > margin:
            low, high = high, 2 * high
            if high > MAX_UNITS:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.detectable(level, middle) <= margin else (middle, high)
        return high
