"""What the page says of the active perturbations of one dataset: how many, the strongest, and scores among them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cellassets.benchmarks.parts import TITLES, UNSEEN
from cellassets.hits.summary import ActivePerturbationsSummary
from cellassets.reporting.hits_chart import hits_chart

N_STRONGEST = 12
N_COMPOUNDS = 12
HEADLINES = {
    "phenotypic_consistency": ("mean_average_precision", "Phenotypic consistency"),
    "known_relationships": ("recall", "Recall of known relationships"),
}


@dataclass(frozen=True)
class HitsPage:
    """HITS, LOWEST_ACTIVE_DOSES and ACTIVE_SCORES rows of one dataset and model, and their summary."""

    hits: pl.DataFrame
    lowest_active_doses: pl.DataFrame
    active_scores: pl.DataFrame
    summary: ActivePerturbationsSummary


def hits_section(page: HitsPage) -> dict[str, Any]:
    """Returns everything that the page shows of the active perturbations of one dataset."""
    summary = page.summary
    doses = page.lowest_active_doses.filter(pl.col("lowest_active_um").is_not_null())
    shown = [
        {"title": HEADLINES[row["benchmark_name"]][1], **row}
        for row in page.active_scores.to_dicts()
        if HEADLINES[row["benchmark_name"]][0] == row["metric"]
    ]
    strongest = strongest_hits(page.hits, N_STRONGEST)
    return {
        "summary": summary,
        "where": f"{TITLES[summary.exposure]} ({summary.experiments})",
        "is_seen": summary.exposure not in UNSEEN,
        "by_kind": [f"{n_active} of kind {kind}" for kind, n_active in summary.n_active_by_kind.items()],
        "q_column": q_column(summary.measure),
        "measure": summary.measure.replace("_", " "),
        "scores": shown,
        "strongest": strongest.to_dicts(),
        "has_interval_to_zero": not strongest.filter(pl.col("distance_sd_low") <= 0).is_empty(),
        "why_none": "" if summary.n_active else why_none(page.hits, summary),
        "doses": doses.sort("lowest_active_um", "compound_id").head(N_COMPOUNDS).to_dicts(),
        "chart": hits_chart(page.hits),
    }


def q_column(measure: str) -> str:
    """Returns the column of the q-values of a measure."""
    return "magnitude_q_value" if measure == "perturbation_magnitude" else "activity_q_value"


def why_none(hits: pl.DataFrame, summary: ActivePerturbationsSummary) -> str:
    """Returns why no perturbation is active, in one or two sentences: the smallest q-value, and what the wells allow.

    Args:
        hits: HITS rows without an active one.
        summary: their counts and the rate.
    """
    q_values = hits[q_column(summary.measure)].drop_nulls().to_list()
    if not q_values:
        return ""
    found = f"The smallest q-value is {min(q_values):.2g}."
    least = hits["least_p_value"].drop_nulls().to_list()
    n_needed = n_hits_needed(least, summary.fdr)
    if n_needed == 1 or not least:
        return found
    n_wells = hits.filter(pl.col("least_p_value").is_not_null())["n_wells"].to_list()
    few = f"With at most {max(n_wells)} wells per perturbation no p-value can be below {min(least):.2g}"
    if n_needed is None:
        return f"{found} {few}, so none of {summary.n_tested} perturbations can reach the rate: more wells are needed."
    return f"{found} {few}, so any is active only if {n_needed} of {summary.n_tested} are that clear."


def n_hits_needed(least_p_values: Sequence[float], fdr: float) -> int | None:
    """Returns how many perturbations must have their smallest possible p-value before any is active.

    Example: 62 perturbations whose p-values are at least 0.005, and the rate 0.05. k such p-values have
    q = 0.005 * 62 / k, so it takes 7. None where all of them are not enough.

    Args:
        least_p_values: the smallest p-value that the wells of each tested perturbation allow.
        fdr: the rate.

    Source: Benjamini and Hochberg (1995), J. R. Statist. Soc. B 57, 289.
    """
    n_tested = len(least_p_values)
    for n_hits, least in enumerate(sorted(least_p_values), start=1):
        if least * n_tested / n_hits <= fdr:
            return n_hits
    return None


def strongest_hits(hits: pl.DataFrame, n_most: int) -> pl.DataFrame:
    """Returns the active perturbations that are farthest from the controls.

    Args:
        hits: HITS rows.
        n_most: largest number of rows.
    """
    active = hits.filter("is_active")
    return active.sort("distance_sd", "perturbation_id", descending=[True, False], nulls_last=True).head(n_most)
