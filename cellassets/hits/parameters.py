"""The settings of calling hits, from `hits.yaml`. Light to import."""

from typing import Literal

from pydantic import Field

from cellassets.configuration import Parameters
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL

Measure = Literal["phenotypic_activity", "perturbation_magnitude"]
MEASURES: tuple[Measure, ...] = ("phenotypic_activity", "perturbation_magnitude")
SECOND_STEP = ("phenotypic_consistency", "known_relationships")  # benchmarks that are computed among active ones


class HitParameters(Parameters):
    """When a perturbation is called active.

    The p-values of `measure` decide, corrected over all perturbations that could be tested (Benjamini and Hochberg).
    Both measures are in the table. How wells are compared with controls is set in the files of the
    benchmarks, such as `benchmarks/phenotypic_activity.yaml`.
    """

    fdr: float = Field(
        default=SIGNIFICANCE_LEVEL,
        gt=0,
        lt=0.5,
        description="Share of inactive perturbations that is expected among those that are called active, at most",
    )
    measure: Measure = Field(
        default="phenotypic_activity",
        description="Whether wells find their replicates before controls, or how far they are from controls",
    )
    n_permutations: int = Field(
        default=9999,
        ge=99,
        description="Permutations for each perturbation that a first, shorter test did not exclude; the smallest "
        "possible p-value is 1 / (1 + this number)",
    )
    n_dose_permutations: int = Field(default=1999, ge=99, description="Permutations for each dose of a compound")
    seed: int = Field(default=0, description="Seed of all permutations")
