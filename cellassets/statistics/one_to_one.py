"""One-to-one assignment of wells to classes, for plates on which every class is in one well at most."""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from cellassets.errors import StatisticsError
from cellassets.finite import finite_arguments

NOT_ASSIGNED = -1


@finite_arguments(StatisticsError)
def one_to_one(scores: Float[np.ndarray, "well class"]) -> Int[np.ndarray, "well"]:
    """Returns a class for each well, no class twice, so that the sum of the scores is as large as possible.

    Every well has a class if there are at least as many classes as wells. A constant that is added to all scores of
    one well then changes nothing, so log-probabilities need no normalisation. Otherwise every class has a well, and
    the wells that are left over have -1.

    Args:
        scores: the larger, the better the class fits the well. Their number may differ from the number of wells.

    Raises:
        StatisticsError: a score is not finite.

    Source: Crouse 2016, On implementing 2D rectangular assignment algorithms (`scipy.optimize.linear_sum_assignment`).
    """
    found = np.full(len(scores), NOT_ASSIGNED, dtype=np.int64)
    wells, classes = linear_sum_assignment(scores, maximize=True)
    found[wells] = classes
    return found
