"""What the page says of the active perturbations of one dataset: how many, the strongest, and scores among them."""

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
    return {
        "summary": summary,
        "where": f"{TITLES[summary.exposure]} ({summary.experiments})",
        "is_seen": summary.exposure not in UNSEEN,
        "by_kind": [f"{n_active} of kind {kind}" for kind, n_active in summary.n_active_by_kind.items()],
        "q_column": q_column(summary.measure),
        "measure": summary.measure.replace("_", " "),
        "scores": shown,
        "strongest": strongest_hits(page.hits, N_STRONGEST).to_dicts(),
        "doses": doses.sort("lowest_active_um", "compound_id").head(N_COMPOUNDS).to_dicts(),
        "chart": hits_chart(page.hits),
    }


def q_column(measure: str) -> str:
    """Returns the column of the q-values of a measure."""
    return "magnitude_q_value" if measure == "perturbation_magnitude" else "activity_q_value"


def strongest_hits(hits: pl.DataFrame, n_most: int) -> pl.DataFrame:
    """Returns the active perturbations that are farthest from the controls.

    Args:
        hits: HITS rows.
        n_most: largest number of rows.
    """
    active = hits.filter("is_active")
    return active.sort("distance_sd", "perturbation_id", descending=[True, False], nulls_last=True).head(n_most)
