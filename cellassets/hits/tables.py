"""All tables of the hits of one map: perturbations, lowest active doses, and scores among the active ones."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import polars as pl

from cellassets.benchmarks.judged import JudgedMap
from cellassets.hits.among_active import score_active
from cellassets.hits.calling import Settings, call_hits, least_n_active
from cellassets.hits.doses import lowest_active_doses
from cellassets.hits.parameters import HitParameters


@dataclass(frozen=True)
class HitTables:
    """HITS, LOWEST_ACTIVE_DOSES and ACTIVE_SCORES rows, without the columns that all rows share.

    A table without rows has no columns.

    Attributes:
        parameters: with what the hits were called.
        hits: one row per perturbation.
        lowest_active_doses: one row per compound with two doses or more.
        active_scores: one row per score among active perturbations.
        not_scored: why a benchmark has no score among them.
    """

    parameters: HitParameters
    hits: pl.DataFrame
    lowest_active_doses: pl.DataFrame
    active_scores: pl.DataFrame
    not_scored: dict[str, str]

    def counts(self) -> dict[str, Any]:
        """Returns the fields of an ActivePerturbationsSummary, without the protocol."""
        rows = self.hits.to_dicts()
        active = [row for row in rows if row["is_active"]]
        doses = [] if self.lowest_active_doses.is_empty() else self.lowest_active_doses["lowest_active_um"].to_list()
        reasons = Counter(row["not_tested"] for row in rows if row["not_tested"])
        n_tested = len(rows) - reasons.total()
        kinds = Counter({row["perturbation_kind"]: 0 for row in rows})
        kinds.update(row["perturbation_kind"] for row in active)
        return {
            "fdr": self.parameters.fdr,
            "measure": self.parameters.measure,
            "n_perturbations": len(rows),
            "n_tested": n_tested,
            "n_active": len(active),
            "n_active_by_kind": dict(sorted(kinds.items())),
            "least_n_active": least_n_active(n_tested, self.parameters) if n_tested else None,
            "n_compounds": len(doses),
            "n_active_compounds": sum(dose is not None for dose in doses),
            "not_tested": dict(sorted(reasons.items())),
            "not_scored": self.not_scored,
        }


def hit_tables(judged: JudgedMap, settings: Settings, parameters: HitParameters) -> HitTables:
    """Returns all tables of the hits of a map.

    Args:
        judged: the map with its annotations.
        settings: parameters of the benchmarks of both steps, by name.
        parameters: of the hits.
    """
    hits = call_hits(judged, settings, parameters)
    doses = lowest_active_doses(judged, parameters)
    lowest = pl.lit(None, pl.Float64).alias("lowest_active_um")
    if not doses.is_empty():
        hits = hits.join(doses.select("compound_id", "lowest_active_um"), on="compound_id", how="left")
    elif not hits.is_empty():
        hits = hits.with_columns(lowest)
    active = [] if hits.is_empty() else hits.filter("is_active")["perturbation_id"].to_list()
    scores, not_scored = score_active(judged, active, settings)
    return HitTables(parameters, hits, doses, scores, not_scored)
