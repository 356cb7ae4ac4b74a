"""The gate's study: it runs the simulations, and writes their section of the calibration page."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
import polars as pl

from cellassets.judging.sequence import level_of
from cellassets.studies.gate_guards import guards_of_equal_models
from cellassets.studies.gate_simulation import ALPHA, METHODS, SimulatedStream, is_promoted, n_promotions

N_CANDIDATES = 200
SIZES = (240, 1200)  # genes
GAINS = (0.02, 0.05, 0.1, 0.15, 0.2)
BEFORE = {
    "first": (),
    "200th, after equal ones": (0.0,) * 199,
    "200th, after ones of which nine in ten are worse by 0.1": (-0.1,) * 180 + (0.0,) * 19,
}
GUARDS = ("perturbation_consistency", "perturbation_magnitude", "phenotypic_activity")
GUARD_GENES = (36, 72, 144)
MARGIN = 0.05


@dataclass(frozen=True)
class GateStudy:
    """What the simulations found.

    Attributes:
        n_promoted: per stream of equal candidates, by method: how many were promoted.
        power: columns n_genes, place, method, gain, power.
        n_streams: streams per entry of `power`.
        guards: columns n_genes, seed, and those of GATE that guards have; two equal models.
    """

    n_promoted: pl.DataFrame
    power: pl.DataFrame
    n_streams: int
    guards: pl.DataFrame


def run_gate_study(
    *, n_null: int, n_power: int, n_guards: int, n_workers: int = 1, guard_genes: Sequence[int] = GUARD_GENES
) -> GateStudy:
    """Returns the results of all simulations of the gate.

    Args:
        n_null: streams of equal candidates.
        n_power: streams per power.
        n_guards: screens per number of genes.
        n_workers: processes.
        guard_genes: numbers of genes of the screens.
    """
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        over = partial(pool.map, chunksize=4) if n_workers > 1 else map
        tasks = [(n_genes, seed) for n_genes in guard_genes for seed in range(n_guards)]
        guards = [row for rows in over(_guards, tasks) for row in rows]
        equal = list(over(_equal, range(n_null)))
        entries = [(n_genes, place, seed) for n_genes in SIZES for place in BEFORE for seed in range(n_power)]
        rows = [row for found in over(_power, entries) for row in found]
    power = (
        pl.DataFrame(rows)
        .group_by("n_genes", "place", "method", "gain", maintain_order=True)
        .agg(pl.col("is_promoted").mean().alias("power"))
    )
    return GateStudy(pl.DataFrame(equal), power, n_power, pl.DataFrame(guards, infer_schema_length=None))


def _equal(seed: int) -> dict[str, int]:
    return n_promotions(SimulatedStream(seed=seed), N_CANDIDATES)


def _power(entry: tuple[int, str, int]) -> list[dict[str, object]]:
    n_genes, place, seed = entry
    found = is_promoted(SimulatedStream(n_genes=n_genes, seed=seed), GAINS, BEFORE[place])
    shared = {"n_genes": n_genes, "place": place}
    return [
        {**shared, "method": method, "gain": gain, "is_promoted": is_it}
        for method, passed in found.items()
        for gain, is_it in zip(GAINS, passed, strict=True)
    ]


def _guards(task: tuple[int, int]) -> list[dict[str, object]]:
    n_genes, seed = task
    rows = guards_of_equal_models(GUARDS, n_genes=n_genes, margin=MARGIN, seed=seed)
    return [{**row, "n_genes": n_genes, "seed": seed} for row in rows]


EQUAL = """## The production gate: candidates that are no better

{n_streams} simulated streams of {n_candidates} candidates that are equal to the champion, on one dataset of {n_genes}
genes. Pairs of one gene depend on each other; all candidates share the champion and the pairs. `alpha` is {alpha:g}:
the level of the first candidate is {first:.2g}, of the tenth {tenth:.2g}, of the hundredth {hundredth:.2g}. A promotion
begins a new sequence. [production-gate.md](production-gate.md) explains the method.
"""
BETTER = """
## The production gate: candidates that are better

Share of {n_streams} streams in which a candidate is promoted, by its true gain in recall. The champion recalls 0.4.
"""
GUARDED = """
## The production gate: guards of equal models

Two equal models on simulated screens, each with its own noise. A guard is passed if a loss of {margin:g} is ruled out.
*enough data* counts the screens where the gate says beforehand that equal models pass in 8 of 10 cases. The loss that
can be ruled out and the number of perturbations that are needed are what it says then: median, and the middle half.
"""


def gate_section(study: GateStudy) -> str:
    """Returns the section of the calibration page on the production gate, in Markdown."""
    words = {
        "n_streams": study.n_promoted.height,
        "n_candidates": N_CANDIDATES,
        "n_genes": SIZES[0],
        "alpha": ALPHA,
        "first": level_of(1, ALPHA),
        "tenth": level_of(10, ALPHA),
        "hundredth": level_of(100, ALPHA),
    }
    lines = [EQUAL.format(**words), *_equal_lines(study.n_promoted)]
    lines += [BETTER.format(n_streams=study.n_streams), *_power_lines(study.power)]
    lines += [GUARDED.format(margin=MARGIN), *_guard_lines(study.guards)]
    return "\n".join(lines) + "\n"


def _equal_lines(n_promoted: pl.DataFrame) -> list[str]:
    lines = _head("method", ["streams with a promotion", "promotions per stream"])
    for method in METHODS:
        found = n_promoted[method].to_numpy()
        lines.append(_line([method, f"{np.mean(found > 0):.3f}", f"{found.mean():.3f}"]))
    return lines


def _power_lines(power: pl.DataFrame) -> list[str]:
    lines = _head("genes, place in the stream, method", [f"gain {gain:g}" for gain in GAINS])
    for (n_genes, place, method), rows in power.group_by("n_genes", "place", "method", maintain_order=True):
        lines.append(_line([f"{n_genes}, {place}, {method}", *(f"{value:.2f}" for value in rows["power"])]))
    return lines


def _guard_lines(guards: pl.DataFrame) -> list[str]:
    lines = _head("genes, guard", ["screens", "passed", "enough data", "loss that can be ruled out", "needed"])
    for (n_genes, name), rows in guards.group_by("n_genes", "benchmark_name", maintain_order=True):
        spreads = [_spread(rows["detectable"], ".3f"), _spread(rows["n_needed"], ".0f")]
        lines.append(_line([f"{n_genes}, {name}", *_counts(rows), *spreads]))
    for (n_genes,), rows in guards.group_by("n_genes", maintain_order=True):
        by_screen = rows.group_by("seed").agg(pl.col("is_passed").all(), pl.col("detectable").max())
        lines.append(_line([f"{n_genes}, all of them", *_counts(by_screen), "", ""]))
    return lines


def _counts(rows: pl.DataFrame) -> list[str]:
    return [str(rows.height), str(rows["is_passed"].sum()), str((rows["detectable"] <= MARGIN).sum())]


def _spread(values: pl.Series, form: str) -> str:
    known = values.drop_nulls().cast(pl.Float64)
    low, middle, high = (format(known.quantile(q, "linear"), form) for q in (0.25, 0.5, 0.75))
    return f"{middle} ({low} to {high})"


def _head(first: str, others: Iterable[str]) -> list[str]:
    head = [first, *others]
    return [_line(head), _line(["---"] * len(head))]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
