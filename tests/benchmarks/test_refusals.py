"""What cannot be judged says so: a screen without replicates, or without controls that alignment never saw."""

import numpy as np
import pytest

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.errors import BenchmarkError, NotApplicable


def without_replicates(judged):
    return type(judged)(**{**vars(judged), "units": tuple(f"u{n}" for n in range(len(judged.units)))})


@pytest.mark.parametrize("name", ["perturbation_consistency", "perturbation_magnitude", "phenotypic_activity"])
def test_a_screen_without_replicates_has_nothing_to_judge(judge, name):
    chosen = BENCHMARKS[name]
    with pytest.raises(NotApplicable, match="two wells"):
        chosen.score(without_replicates(judge(seed=1)), chosen.parameters())


def test_a_screen_without_held_out_controls_is_refused(judge):
    judged = judge(seed=1)
    judged = type(judged)(**{**vars(judged), "is_held_out_control": np.zeros(len(judged.units), dtype=bool)})
    with pytest.raises(BenchmarkError, match=r"held_out_controls_frac in mapping\.yaml"):
        BENCHMARKS["perturbation_magnitude"].score(judged, BENCHMARKS["perturbation_magnitude"].parameters())
