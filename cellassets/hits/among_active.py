"""The second step of the two-step workflow: consistency and recall among active perturbations only.

Why the null distribution stays valid after the selection: a perturbation is called active by its own wells and the
controls of its plates. Names and annotations do not enter. Under the null hypothesis of the second step names are
exchangeable among perturbations of the same plates, and they stay so among the active ones, because which profiles are
active is the same for every assignment of names.

Source: the workflow of copairs, Kalinin et al. (2025), Nat. Commun. 16:5181.
"""

from collections.abc import Sequence
from dataclasses import asdict

import polars as pl

from cellassets.benchmarks.definition import PermutationParameters, Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.registry import find_benchmark
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.hits.calling import Settings
from cellassets.hits.parameters import SECOND_STEP
from cellassets.hits.restricted import only_units

COLUMNS = (
    "metric", "value", "null_mean", "null_low", "null_high", "p_value", "interval_low", "interval_high", "n_units",
    "unit",
)  # fmt: skip


def score_active(judged: JudgedMap, active: Sequence[str], settings: Settings) -> tuple[pl.DataFrame, dict[str, str]]:
    """Returns the summary rows of consistency and recall among active perturbations, and why a benchmark has none.

    Genes are ranked among active genes alone, so 5% in each tail means 5% of the pairs of active genes.

    Args:
        judged: the whole map, with its annotations.
        active: names of the active perturbations, as in `judged.units`.
        settings: parameters of the benchmarks, by name.
    """
    rows: list[dict[str, object]] = []
    reasons: dict[str, str] = {}
    if not active:
        return pl.DataFrame(), dict.fromkeys(SECOND_STEP, "no perturbation is active")
    among = only_units(judged, active)
    for name in SECOND_STEP:
        try:
            scores = _summaries(name, among, settings[name])
        except (BenchmarkError, NotApplicable) as reason:
            reasons[name] = str(reason)
            continue
        for score in scores:
            values = asdict(score)
            rows.append({"benchmark_name": name, "n_active": len(active), **{key: values[key] for key in COLUMNS}})
    return pl.DataFrame(rows, infer_schema_length=None), reasons


def _summaries(name: str, judged: JudgedMap, settings: PermutationParameters) -> list[Score]:
    return [row for row in find_benchmark(name).score(judged, settings) if row.level == "summary"]
