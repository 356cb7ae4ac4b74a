"""One comparison of the gate as a row of GATE: is it passed, and why not, in words and numbers.

Each row is one test. Its p-value is that of the null hypothesis that must be rejected to pass: no gain (deciding), or a
loss of the margin or more (guarded).
"""

import math

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.judging.comparison import Pair
from cellassets.judging.gain import GUARD_LEVEL, Gain

Row = dict[str, object]


def deciding_row(pair: Pair, gain: Gain | str, level: float) -> Row:
    """Returns the row of a deciding comparison: a gain must be found.

    Args:
        pair: benchmark and dataset.
        gain: of the candidate, or why there are no scores to compare.
        level: largest one-sided p-value of a gain.
    """
    shared = {"role": "deciding", "largest_p_value": level}
    if isinstance(gain, str):
        return {**shared, **_labels(pair), "is_passed": False, "verdict": gain}
    p_value, detectable = gain.p_value(), gain.detectable(level)
    is_passed = p_value <= level
    if is_passed:
        words = "better"
    elif math.isinf(detectable):
        least = math.ceil(-math.log2(level))
        words = f"not enough data: {_units(pair, gain)} can show no gain at this level; needs at least {least}"
    else:
        words = f"not shown to be better; a gain of {detectable:.2g} would be found in 8 of 10 cases"
    numbers = {"p_value": p_value, "detectable": _finite(detectable)}
    return {**shared, **_numbers(gain), **numbers, **_verdict(pair, gain, words, p_value, level, is_passed=is_passed)}


def guarded_row(pair: Pair, gain: Gain | str, margin: float) -> Row:
    """Returns the row of a guarded comparison: a loss of the margin or more must be ruled out.

    Args:
        pair: benchmark and dataset.
        gain: of the candidate, or why there are no scores to compare.
        margin: acceptable loss, in units of the benchmark.
    """
    shared = {"role": "guarded", "margin": margin, "largest_p_value": GUARD_LEVEL}
    if isinstance(gain, str):
        return {**shared, **_labels(pair), "is_passed": False, "verdict": gain}
    p_value, detectable, n_needed = gain.p_value(margin), gain.detectable(GUARD_LEVEL), gain.n_needed(margin)
    is_passed, is_loss = p_value <= GUARD_LEVEL, gain.interval[1] < 0
    if is_passed:
        words = f"worse, by less than {margin:g}" if is_loss else f"not worse by {margin:g} or more"
    elif is_loss:
        words = f"worse, and a loss of {margin:g} cannot be ruled out"
    elif detectable > margin:
        words = f"not enough data: {_too_few(pair, gain, margin, detectable, n_needed)}"
    else:
        words = f"a loss of {margin:g} cannot be ruled out"
    numbers = {"p_value": p_value, "detectable": _finite(detectable), "n_needed": n_needed}
    verdict = _verdict(pair, gain, words, p_value, GUARD_LEVEL, is_passed=is_passed)
    return {**shared, **_numbers(gain), **numbers, **verdict}


def _too_few(pair: Pair, gain: Gain, margin: float, detectable: float, n_needed: int | None) -> str:
    """Why a loss of the margin could not have been ruled out for equal models either, and what would help."""
    has = f"{_units(pair, gain)} can rule out " + (f"a loss of {detectable:.2g}" if _finite(detectable) else "no loss")
    if n_needed is None:
        return f"{has}; needs more control wells to rule out {margin:g}, no number of perturbations is enough"
    return f"{has}; needs about {n_needed} to rule out {margin:g}"


def _units(pair: Pair, gain: Gain) -> str:
    what = "batches" if BENCHMARKS[pair[0]].asks_about == "batches" else "perturbations"
    return f"{gain.n_nodes} {what}"


def _numbers(gain: Gain) -> Row:
    low, high = gain.interval
    return {
        "gain": gain.value,
        "interval_low": low,
        "interval_high": high,
        "standard_error": gain.mean.standard_error,
        "n_pairs": gain.mean.n_units,
    }


def _verdict(pair: Pair, gain: Gain, words: str, p_value: float, level: float, *, is_passed: bool) -> Row:
    low, high = gain.interval
    numbers = f"gain {gain.value:+.4f}, {low:+.4f} to {high:+.4f}, p = {p_value:.2g}, level {level:.2g}"
    return {**_labels(pair), "is_passed": is_passed, "verdict": f"{pair[0]} on {pair[1]}: {words} ({numbers})"}


def _labels(pair: Pair) -> Row:
    return {"benchmark_name": pair[0], "dataset_id": pair[1]}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
