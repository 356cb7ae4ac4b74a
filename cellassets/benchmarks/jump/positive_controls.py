"""Positive controls: are the wells of a positive control retrieved before negative controls?"""

from dataclasses import replace

import numpy as np

from cellassets.benchmarks.definition import Row
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.retrieval.phenotypic_activity import ActivityParameters, phenotypic_activity
from cellassets.errors import BenchmarkError, NotApplicable


class PositiveControlParameters(ActivityParameters):
    """Which wells count as replicates, and how many controls they are ranked with, as for `phenotypic_activity`."""


def positive_controls(judged: JudgedMap, parameters: PositiveControlParameters) -> list[Row]:
    """Returns the phenotypic activity of the positive controls.

    Each well of a positive control ranks the other wells of that control, and the held-out negative controls of its
    plates. Labels are permuted between positive and negative controls, within plates. Positive controls often keep one
    place on every plate: what that place does to a well is then part of the value.

    Raises:
        NotApplicable: no positive control has two wells.
        BenchmarkError: none of them is on plates with three held-out negative controls.

    Source: positive controls of JUMP-CP, Chandrasekaran et al. (2024), Nat. Methods 21:1114; average precision of
    Kalinin et al. (2025), Nat. Commun. 16:5181 (copairs).
    """
    treated = of_positive_controls(judged)
    try:
        return phenotypic_activity(treated, parameters)
    except NotApplicable:
        raise
    except BenchmarkError as error:
        message = f"positive_controls: the positive controls cannot be compared with negative ones ({error})"
        raise BenchmarkError(message) from error


def of_positive_controls(judged: JudgedMap) -> JudgedMap:
    """Returns the map with its positive controls as the only treated wells.

    Raises:
        NotApplicable: no positive control has two wells.
    """
    is_positive = (judged.wells["control_kind"] == "positive").fill_null(value=False).to_numpy()
    names = judged.wells["perturbation_id"].to_numpy()
    n_wells = np.unique(names[is_positive], return_counts=True)[1]
    if not (n_wells >= 2).any():
        message = (
            f"positive_controls: the dataset has {is_positive.sum()} wells of {len(n_wells)} positive controls, and "
            "none has two wells; wells with the control kind 'positive' count"
        )
        raise NotApplicable(message)
    return replace(judged, is_treatment=is_positive, units=tuple(names.tolist()))
