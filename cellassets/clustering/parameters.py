"""The settings of clusters and of their enrichment: `clusters.yaml`."""

from typing import Annotated

from pydantic import Field

from cellassets.configuration import Parameters


class ClusterParameters(Parameters):
    """How a map is clustered, and which sets its clusters are tested for.

    A resolution is the mean number of perturbations per cluster. A map of n perturbations is cut into n divided by
    this number of clusters; resolutions that would leave fewer than two clusters are left out.
    """

    resolutions: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        default=(5, 15, 50), min_length=1, description="Mean numbers of perturbations per cluster, one per resolution"
    )
    n_neighbours: int = Field(
        default=15, ge=2, description="Most similar perturbations that each perturbation is linked with before merging"
    )
    min_perturbations: int = Field(default=20, ge=4, description="A map with fewer perturbations is not clustered")
    n_resamples: int = Field(
        default=20,
        ge=19,
        description="Maps of resampled wells for the stability, and maps of shuffled wells for its null distribution",
    )
    min_members: int = Field(
        default=3, ge=2, description="Members in the map that a cluster and a set need to be tested for enrichment"
    )
    max_set_members: int = Field(
        default=500, ge=3, description="Larger sets are not tested; chromosome arms always are"
    )
    seed: int = Field(default=0, description="Seed of the resampling")
