"""Regresses the position of a well on its plate out of its features: row, column and edge."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cellassets.errors import AlignmentError
from cellassets.mapping.affine import FittedMap
from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.places import WellPlaces
from cellassets.mapping.source import Block, Rows, WellSource, group_rows_of

N_TERMS = 6


@dataclass(frozen=True)
class PositionModel(FittedMap):
    """The effect of the position on the features: terms (well, term) times coefficients (plate, term, feature)."""

    plate_index: Int[np.ndarray, "well"]
    terms: Float[np.ndarray, "well term"]
    coefficients: Float[np.ndarray, "plate term feature"]

    def n_out(self, n_features: int) -> int:
        """Returns the number of output features, which is the number of input features."""
        return n_features

    def transform(self, values: Block, rows: Rows) -> Block:
        """Returns the vectors of the wells `rows` without the effect of their position."""
        mapped = values.copy()
        plates = self.plate_index[rows]
        for plate in np.unique(plates):
            members = np.flatnonzero(plates == plate)
            mapped[members] -= self.terms[rows[members]] @ self.coefficients[plate]
        return mapped


def fit_well_position(wells: WellSource, design: BatchDesign, *, min_wells: int) -> PositionModel:
    """Returns the model of position on each plate, with terms for row, column, their squares and product, and the edge.

    The model is fitted by least squares to all wells of the plate and not only to its controls, because controls are
    often in a few columns. Treatments differ between positions too: six coefficients for the n wells of a plate remove
    6 / n of their variance. If the layout is not randomised (all replicates of a gene at one position), the model
    removes the biology that correlates with the position. The mean of a plate does not change.

    Args:
        wells: one row per well.
        design: a design with the places of the wells.
        min_wells: smallest number of wells on a plate that the model may be fitted to.

    Raises:
        AlignmentError: a plate has fewer wells, or the places are not known.

    Source: the linear form of the row and column effects of Malo et al. (2006), Nat Biotechnol 24:167, by least
    squares instead of medians, with the edge effect as an additional term.
    """
    places = design.known_places()
    groups = group_rows_of(places.plate_index, len(places.plate_names))
    few = [
        f"{name} has {len(rows)}"
        for name, rows in zip(places.plate_names, groups, strict=True)
        if len(rows) < min_wells
    ]
    if few:
        message = (
            f"well_position: too few wells on a plate: {', '.join(few[:10])}; each needs min_wells = {min_wells}. "
            "Leave these plates out of the dataset, or remove the step from mapping.yaml"
        )
        raise AlignmentError(message)
    terms = position_terms(places)
    coefficients = np.empty((len(groups), N_TERMS, wells.n_features))
    for plate, rows in enumerate(groups):
        terms[rows] -= terms[rows].mean(axis=0)
        values = wells.rows(rows)
        coefficients[plate] = np.linalg.lstsq(terms[rows], values - values.mean(axis=0), rcond=1e-10)[0]
    return PositionModel(places.plate_index, terms, coefficients)


def position_terms(places: WellPlaces) -> Float[np.ndarray, "well term"]:
    """Returns row, column, row squared, column squared, row times column and edge of every well.

    Rows and columns are divided by 10, so that all terms have a similar order of magnitude.
    """
    row, column = places.row / 10.0, places.column / 10.0
    return np.stack([row, column, row**2, column**2, row * column, places.is_outer.astype(np.float64)], axis=1)
