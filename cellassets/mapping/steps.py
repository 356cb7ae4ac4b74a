"""Alignment steps as parameters: each kind of step is a model with its settings and knows its function.

A new step is one more class in `AlignmentStep`. The mathematics is in `cellassets.mapping.align`.
"""

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from cellassets.configuration import Parameters
from cellassets.mapping import align
from cellassets.mapping.controls import BatchDesign

Wells = Float[np.ndarray, "well feature"]


class PrincipalComponents(Parameters):
    """Scaling by batch over all wells, then the leading principal components of all wells or of the controls."""

    kind: Literal["pca"] = "pca"
    n_components: int = Field(default=128, ge=1)
    fit_on: Literal["all", "controls"] = "all"

    def apply(self, embeddings: Wells, design: BatchDesign) -> Float[np.ndarray, "well component"]:
        """Returns the wells on the components."""
        is_fitted_on = design.is_control if self.fit_on == "controls" else np.ones(len(embeddings), dtype=bool)
        return align.principal_components(align.scale_by_batch(embeddings, design), is_fitted_on, self.n_components)


class CentreScale(Parameters):
    """Mean 0 and standard deviation 1 of each batch's controls."""

    kind: Literal["centre_scale"] = "centre_scale"
    n_prior_controls: int = Field(default=4, ge=0)

    def apply(self, embeddings: Wells, design: BatchDesign) -> Wells:
        """Returns the wells centred and scaled."""
        return align.centre_scale_on_controls(embeddings, design, n_prior_controls=self.n_prior_controls)


class TypicalVariation(Parameters):
    """Typical-variation normalisation with CORAL a batch."""

    kind: Literal["tvn"] = "tvn"
    ridge: float = Field(default=0.5, gt=0)

    def apply(self, embeddings: Wells, design: BatchDesign) -> Wells:
        """Returns the wells normalised."""
        return align.typical_variation(embeddings, design, ridge=self.ridge)


AlignmentStep = Annotated[PrincipalComponents | CentreScale | TypicalVariation, Field(discriminator="kind")]
