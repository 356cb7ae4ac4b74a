"""P-values of every perturbation against the controls of its plates, by the benchmarks of activity and magnitude.

A screen has many perturbations, so its smallest p-values need many permutations. They are spent where they matter: a
perturbation that a first, shorter test excludes is not tested further.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cellassets.benchmarks.definition import Benchmark, PermutationParameters
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.registry import find_benchmark
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.hits.parameters import HitParameters, Measure
from cellassets.hits.restricted import only_units

N_FIRST = 999  # permutations of the first test
# no perturbation with a p-value above the false discovery rate is ever called; twice that leaves room for chance
EXCLUDED_ABOVE = 2.0
FEW_JOINT_WELLS = 20  # the summary over all perturbations is not used here


@dataclass(frozen=True)
class Tested:
    """One perturbation against its controls: value, mean of its null distribution, p-value."""

    value: float
    null_mean: float
    p_value: float


def units_tested(
    judged: JudgedMap, measure: Measure, settings: PermutationParameters, parameters: HitParameters
) -> dict[str, Tested]:
    """Returns every perturbation that the benchmark can test, by name; none where it cannot be computed.

    The first test has at most 999 permutations. A p-value above twice the false discovery rate is final. All others are
    replaced by that of a second test with `n_permutations` permutations of its own. A p-value of at most a then occurs
    with a probability of at most a: below the limit it needs the second test to be at most a, above it the first.

    Args:
        judged: the map.
        measure: name of the benchmark.
        settings: parameters of the benchmark; number of permutations and seed are those of `parameters`.
        parameters: of the hits.

    Source: a two-step form of the sequential permutation test of Besag and Clifford (1991), Biometrika 78:301.
    """
    chosen, n_first = find_benchmark(measure), min(N_FIRST, parameters.n_permutations)
    try:
        first = _units(chosen, judged, _with(settings, n_first, parameters.seed))
    except (BenchmarkError, NotApplicable):
        return {}
    limit = EXCLUDED_ABOVE * parameters.fdr
    left = [name for name, found in first.items() if found.p_value <= limit]
    if not left or parameters.n_permutations == n_first:
        return first
    again = _with(settings, parameters.n_permutations, parameters.seed + 1)
    return {**first, **_units(chosen, only_units(judged, left), again)}


def _units(chosen: Benchmark, judged: JudgedMap, settings: PermutationParameters) -> dict[str, Tested]:
    return {
        row.perturbation_id: Tested(row.value, row.null_mean, row.p_value)
        for row in chosen.score(judged, settings)
        if row.level == "perturbation" and row.metric == chosen.unit_metric and row.perturbation_id is not None
    }


def _with(settings: PermutationParameters, n_permutations: int, seed: int) -> PermutationParameters:
    changes: Mapping[str, int] = {"n_permutations": n_permutations, "seed": seed, "max_joint_wells": FEW_JOINT_WELLS}
    known = type(settings).model_fields
    return settings.model_copy(update={name: value for name, value in changes.items() if name in known})
