"""Negative controls: which wells alignment may learn from, and which it must not see.

A control that alignment was fitted on ends nearer to its batch's origin than any well that was not: an inactive
perturbation then looks different from controls, and batches look better mixed than they are. So a share of each
batch's controls is held out of every fit; batch effects and magnitudes are judged on those alone.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

from cellassets.errors import AlignmentError
from cellassets.mapping.places import GeneArms, WellPlaces, gene_arms_of_wells, well_places


@dataclass(frozen=True)
class BatchDesign:
    """What alignment needs to know of the wells: their batch, and which of them are controls to fit on.

    Some steps ask for the wells' places on their plates, or for the chromosome arms of their genes, as well.
    """

    batch_names: tuple[str, ...]
    batch_index: Int[np.ndarray, "well"]
    is_control: Bool[np.ndarray, "well"]
    places: WellPlaces | None = None
    arms: GeneArms | None = None

    def known_places(self) -> WellPlaces:
        """Returns the wells' places.

        Raises:
            AlignmentError: the design was made without.
        """
        if self.places is None:
            message = (
                "this step needs the plate, row and column of every well; make the design with batch_design, from a "
                "table with experiment_id, plate_id and well_id"
            )
            raise AlignmentError(message)
        return self.places

    def known_arms(self) -> GeneArms:
        """Returns the chromosome arms of the wells' genes.

        Raises:
            AlignmentError: the design was made without.
        """
        if self.arms is None:
            message = (
                "this step needs the chromosome arm of every gene; give gene_arms, a table with gene_symbol and "
                "chromosome_arm (in a lake: annotations/gene_arms.csv)"
            )
            raise AlignmentError(message)
        return self.arms

    def check_controls(self, n_needed: int) -> None:
        """Does nothing where every batch has controls enough.

        Raises:
            AlignmentError: naming the batches with fewer than `n_needed` controls, and how many they have.
        """
        counts = np.bincount(self.batch_index[self.is_control], minlength=len(self.batch_names))
        few = [f"{name} has {n}" for name, n in zip(self.batch_names, counts, strict=True) if n < n_needed]
        if few:
            message = (
                f"too few negative controls to align on: {', '.join(few)}; each batch needs {n_needed}. Add control "
                "wells, leave the batch out of the dataset, or lower min_controls"
            )
            raise AlignmentError(message)


def is_negative_control(wells: pl.DataFrame) -> Bool[np.ndarray, "well"]:
    """Returns true where a well is a negative control."""
    return (wells["control_kind"] == "negative").fill_null(value=False).to_numpy()


def is_treatment(wells: pl.DataFrame) -> Bool[np.ndarray, "well"]:
    """Returns true where a well holds a perturbation that is no control."""
    return wells["control_kind"].is_null().to_numpy()


def hold_out_controls(
    wells: pl.DataFrame, held_out_frac: float, *, min_controls: int, seed: int
) -> Bool[np.ndarray, "well"]:
    """Returns true where a negative control is kept out of every fit.

    Args:
        wells: wells with experiment_id, plate_id, well_id, batch_id and control_kind.
        held_out_frac: share of each batch's negative controls to hold out, rounded down.
        min_controls: negative controls that each batch keeps for the fit, whatever the share.
        seed: decides which; the same wells in any order give the same choice.

    Controls are taken plate by plate in turn, so that a batch's held-out controls spread over its plates.
    """
    keys = ["experiment_id", "plate_id", "well_id"]
    controls = wells.with_row_index("row").filter(is_negative_control(wells)).sort(keys)
    order = np.random.default_rng(seed).permutation(controls.height)
    controls = controls.with_columns(pl.Series("turn", order)).with_columns(
        pl.col("turn").rank("ordinal").over("experiment_id", "plate_id").alias("turn_on_plate")
    )
    rank = pl.struct("turn_on_plate", "turn").rank("ordinal").over("batch_id")
    n_controls = pl.len().cast(pl.Int64)  # signed: a batch may have fewer than min_controls
    n_held = pl.min_horizontal((n_controls * held_out_frac).floor(), n_controls - min_controls).over("batch_id")
    rows = controls.filter(rank <= n_held)["row"].to_numpy()
    is_held_out = np.zeros(wells.height, dtype=bool)
    is_held_out[rows] = True
    return is_held_out


def batch_design(
    wells: pl.DataFrame, is_held_out: Bool[np.ndarray, "well"], *, gene_arms: pl.DataFrame | None = None
) -> BatchDesign:
    """Returns the batches and places of the wells, with the negative controls that are not held out to fit on.

    Args:
        wells: rows with experiment_id, plate_id, well_id, batch_id and the perturbation columns.
        is_held_out: controls that no step may see.
        gene_arms: gene_symbol, chromosome_arm and perhaps is_expressed, for the step `chromosome_arm`.

    Raises:
        AlignmentError: gene_arms is not such a table.
    """
    names, index = np.unique(wells["batch_id"].to_numpy(), return_inverse=True)
    return BatchDesign(
        tuple(str(n) for n in names),
        index,
        is_negative_control(wells) & ~is_held_out,
        well_places(wells),
        None if gene_arms is None else gene_arms_of_wells(wells, gene_arms),
    )
