"""What calibration tests of several benchmark families share: small screens, scores, and what uniform means."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy.stats import binom, kstest

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.run import judged_map
from cellassets.statistics import bootstrap
from cellassets.studies.simulated import SIMULATED_MAP, annotations_of, map_wells


@pytest.fixture(scope="module")
def few_resamples():
    """Intervals are not looked at: 20 resamples instead of 2,000 save a third of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "N_RESAMPLES", 20)
        yield


@dataclass
class PValues:
    """P-values over many simulated screens: of every summary metric, and of one unit a screen, another each time."""

    found: dict = field(default_factory=dict)

    def add(self, name, rows, seed):
        for metric in {row.metric for row in rows if row.level == "perturbation"}:
            units = [row for row in rows if row.level == "perturbation" and row.metric == metric]
            self.found.setdefault((name, f"one {metric}"), []).append(units[seed % len(units)].p_value)
        for row in rows:
            if row.level == "summary":
                self.found.setdefault((name, row.metric), []).append(row.p_value)

    def refused(self):
        """What is not uniform: one in a hundred by Kolmogorov and Smirnov, or too many at or below 0.05."""
        return [
            key
            for key, values in self.found.items()
            if kstest(values, "uniform").pvalue <= 0.01
            or (np.array(values) <= 0.05).sum() > binom.ppf(0.99, len(values), 0.05)
        ]


@pytest.fixture(scope="module")
def p_values():
    return PValues


@pytest.fixture(scope="session")
def judge_wells():
    """Returns the function that takes wells through the real alignment, one perturbation a guide."""

    def judge(wells, known, *, is_aligned=True):
        steps = SIMULATED_MAP.steps if is_aligned else ()
        parameters = SIMULATED_MAP.model_copy(update={"aggregate_by": "perturbation", "steps": steps})
        aligned, map_table = map_wells(wells, parameters)
        return judged_map(aligned, map_table, parameters=parameters, annotations=annotations_of(known))

    return judge


@pytest.fixture(scope="session")
def score_by():
    """Returns the function that scores by a benchmark's name."""

    def score(name, judged, seed, n_permutations=99, **parameters):
        chosen = BENCHMARKS[name]
        # not the simulation's own seed: both would draw the same random numbers
        return chosen.score(judged, chosen.parameters(n_permutations=n_permutations, seed=seed + 10_000, **parameters))

    return score


@pytest.fixture(scope="session")
def headline_of():
    """Returns the function that finds a benchmark's headline among its rows."""

    def headline(name, rows):
        metric = BENCHMARKS[name].headline_metric
        return next(row for row in rows if row.level == "summary" and row.metric == metric)

    return headline
