"""Alignment steps as parameters: each kind of step is a model with its settings and knows what it fits.

A new step is one more class in `AlignmentStep`. The mathematics is in `align`, `efaar`, `robust`, `sphering`,
`position` and `arms`; docs/statistics.md has them in one table.
"""

from abc import abstractmethod
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from cellassets.configuration import Parameters
from cellassets.mapping import align, efaar
from cellassets.mapping.affine import Aligned, Chain, merged, transform_wells
from cellassets.mapping.arms import FitArmsOn, fit_chromosome_arm
from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.position import fit_well_position
from cellassets.mapping.robust import Scope, fit_robust_z
from cellassets.mapping.source import ArrayWells, FitOn, WellSource
from cellassets.mapping.sphering import SpheringMethod, fit_sphering


class Step(Parameters):
    """What all steps have in common."""

    @abstractmethod
    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the maps that align the wells, learnt from them."""

    def apply(
        self, embeddings: Float[np.ndarray, "well feature"], design: BatchDesign
    ) -> Float[np.ndarray, "well component"]:
        """Returns wells that are in memory, aligned."""
        source = ArrayWells(embeddings)
        return transform_wells(source, self.fit(source, design))


class PrincipalComponents(Step):
    """Scaling by batch over all wells, then the leading principal components of all wells or of the controls."""

    kind: Literal["pca"] = "pca"
    n_components: int = Field(default=128, ge=1)
    fit_on: FitOn = "all"

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the maps to the components."""
        scaled = align.fit_scale_by_batch(wells, design)
        fitted = np.flatnonzero(design.is_control) if self.fit_on == "controls" else np.arange(wells.n_wells)
        components = align.fit_principal_components(Aligned(wells, (scaled,)), fitted, self.n_components)
        return merged((scaled, components), wells.n_features)


class CentreScale(Step):
    """Mean 0 and standard deviation 1 of each batch's controls."""

    kind: Literal["centre_scale"] = "centre_scale"
    n_prior_controls: int = Field(default=4, ge=0)

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the map that centres and scales."""
        return (align.fit_centre_scale_on_controls(wells, design, n_prior_controls=self.n_prior_controls),)


class TypicalVariation(Step):
    """Typical-variation normalisation with CORAL a batch."""

    kind: Literal["tvn"] = "tvn"
    ridge: float = Field(default=0.5, gt=0)

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the maps that normalise."""
        return align.fit_typical_variation(wells, design, ridge=self.ridge)


class EfaarCentre(Step):
    """The published centring by batch, on all wells or on the controls."""

    kind: Literal["efaar_centre"] = "efaar_centre"
    fit_on: FitOn = "controls"

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the map that centres."""
        return (efaar.fit_centre(wells, design, fit_on=self.fit_on),)


class EfaarCentreScale(Step):
    """The published centring and scaling, by batch or over the dataset, on all wells or on the controls."""

    kind: Literal["efaar_centre_scale"] = "efaar_centre_scale"
    fit_on: FitOn = "controls"
    within: efaar.Within = "batch"

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the map that centres and scales."""
        return (efaar.fit_centre_scale(wells, design, fit_on=self.fit_on, within=self.within),)


class EfaarPrincipalComponents(Step):
    """The published principal components of all wells; scaled by batch before unless told not to be."""

    kind: Literal["efaar_pca"] = "efaar_pca"
    n_components: int | None = Field(default=128, ge=1)
    is_scaled_first: bool = True

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the maps to the components."""
        return efaar.fit_pca(wells, design, n_components=self.n_components, is_scaled_first=self.is_scaled_first)


class EfaarTypicalVariation(Step):
    """The published typical-variation normalisation, which centres no batch."""

    kind: Literal["efaar_tvn"] = "efaar_tvn"
    ridge: float = Field(default=0.5, gt=0)

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the maps that normalise."""
        return efaar.fit_tvn(wells, design, ridge=self.ridge)


class RobustZ(Step):
    """Median 0 and scaled median absolute deviation 1 of each plate's or batch's wells or controls."""

    kind: Literal["robust_z"] = "robust_z"
    scope: Scope = "plate"
    fit_on: FitOn = "all"
    epsilon: float = Field(default=1e-18, ge=0)

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the map that centres and scales."""
        return (fit_robust_z(wells, design, scope=self.scope, fit_on=self.fit_on, epsilon=self.epsilon),)


class Sphering(Step):
    """Features decorrelated on the controls."""

    kind: Literal["sphering"] = "sphering"
    method: SpheringMethod = "zca_cor"
    epsilon: float = Field(default=1e-6, ge=0)
    within: efaar.Within = "dataset"

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the map that decorrelates."""
        return (fit_sphering(wells, design, method=self.method, epsilon=self.epsilon, within=self.within),)


class WellPosition(Step):
    """Rows, columns and the edge of each plate regressed out."""

    kind: Literal["well_position"] = "well_position"
    min_wells: int = Field(default=70, ge=8)

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the map that takes positions out."""
        return (fit_well_position(wells, design, min_wells=self.min_wells),)


class ChromosomeArm(Step):
    """Proximity bias taken out: each arm's mean profile subtracted from its genes."""

    kind: Literal["chromosome_arm"] = "chromosome_arm"
    min_genes: int = Field(default=20, ge=1)
    fit_on: FitArmsOn = "all"

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the map that subtracts the arms' means."""
        return (fit_chromosome_arm(wells, design, min_genes=self.min_genes, fit_on=self.fit_on),)


AlignmentStep = Annotated[
    PrincipalComponents
    | CentreScale
    | TypicalVariation
    | EfaarCentre
    | EfaarCentreScale
    | EfaarPrincipalComponents
    | EfaarTypicalVariation
    | RobustZ
    | Sphering
    | WellPosition
    | ChromosomeArm,
    Field(discriminator="kind"),
]
