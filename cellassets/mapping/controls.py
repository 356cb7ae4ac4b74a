"""Negative controls: which of them alignment may learn from, and which are held out.

A control that alignment was fitted on ends closer to the origin of its batch than a well that it was not fitted on. An
inactive perturbation would then look different from the controls, and batches would look better mixed than they are.
So a share of the controls of each batch is held out of every fit, and only these measure batch effects and magnitudes.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

from cellassets.errors import AlignmentError
from cellassets.mapping.places import GeneArms, WellPlaces, gene_arms_of_wells, well_places


@dataclass(frozen=True)
class BatchDesign:
    """What alignment needs to know about the wells: their batches, and the controls that it may be fitted on.

    Some steps also need the places of the wells on their plates, or the chromosome arms of their genes.
    """

    batch_names: tuple[str, ...]
    batch_index: Int[np.ndarray, "well"]
    is_control: Bool[np.ndarray, "well"]
    places: WellPlaces | None = None
    arms: GeneArms | None = None

    def known_places(self) -> WellPlaces:
        """Returns the places of the wells.

        Raises:
            AlignmentError: the design was made without places.
        """
        if self.places is None:
            message = (
                "this step needs the plate, row and column of every well, and the design has none; make the design "
                "with batch_design, from a table with experiment_id, plate_id and well_id"
            )
            raise AlignmentError(message)
        return self.places

    def known_arms(self) -> GeneArms:
        """Returns the chromosome arms of the wells' genes.

        Raises:
            AlignmentError: the design was made without gene arms.
        """
        if self.arms is None:
            message = (
                "this step needs the chromosome arm of every gene, and the design has none; pass gene_arms, a table "
                "with gene_symbol and chromosome_arm (in a lake: annotations/gene_arms.csv)"
            )
            raise AlignmentError(message)
        return self.arms

    def check_controls(self, n_needed: int) -> None:
        """Returns nothing if every batch has at least `n_needed` controls to fit on.

        Raises:
            AlignmentError: some batches have fewer; the message names them and their numbers of controls.
        """
        counts = np.bincount(self.batch_index[self.is_control], minlength=len(self.batch_names))
        few = [f"{name} has {n}" for name, n in zip(self.batch_names, counts, strict=True) if n < n_needed]
        if few:
            message = (
                f"too few negative controls to align on: {', '.join(few)}; each batch needs {n_needed}. Add control "
                "wells, leave the batch out of the dataset, or lower min_controls in mapping.yaml"
            )
            raise AlignmentError(message)


def is_negative_control(wells: pl.DataFrame) -> Bool[np.ndarray, "well"]:
    """Returns true for each well that is a negative control."""
    return (wells["control_kind"] == "negative").fill_null(value=False).to_numpy()


def is_treatment(wells: pl.DataFrame) -> Bool[np.ndarray, "well"]:
    """Returns true for each well with a perturbation that is not a control."""
    return wells["control_kind"].is_null().to_numpy()


def hold_out_controls(
    wells: pl.DataFrame, held_out_frac: float, *, min_controls: int, seed: int
) -> Bool[np.ndarray, "well"]:
    """Returns true for each negative control that is held out of every fit.

    Args:
        wells: wells with experiment_id, plate_id, well_id, batch_id and control_kind.
        held_out_frac: share of the negative controls of each batch to hold out, rounded down.
        min_controls: number of negative controls that each batch keeps for the fit, whatever the share.
        seed: seed of the choice, which does not depend on the order of the wells.

    Controls are taken from the plates in turn, so that the held-out controls of a batch are spread over its plates.
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
    """Returns the batches and places of the wells, and the negative controls that alignment may be fitted on.

    Args:
        wells: rows with experiment_id, plate_id, well_id, batch_id and the perturbation columns.
        is_held_out: true for the controls that no step may use.
        gene_arms: gene_symbol, chromosome_arm and optionally is_expressed, for the step `chromosome_arm`.

    Raises:
        AlignmentError: gene_arms does not have these columns.
    """
    names, index = np.unique(wells["batch_id"].to_numpy(), return_inverse=True)
    return BatchDesign(
        tuple(str(n) for n in names),
        index,
        is_negative_control(wells) & ~is_held_out,
        well_places(wells),
        None if gene_arms is None else gene_arms_of_wells(wells, gene_arms),
    )
