"""Summary of the clusters of a map, as their commit record holds it. Dagster loads this module: no numpy, no polars."""

from pydantic import Field

from cellassets.configuration import Parameters


class ResolutionSummary(Parameters):
    """Summary of one resolution.

    Attributes:
        resolution: mean number of perturbations per cluster that was asked for.
        n_clusters: clusters, also those of one perturbation.
        n_tested: clusters that are large enough to be tested for enrichment.
        n_enriched: tested clusters that are significantly rich in an annotated set, or in compounds of one target.
        n_of_one_arm: tested clusters that are significantly rich in genes of one chromosome arm.
        n_of_one_plate: tested clusters that are significantly rich in perturbations of the same plates.
        adjusted_rand: mean adjusted Rand index between the clusters and those of maps of resampled wells: 0 by chance,
            1 for equal clusters. None where wells cannot be resampled, as are the following.
        null_adjusted_rand: its mean over maps of shuffled wells.
        p_value: share of maps of shuffled wells whose index is at least as large, by the +1 rule.
        stable_frac: share of perturbations in stable clusters: those that are found again more often than 97.5% of
            clusters of their size in maps of shuffled wells.
    """

    resolution: int
    n_clusters: int
    n_tested: int
    n_enriched: int
    n_of_one_arm: int
    n_of_one_plate: int
    adjusted_rand: float | None = None
    null_adjusted_rand: float | None = None
    p_value: float | None = None
    stable_frac: float | None = None


class MapClustersSummary(Parameters):
    """Summary of the clusters of a map.

    Attributes:
        does_not_apply: why the map cannot be clustered; None where it was.
        n_perturbations: perturbations that were clustered, controls excluded.
        n_sets: tested sets of each annotation source, as kind/name.
        stability_missing: why there is no stability; None where there is.
        enrichment_missing: why there is no enrichment; None where sets were tested.
        resolutions: summaries of the resolutions, finest first.
    """

    does_not_apply: str | None = None
    n_perturbations: int = 0
    n_sets: dict[str, int] = Field(default_factory=dict)
    stability_missing: str | None = None
    enrichment_missing: str | None = None
    resolutions: tuple[ResolutionSummary, ...] = ()
