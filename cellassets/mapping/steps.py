"""Alignment steps as parameters: each kind of step is a model with its settings and a method that fits it.

To add a step, write a class and add it to `AlignmentStep`. The mathematics is in `align`, `efaar`, `robust`,
`sphering`, `position` and `arms`; docs/statistics.md lists all steps in one table. The docstrings and descriptions
here appear in docs/configuration.md.
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

N_COMPONENTS = "Number of components; fewer if there are fewer features or fitted wells"
FITTED_WELLS = "The wells that the step is fitted on"
RIDGE = "Added to the diagonal of every covariance; a larger value corrects less"


class Step(Parameters):
    """Base class of all alignment steps."""

    @abstractmethod
    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the affine maps that align the wells, fitted to these wells."""

    def apply(
        self, embeddings: Float[np.ndarray, "well feature"], design: BatchDesign
    ) -> Float[np.ndarray, "well component"]:
        """Returns the aligned vectors of wells that are in memory."""
        source = ArrayWells(embeddings)
        return transform_wells(source, self.fit(source, design))


class PrincipalComponents(Step):
    """Centres and scales each batch over all of its wells, then takes the leading principal components."""

    kind: Literal["pca"] = "pca"
    n_components: int = Field(default=128, ge=1, description=N_COMPONENTS)
    fit_on: FitOn = Field(default="all", description="The wells that the components are fitted on")

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the affine maps from features to components."""
        scaled = align.fit_scale_by_batch(wells, design)
        fitted = np.flatnonzero(design.is_control) if self.fit_on == "controls" else np.arange(wells.n_wells)
        components = align.fit_principal_components(Aligned(wells, (scaled,)), fitted, self.n_components)
        return merged((scaled, components), wells.n_features)


class CentreScale(Step):
    """Gives the negative controls of each batch mean 0 and standard deviation 1.

    The variance of a batch is moderated by the variance within all batches, because a few controls estimate it badly.
    A batch with fewer controls than components is centred with more noise; configs/mapping.yaml gives numbers.
    """

    kind: Literal["centre_scale"] = "centre_scale"
    n_prior_controls: int = Field(
        default=4,
        ge=0,
        description="Weight of the variance within all batches, as a number of additional controls; 0: not moderated",
    )

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the affine map that centres and scales."""
        return (align.fit_centre_scale_on_controls(wells, design, n_prior_controls=self.n_prior_controls),)


class TypicalVariation(Step):
    """Typical-variation normalisation: whitens on the negative controls, then aligns covariances by batch (CORAL).

    Covariances are shrunk (Ledoit and Wolf), so that fewer controls than components are not an error. Axes along which
    these few controls do not vary are then left nearly as they were.
    """

    kind: Literal["tvn"] = "tvn"
    ridge: float = Field(default=0.5, gt=0, description=RIDGE)

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the affine maps that normalise."""
        return align.fit_typical_variation(wells, design, ridge=self.ridge)


class EfaarCentre(Step):
    """Centres each batch, as in EFAAR_benchmarking."""

    kind: Literal["efaar_centre"] = "efaar_centre"
    fit_on: FitOn = Field(default="controls", description=FITTED_WELLS)

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the affine map that centres."""
        return (efaar.fit_centre(wells, design, fit_on=self.fit_on),)


class EfaarCentreScale(Step):
    """Centres and scales, as in EFAAR_benchmarking."""

    kind: Literal["efaar_centre_scale"] = "efaar_centre_scale"
    fit_on: FitOn = Field(default="controls", description=FITTED_WELLS)
    within: efaar.Within = Field(default="batch", description="Whether each batch or the whole dataset is scaled")

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the affine map that centres and scales."""
        return (efaar.fit_centre_scale(wells, design, fit_on=self.fit_on, within=self.within),)


class EfaarPrincipalComponents(Step):
    """Principal components of all wells, as in EFAAR_benchmarking."""

    kind: Literal["efaar_pca"] = "efaar_pca"
    n_components: int | None = Field(default=128, ge=1, description=f"{N_COMPONENTS}; null: all")
    is_scaled_first: bool = Field(
        default=True, description="Whether each batch is centred and scaled over all of its wells before"
    )

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the affine maps from features to components."""
        return efaar.fit_pca(wells, design, n_components=self.n_components, is_scaled_first=self.is_scaled_first)


class EfaarTypicalVariation(Step):
    """Typical-variation normalisation as in EFAAR_benchmarking, which does not centre the batches."""

    kind: Literal["efaar_tvn"] = "efaar_tvn"
    ridge: float = Field(default=0.5, gt=0, description=RIDGE)

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the affine maps that normalise."""
        return efaar.fit_tvn(wells, design, ridge=self.ridge)


class RobustZ(Step):
    """Robust z-scores: median 0 and scaled median absolute deviation 1 in each plate or batch."""

    kind: Literal["robust_z"] = "robust_z"
    scope: Scope = Field(default="plate", description="Whether each plate or each batch is scaled")
    fit_on: FitOn = Field(default="all", description=FITTED_WELLS)
    epsilon: float = Field(
        default=1e-18, ge=0, description="Added to the deviation; a larger value damps features that hardly vary"
    )

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the affine map that centres and scales."""
        return (fit_robust_z(wells, design, scope=self.scope, fit_on=self.fit_on, epsilon=self.epsilon),)


class Sphering(Step):
    """Sphering (whitening): decorrelates the features on the negative controls."""

    kind: Literal["sphering"] = "sphering"
    method: SpheringMethod = Field(
        default="zca_cor",
        description=(
            "pca: principal axes, each scaled; zca: the same, rotated back to the features; _cor: features are "
            "standardised on the controls before"
        ),
    )
    epsilon: float = Field(default=1e-6, ge=0, description="Added to the singular values of the centred controls")
    within: efaar.Within = Field(default="dataset", description="Whether each batch or the whole dataset is sphered")

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the affine map that decorrelates."""
        return (fit_sphering(wells, design, method=self.method, epsilon=self.epsilon, within=self.within),)


class WellPosition(Step):
    """Regresses out the position of a well on its plate: row, column and edge. For randomised layouts."""

    kind: Literal["well_position"] = "well_position"
    min_wells: int = Field(default=70, ge=8, description="Plates with fewer wells are refused")

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the map that subtracts the effect of the position."""
        return (fit_well_position(wells, design, min_wells=self.min_wells),)


class ChromosomeArm(Step):
    """Corrects proximity bias: subtracts from each gene the mean profile of the genes on its chromosome arm.

    It reads `annotations/gene_arms.csv` of the lake.
    """

    kind: Literal["chromosome_arm"] = "chromosome_arm"
    min_genes: int = Field(default=20, ge=1, description="Arms with this number of genes or fewer are not corrected")
    fit_on: FitArmsOn = Field(
        default="all", description="The genes that the mean is taken over: all, or only those that are not expressed"
    )

    def fit(self, wells: WellSource, design: BatchDesign) -> Chain:
        """Returns the affine map that subtracts the means of the arms."""
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
