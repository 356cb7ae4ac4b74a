"""The steps between a table of profiles and vectors: their parameters, with pycytominer's names and defaults.

`normalisation.py` and `selection.py` compute them; both know arrays only.

Source: pycytominer 1.7 (Serrano et al. 2025, Nat Methods 22:677), `normalize` and `feature_select`.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field

from cellassets.configuration import Parameters
from cellassets.profiles import normalisation, selection

FitOn = Literal["all", "controls"]
Values = Float[np.ndarray, "row feature"]
Fitted = Float[np.ndarray, "fitted feature"]
Dropped = Bool[np.ndarray, "feature"]


class Normalisation(Parameters, ABC):
    """A step that scales every feature of every plate."""

    kind: str
    fit_on: FitOn = Field(
        default="all", description="Rows of a plate that the centre and the scale are computed from: all, or controls"
    )

    @abstractmethod
    def fit_and_apply(self, rows: Values, fitted: Fitted) -> Values:
        """Returns the rows of one plate, scaled by the centre and scale of `fitted`."""


class MadRobustize(Normalisation):
    """(x - median) / (1.4826 MAD + epsilon) on each plate, where MAD is the median absolute deviation.

    A feature that has one value in more than half of the fitted rows has MAD 0. Its other values are divided by epsilon
    and become huge; `drop_outliers` removes it.
    """

    kind: Literal["mad_robustize"] = "mad_robustize"
    epsilon: float = Field(default=1e-18, ge=0, description="Added to the scaled MAD")

    def fit_and_apply(self, rows: Values, fitted: Fitted) -> Values:
        """Returns the rows of one plate, scaled by the median and the MAD of `fitted`."""
        return normalisation.mad_robustize(rows, fitted, epsilon=self.epsilon)


class Standardize(Normalisation):
    """(x - mean) / standard deviation on each plate. A constant feature becomes 0."""

    kind: Literal["standardize"] = "standardize"

    def fit_and_apply(self, rows: Values, fitted: Fitted) -> Values:
        """Returns the rows of one plate, scaled by the mean and the standard deviation of `fitted`."""
        return normalisation.standardize(rows, fitted)


class Selection(Parameters, ABC):
    """A step that drops features."""

    kind: str

    @abstractmethod
    def drops(self, values: Values, names: tuple[str, ...]) -> Dropped:
        """Returns true for each feature that is dropped."""


class DropNaColumns(Selection):
    """Drops features of which too many values are missing."""

    kind: Literal["drop_na_columns"] = "drop_na_columns"
    cutoff: float = Field(
        default=0.05, ge=0, le=1, description="Largest share of missing values that a feature may have"
    )

    def drops(self, values: Values, names: tuple[str, ...]) -> Dropped:  # noqa: ARG002  one signature for all
        """Returns true for each feature with a larger share of missing values."""
        return selection.missing_above(values, self.cutoff)


class FrequencyThreshold(Selection):
    """Drops features that have few different values.

    Earlier releases of pycytominer called this `variance_threshold`.
    """

    kind: Literal["frequency_threshold"] = "frequency_threshold"
    freq_cut: float = Field(
        default=0.05, ge=0, le=1, description="Smallest count of the second most common value over that of the first"
    )
    unique_cut: float = Field(
        default=0.01, ge=0, le=1, description="Smallest number of different values over the number of rows"
    )

    def drops(self, values: Values, names: tuple[str, ...]) -> Dropped:  # noqa: ARG002
        """Returns true for each feature below one of the two limits."""
        return selection.rarely_different(values, freq_cut=self.freq_cut, unique_cut=self.unique_cut)


class VarianceThreshold(Selection):
    """Drops features that hardly vary, as pycytominer 1.7 does."""

    kind: Literal["variance_threshold"] = "variance_threshold"
    min_variance: float = Field(default=1e-6, ge=0, description="A feature must have a larger variance")

    def drops(self, values: Values, names: tuple[str, ...]) -> Dropped:  # noqa: ARG002
        """Returns true for each feature with this variance or less."""
        return selection.variance_at_most(values, self.min_variance)


class CorrelationThreshold(Selection):
    """Drops one feature of every pair that is correlated too much: the one that correlates more with all features."""

    kind: Literal["correlation_threshold"] = "correlation_threshold"
    threshold: float = Field(default=0.9, ge=0, le=1, description="Largest Pearson correlation that a pair may have")

    def drops(self, values: Values, names: tuple[str, ...]) -> Dropped:  # noqa: ARG002
        """Returns true for one feature of each pair above the threshold."""
        return selection.correlated_above(values, self.threshold)


class DropOutliers(Selection):
    """Drops features with an extreme value. Meant for normalised features."""

    kind: Literal["drop_outliers"] = "drop_outliers"
    cutoff: float = Field(
        default=15.0, gt=0, description="Largest absolute value that a feature may have; 500 in pycytominer 1.7"
    )

    def drops(self, values: Values, names: tuple[str, ...]) -> Dropped:  # noqa: ARG002
        """Returns true for each feature with a larger absolute value."""
        return selection.extreme_above(values, self.cutoff)


class Blocklist(Selection):
    """Drops features by name. Names that the table does not have change nothing."""

    kind: Literal["blocklist"] = "blocklist"
    features: tuple[str, ...] = Field(default=(), description="Names of features")
    file: str | None = Field(
        default=None, description="Text file beside the declaration with one name per line, such as pycytominer's list"
    )

    def drops(self, values: Values, names: tuple[str, ...]) -> Dropped:  # noqa: ARG002
        """Returns true for each listed feature."""
        return np.isin(np.array(names, dtype=str), np.array(self.features, dtype=str))


Step = Annotated[
    MadRobustize
    | Standardize
    | DropNaColumns
    | FrequencyThreshold
    | VarianceThreshold
    | CorrelationThreshold
    | DropOutliers
    | Blocklist,
    Field(discriminator="kind"),
]
