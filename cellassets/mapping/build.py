"""From site embeddings to a map: quality filter, alignment over batches, aggregation over replicates.

Tables in, tables out. Where they are read and published is in `cellassets.stages.perturbation_map`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float
from pydantic import Field

from cellassets.configuration import Parameters
from cellassets.errors import AlignmentError
from cellassets.finite import require_finite
from cellassets.mapping.aggregate import AggregateBy, Aggregation, aggregate_wells, unit_labels
from cellassets.mapping.batch_effect import JudgedWells, batch_effect_rows
from cellassets.mapping.controls import BatchDesign, batch_design, hold_out_controls, is_treatment
from cellassets.mapping.dataset import Dataset
from cellassets.mapping.filter import FilteredWells, check_finite, filter_wells
from cellassets.mapping.places import one_place_frac
from cellassets.mapping.replicate_places import replicate_distances
from cellassets.mapping.steps import AlignmentStep, CentreScale, PrincipalComponents, TypicalVariation
from cellassets.mapping.summary import PerturbationMapSummary
from cellassets.progress import Progress, no_progress
from cellassets.tables.parquet import vectors, with_vectors


class MapParameters(Parameters):
    """How a map is made.

    `steps` run in their order after the quality filter and the mean over sites. `min_controls` negative controls must
    be there to fit on in every batch; of the others, `held_out_controls_frac` is kept out of every fit.
    `n_judged_wells` bounds the wells that the batch effect is measured on.
    """

    steps: tuple[AlignmentStep, ...] = Field(
        default=(PrincipalComponents(), CentreScale(), TypicalVariation()), description="The alignment steps, in order"
    )
    min_controls: int = Field(
        default=3, ge=2, description="Negative controls that every batch keeps to fit on; a batch with fewer is refused"
    )
    held_out_controls_frac: float = Field(
        default=0.5, ge=0.0, lt=1.0, description="Share of the negative controls of a batch that no step is fitted on"
    )
    aggregate_by: AggregateBy = Field(
        default="gene",
        description="Whether all guides of a gene become one row of the map, or each perturbation has its own",
    )
    aggregation: Aggregation = Field(default="mean", description="How the wells of a perturbation become one vector")
    n_judged_wells: int = Field(
        default=5000, ge=10, description="Maximum number of wells that the batch effect is measured on"
    )
    seed: int = Field(default=0, description="Seed of the held-out controls and of sampled wells")


@dataclass(frozen=True)
class ExperimentInput:
    """What a map needs of one experiment: SITE_EMBEDDINGS by one model, QUALITY, and the WELLS of the dataset."""

    embeddings: pl.DataFrame
    quality: pl.DataFrame
    wells: pl.DataFrame


@dataclass(frozen=True)
class BuiltMap:
    """A map.

    Attributes:
        units: PERTURBATION_MAP rows without dataset and model, and with their vectors.
        wells: WELL_EMBEDDINGS rows after alignment.
        wells_raw: the same rows before alignment.
        batch_effect: BATCH_EFFECT rows, before and after every step.
        n_wells_dropped: wells without a usable site.
        n_sites_flagged: sites that quality flagged.
        n_controls_held_out: negative controls that no step was fitted on.
    """

    units: pl.DataFrame
    wells: pl.DataFrame
    wells_raw: pl.DataFrame
    batch_effect: pl.DataFrame
    n_wells_dropped: int
    n_sites_flagged: int
    n_controls_held_out: int


def build_map(
    experiments: Iterable[ExperimentInput],
    dataset: Dataset,
    parameters: MapParameters,
    *,
    gene_arms: pl.DataFrame | None = None,
    progress: Progress = no_progress,
) -> BuiltMap:
    """Returns the map of a dataset; holds the sites of one experiment at a time.

    Args:
        experiments: one at a time, in order of their names.
        dataset: its quality limits and batches.
        parameters: the alignment steps and how wells are aggregated.
        gene_arms: gene_symbol and chromosome_arm, where a step asks for them.
        progress: told after every step.

    Raises:
        AlignmentError: too few controls in a batch, values that are not finite, a site without quality, no usable well.
    """
    filtered = _collect_wells(experiments, dataset)
    is_held_out = map_held_out_controls(filtered.wells, parameters)
    aligned, batch_effect = align_wells(filtered.wells, is_held_out, parameters, progress, gene_arms=gene_arms)
    units, unit_vectors = aggregate_wells(
        filtered.wells, aligned, aggregate_by=parameters.aggregate_by, method=parameters.aggregation
    )
    return BuiltMap(
        units=with_vectors(units, unit_vectors),
        wells=with_vectors(filtered.wells, aligned),
        wells_raw=filtered.wells,
        batch_effect=batch_effect,
        n_wells_dropped=filtered.n_wells_dropped,
        n_sites_flagged=filtered.n_sites_flagged,
        n_controls_held_out=int(is_held_out.sum()),
    )


def summarise(built: BuiltMap, parameters: MapParameters, **identity: Any) -> PerturbationMapSummary:
    """Returns the summary of a map.

    Args:
        built: the map.
        parameters: what it was made with.
        identity: `dataset_fingerprint`, `protocol_fingerprint` and `experiments`.
    """
    units = unit_labels(built.wells_raw, parameters.aggregate_by)
    distances = replicate_distances(built.wells_raw, units, seed=parameters.seed)
    return PerturbationMapSummary(
        **identity,
        **{f"{kind}_distance_frac": found.frac for kind, found in distances.items()},
        **{f"{kind}_distance_p_value": found.p_value for kind, found in distances.items()},
        cell_types=tuple(sorted(built.wells["cell_type"].unique().to_list())),
        n_perturbations=built.units.filter(pl.col("control_kind").is_null()).height,
        n_wells=built.wells.height,
        n_wells_dropped=built.n_wells_dropped,
        n_sites_flagged=built.n_sites_flagged,
        n_batches=built.wells["batch_id"].n_unique(),
        one_place_frac=one_place_frac(built.wells_raw),
        n_controls_held_out=built.n_controls_held_out,
        embedding_dim=int(vectors(built.wells).shape[1]),
        has_position_step=any(step.kind == "well_position" for step in parameters.steps),
        batch_effect=_first_and_last(built.batch_effect),
    )


def map_held_out_controls(wells: pl.DataFrame, parameters: MapParameters) -> Bool[np.ndarray, "well"]:
    """Returns true where a well is a negative control that this map's alignment does not see."""
    return hold_out_controls(
        wells, parameters.held_out_controls_frac, min_controls=parameters.min_controls, seed=parameters.seed
    )


def align_wells(
    wells: pl.DataFrame,
    is_held_out: Bool[np.ndarray, "well"],
    parameters: MapParameters,
    progress: Progress = no_progress,
    *,
    gene_arms: pl.DataFrame | None = None,
) -> tuple[Float[np.ndarray, "well feature"], pl.DataFrame]:
    """Returns the aligned vectors of the wells, and the batch effect (BATCH_EFFECT) before and after every step.

    Args:
        wells: WELL_EMBEDDINGS rows.
        is_held_out: controls that no step is fitted on.
        parameters: the steps and their settings.
        progress: told after every step.
        gene_arms: gene_symbol and chromosome_arm, where a step asks for them.

    Raises:
        AlignmentError: a batch has too few negative controls, a step lacks what it asks for, or the vector of a well is
            not finite, before alignment or after a step.
    """
    check_finite(wells, vectors(wells))
    design = batch_design(wells, is_held_out, gene_arms=gene_arms)
    design.check_controls(parameters.min_controls)
    unit_index = np.unique(unit_labels(wells, parameters.aggregate_by), return_inverse=True)[1]
    judged = JudgedWells(design.batch_index, unit_index, is_held_out, is_treatment(wells))
    aligned = vectors(wells).astype(np.float64)
    rows = []
    for done, step in enumerate([None, *parameters.steps]):
        name = "raw" if step is None else step.kind
        aligned = aligned if step is None else _after(step, aligned, design)
        rows.append(batch_effect_rows(name, aligned, judged, n_queries=parameters.n_judged_wells, seed=parameters.seed))
        progress(done, len(parameters.steps), f"aligned: {name}")
    return aligned, pl.concat(rows)


def _after(
    step: AlignmentStep, embeddings: Float[np.ndarray, "well feature"], design: BatchDesign
) -> Float[np.ndarray, "well component"]:
    """The wells after one step."""
    try:
        aligned = step.apply(embeddings, design)
    except np.linalg.LinAlgError as error:
        message = (
            f"the alignment step {step.kind} failed ({error}): the largest value before it is "
            f"{np.abs(embeddings).max():.3g}; features of such a size cannot be aligned, scale them first"
        )
        raise AlignmentError(message) from error
    require_finite(f"after the alignment step {step.kind}", aligned, kind="the well in row", error=AlignmentError)
    return aligned


def needs_gene_arms(parameters: MapParameters) -> bool:
    """Returns true where a step asks for the chromosome arms of genes."""
    return any(step.kind == "chromosome_arm" for step in parameters.steps)


def _collect_wells(experiments: Iterable[ExperimentInput], dataset: Dataset) -> FilteredWells:
    """All experiments' wells after the quality filter."""
    batch = pl.col("experiment_id")
    if dataset.batch_by == "plate":
        batch = pl.concat_str("experiment_id", "plate_id", separator="/")
    parts = [
        filter_wells(
            experiment.embeddings,
            experiment.quality,
            experiment.wells.with_columns(batch.alias("batch_id")),
            limits=dataset.quality,
        )
        for experiment in experiments
    ]
    kept = [part.wells for part in parts if part.wells.height]
    if not kept:
        message = (
            f"dataset {dataset.dataset_id}: no well of {len(parts)} experiments has a usable site; see plate_quality"
        )
        raise AlignmentError(message)
    n_flagged, n_dropped = sum(p.n_sites_flagged for p in parts), sum(p.n_wells_dropped for p in parts)
    return FilteredWells(pl.concat(kept), n_flagged, n_dropped)


def _first_and_last(batch_effect: pl.DataFrame) -> dict[str, float]:
    """Each metric before alignment, after it, and its chance."""
    summary = {}
    for (metric,), rows in batch_effect.group_by("metric", maintain_order=True):
        summary[f"{metric}_raw"] = float(rows["value"][0])
        summary[f"{metric}_aligned"] = float(rows["value"][-1])
        summary[f"{metric}_chance"] = float(rows["chance"][-1])
    return summary
