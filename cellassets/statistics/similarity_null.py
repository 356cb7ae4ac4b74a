"""P-values of similarities: is the cosine of two perturbations larger or smaller than the map's own null distribution?

The null distribution of one perturbation (the query) is estimated from its cosines to all tested partners: nearly all
of them are unrelated to it. Input: cosines of one query, from `cellassets.mapping.relate`; output: numbers for people,
such as those of the map explorer and of the proposal of the next experiment. Which perturbations are tested (the active
ones) is decided by the caller.

Source: Efron (2004), J. Am. Stat. Assoc. 99:96, for a null distribution that is estimated from the bulk of all tests.
Directions that are uniform on the sphere of d dimensions have a cosine c with sqrt(d - 1) c / sqrt(1 - c^2) distributed
as Student's t with d - 1 degrees of freedom (Muirhead 1982, Aspects of Multivariate Statistical Theory, theorem 1.5.7).
With z = atanh(c) this is sqrt(d - 1) sinh(z).
"""

import numpy as np
from jaxtyping import Bool, Float

from cellassets.errors import StatisticsError
from cellassets.statistics.permutation import benjamini_hochberg

METHOD = (
    "Fisher's z of the cosines to all tested perturbations, centred on their median, against directions that are "
    "uniform on a sphere whose number of dimensions is estimated from the quartiles, for each side of the median."
)
MIN_PARTNERS = 30
MAX_CENTRE = 0.3  # median cosine; above it a shared direction decides which partners look similar
# The distance from the median to a quartile of n normal values has the relative variance 3.2 / n, as a standard
# deviation of 0.156 n degrees of freedom has; the median has 1.57 / n times the variance of a value.
FREEDOM_PER_PARTNER = 0.156
MEDIAN_VARIANCE = 1.57
NEAREST_ONE = 1 - 2.0**-22  # cosines of single precision nearer to 1 than this cannot be distinguished from it
LEAST = 1e-300  # p-values are never 0
FREEDOM_RANGE = (0.2, 1e7)
N_NODES = 257


def similarity_p_values(
    cosines: Float[np.ndarray, "partner"], is_tested: Bool[np.ndarray, "partner"]
) -> Float[np.ndarray, "partner"]:
    """Returns the two-sided p-values of the similarity of one perturbation to all others; NaN where not tested.

    All are NaN where the null distribution cannot be estimated; `why_no_null` then says why.

    Args:
        cosines: of the query to every partner.
        is_tested: partners that are tested; never the query itself.

    Raises:
        StatisticsError: a cosine of a tested partner is not a number from -1 to 1.
    """
    found = np.full(len(cosines), np.nan)
    if why_no_null(cosines, is_tested) is not None:
        return found
    found[is_tested] = _p_values(_fisher_z(cosines[is_tested]))
    return found


def similarity_q_values(p_values: Float[np.ndarray, "partner"]) -> Float[np.ndarray, "partner"]:
    """Returns the q-values of one query (Benjamini and Hochberg over its tested partners); NaN where not tested.

    Args:
        p_values: of `similarity_p_values`.
    """
    found = np.full(len(p_values), np.nan)
    is_tested = ~np.isnan(p_values)
    found[is_tested] = benjamini_hochberg(p_values[is_tested])
    return found


def why_no_null(cosines: Float[np.ndarray, "partner"], is_tested: Bool[np.ndarray, "partner"]) -> str | None:
    """Returns why the null distribution of a query cannot be estimated, in words; None if it can be.

    Args:
        cosines: of the query to every partner.
        is_tested: partners that are tested.

    Raises:
        StatisticsError: a cosine of a tested partner is not a number from -1 to 1.
    """
    if len(cosines) != len(is_tested):
        message = f"similarity_p_values: {len(cosines)} cosines and {len(is_tested)} marks; give one mark per cosine"
        raise StatisticsError(message)
    tested = cosines[is_tested]
    is_bad = ~(np.abs(tested) <= 1 + 1e-6)  # NaN too
    if is_bad.any():
        partner = int(np.flatnonzero(is_tested)[is_bad][0])
        message = (
            f"similarity_p_values: the cosine of partner {partner} is {cosines[partner]}; expected -1 to 1. Leave out "
            "perturbations whose vectors are zero or not finite"
        )
        raise StatisticsError(message)
    return _refusal(tested)


def _refusal(tested: Float[np.ndarray, "partner"]) -> str | None:
    if len(tested) < MIN_PARTNERS:
        return f"{len(tested)} partners can be tested, and a null distribution needs {MIN_PARTNERS}"
    low, centre, high = np.quantile(tested, [0.25, 0.5, 0.75])
    if not low < centre < high:
        return "a quarter or more of the cosines are equal, so they have no null distribution"
    if abs(centre) > MAX_CENTRE:
        return (
            f"the median cosine is {centre:.2f}: most perturbations share a direction with this one, and beyond "
            f"{MAX_CENTRE} this direction decides which look similar"
        )
    return None


def _fisher_z(cosines: Float[np.ndarray, "partner"]) -> Float[np.ndarray, "partner"]:
    return np.arctanh(np.clip(cosines.astype(np.float64), -NEAREST_ONE, NEAREST_ONE))


def _p_values(z: Float[np.ndarray, "partner"]) -> Float[np.ndarray, "partner"]:
    """Two-sided p-values from the distance of each z from the median, for each side of it."""
    from scipy.special import ndtr

    low, centre, high = (float(end) for end in np.quantile(z, [0.25, 0.5, 0.75]))
    scores = np.empty(len(z))
    for is_side, half in ((z < centre, centre - low), (z >= centre, high - centre)):
        distances = np.abs(z[is_side] - centre)
        # nearly linear in the distance, so nodes are exact to 1e-4 and save 20,000 evaluations of Student's t
        nodes = np.linspace(0.0, float(distances.max()), N_NODES)
        scores[is_side] = np.interp(distances, nodes, _normal_scores(nodes, half, len(z)))
    return np.asarray(np.clip(2 * ndtr(-scores), LEAST, 1.0))


def _normal_scores(distances: Float[np.ndarray, "node"], half: float, n: int) -> Float[np.ndarray, "node"]:
    """Normal scores of distances, with what the estimates of centre and width add to the uncertainty (Student's t)."""
    from scipy.special import ndtri, stdtr

    free = _sphere_freedom(half)
    upper = stdtr(free, -np.sqrt(free) * np.sinh(distances))
    scores = -ndtri(np.maximum(upper, LEAST)) / np.sqrt(1 + MEDIAN_VARIANCE / n)
    return np.asarray(-ndtri(np.maximum(stdtr(FREEDOM_PER_PARTNER * n, -scores), LEAST)))


def _sphere_freedom(half: float) -> float:
    """Dimensions, less one, of the sphere on which a quarter of directions has a z between 0 and `half`."""
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    def excess(log_free: float) -> float:
        free = np.exp(log_free)
        return float(stdtrit(free, 0.75) / np.sqrt(free) - np.sinh(half))

    least, most = np.log(FREEDOM_RANGE)
    if excess(least) <= 0 or excess(most) >= 0:
        return FREEDOM_RANGE[0] if excess(least) <= 0 else FREEDOM_RANGE[1]
    return float(np.exp(brentq(excess, least, most, xtol=1e-6)))
