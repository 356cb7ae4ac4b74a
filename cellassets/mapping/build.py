"""The stage `perturbation_map`: site embeddings of a dataset become aligned wells and a row a perturbation.

Reads site_embeddings, plate_quality and raw_plates; publishes `map.parquet`, `wells.parquet` (aligned),
`wells_raw.parquet` (after the quality filter, before alignment) and `batch_effect.parquet`.
"""

from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float
from pydantic import Field
from upath import UPath

from cellassets.configuration import Parameters
from cellassets.errors import AlignmentError
from cellassets.mapping.aggregate import AggregateBy, Aggregation, aggregate_wells, unit_labels
from cellassets.mapping.batch_effect import JudgedWells, batch_effect_rows
from cellassets.mapping.controls import batch_design, hold_out_controls, is_treatment
from cellassets.mapping.dataset import Dataset, dataset_experiments, dataset_fingerprint, dataset_wells
from cellassets.mapping.filter import FilteredWells, filter_wells
from cellassets.mapping.places import one_place_frac
from cellassets.mapping.steps import AlignmentStep, CentreScale, PrincipalComponents, TypicalVariation
from cellassets.progress import Progress, no_progress
from cellassets.storage.artifact import Plan, Record, describe_file
from cellassets.storage.lake import Lake
from cellassets.tables.parquet import read_table, read_tables, vectors, with_vectors, write_table
from cellassets.tables.schema import TableSchema
from cellassets.tables.schemas import BATCH_EFFECT, PERTURBATION_MAP, QUALITY, SITE_EMBEDDINGS, WELL_EMBEDDINGS

MAP_CODE_VERSION = "2"
GENE_ARMS_NAME = "gene_arms.csv"


class MapParameters(Parameters):
    """How a map is made.

    `steps` run in their order after the quality filter and the mean over sites. `min_controls` negative controls must
    be there to fit on in every batch; of the others, `held_out_controls_frac` is kept out of every fit.
    `n_judged_wells` bounds the wells that the batch effect is measured on.
    """

    steps: tuple[AlignmentStep, ...] = (PrincipalComponents(), CentreScale(), TypicalVariation())
    min_controls: int = Field(default=3, ge=2)
    held_out_controls_frac: float = Field(default=0.5, ge=0.0, lt=1.0)
    aggregate_by: AggregateBy = "gene"
    aggregation: Aggregation = "mean"
    n_judged_wells: int = Field(default=5000, ge=10)
    seed: int = 0


def plan_map(lake: Lake, dataset: Dataset, *, model_key: str, parameters: MapParameters) -> Plan:
    """Returns what the map would be made from now.

    Raises:
        ArtifactMissing: embeddings by this model or quality of one of the dataset's experiments are not there.
        DatasetError: the dataset has no wells, or is frozen and changed.
        AlignmentError: a step needs the lake's annotations/gene_arms.csv, and it is not there.
    """
    embeddings = {
        e: lake.site_embeddings(e, model_key).record().fingerprint for e in dataset_experiments(lake, dataset)
    }
    inputs = {"model_key": model_key, "site_embeddings": embeddings, **map_protocol(lake, dataset, parameters)}
    return Plan("perturbation_map", inputs)


def map_protocol(lake: Lake, dataset: Dataset, parameters: MapParameters) -> dict[str, Any]:
    """Returns what a map would be made from now but for the model: equal for maps that may be compared.

    Raises:
        ArtifactMissing: quality of one of the dataset's experiments is not there.
        DatasetError: the dataset has no wells, or is frozen and changed.
        AlignmentError: a step needs the lake's annotations/gene_arms.csv, and it is not there.
    """
    protocol = {
        "dataset_id": dataset.dataset_id,
        "dataset_fingerprint": dataset_fingerprint(lake, dataset),
        "dataset": dataset.model_dump(mode="json", exclude={"annotation_sources", "frozen_fingerprint"}),
        "plate_quality": {e: lake.plate_quality(e).record().fingerprint for e in dataset_experiments(lake, dataset)},
        "parameters": parameters.model_dump(mode="json"),
        "code_version": MAP_CODE_VERSION,
    }
    if _needs_gene_arms(parameters):
        protocol["gene_arms"] = describe_file(_gene_arms_path(lake), GENE_ARMS_NAME).model_dump(mode="json")
    return protocol


def build_map(
    lake: Lake, dataset: Dataset, *, model_key: str, parameters: MapParameters, progress: Progress = no_progress
) -> Record:
    """Returns the record of the dataset's map by one model, after making it where it is not there yet.

    Raises:
        ArtifactMissing: an input is not there.
        AlignmentError: too few controls in a batch, values that are not finite, a site without quality.
    """
    plan = plan_map(lake, dataset, model_key=model_key, parameters=parameters)
    artifact = lake.perturbation_map(dataset.dataset_id, model_key)
    if artifact.is_done(plan):
        return artifact.record()
    filtered = _collect_wells(lake, dataset, model_key, progress)
    is_held_out = map_held_out_controls(filtered.wells, parameters)
    gene_arms = read_gene_arms(lake) if _needs_gene_arms(parameters) else None
    aligned, batch_effect = align_wells(filtered.wells, is_held_out, parameters, progress, gene_arms=gene_arms)
    units, unit_vectors = aggregate_wells(
        filtered.wells, aligned, aggregate_by=parameters.aggregate_by, method=parameters.aggregation
    )
    labels = units.with_columns(pl.lit(dataset.dataset_id).alias("dataset_id"), pl.lit(model_key).alias("model_key"))
    tables: dict[str, tuple[pl.DataFrame, TableSchema]] = {
        "map.parquet": (with_vectors(labels, unit_vectors), PERTURBATION_MAP),
        "wells.parquet": (with_vectors(filtered.wells, aligned), WELL_EMBEDDINGS),
        "wells_raw.parquet": (filtered.wells, WELL_EMBEDDINGS),
        "batch_effect.parquet": (batch_effect, BATCH_EFFECT),
    }
    for name, (table, schema) in tables.items():
        write_table(table, artifact.folder(plan.fingerprint) / name, schema)
    summary = {
        "dataset_fingerprint": plan.inputs["dataset_fingerprint"],
        "cell_types": sorted(filtered.wells["cell_type"].unique().to_list()),
        "n_perturbations": units.filter(pl.col("control_kind").is_null()).height,
        "n_wells": filtered.wells.height,
        "n_wells_dropped": filtered.n_wells_dropped,
        "n_sites_flagged": filtered.n_sites_flagged,
        "n_batches": filtered.wells["batch_id"].n_unique(),
        "one_place_frac": one_place_frac(filtered.wells),
        "n_controls_held_out": int(is_held_out.sum()),
        "embedding_dim": int(aligned.shape[1]),
        **_first_and_last(batch_effect),
    }
    return artifact.publish(plan, list(tables), summary)


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
        AlignmentError: a batch has too few negative controls, or a step lacks what it asks for.
    """
    design = batch_design(wells, is_held_out, gene_arms=gene_arms)
    design.check_controls(parameters.min_controls)
    unit_index = np.unique(unit_labels(wells, parameters.aggregate_by), return_inverse=True)[1]
    judged = JudgedWells(design.batch_index, unit_index, is_held_out, is_treatment(wells))
    aligned = vectors(wells).astype(np.float64)
    rows = []
    for done, step in enumerate([None, *parameters.steps]):
        aligned = aligned if step is None else step.apply(aligned, design)
        name = "raw" if step is None else step.kind
        rows.append(batch_effect_rows(name, aligned, judged, n_queries=parameters.n_judged_wells, seed=parameters.seed))
        progress(done, len(parameters.steps), f"aligned: {name}")
    return aligned, pl.concat(rows)


def read_gene_arms(lake: Lake) -> pl.DataFrame:
    """Returns the lake's table of genes and chromosome arms.

    Raises:
        AlignmentError: there is none.
    """
    return pl.read_csv(_gene_arms_path(lake).read_bytes())


def _gene_arms_path(lake: Lake) -> UPath:
    path = lake.annotations / GENE_ARMS_NAME
    if not path.is_file():
        message = (
            f"{path}: no such file; the step chromosome_arm reads it: a CSV with gene_symbol and chromosome_arm, one "
            "row a gene"
        )
        raise AlignmentError(message)
    return path


def _needs_gene_arms(parameters: MapParameters) -> bool:
    return any(step.kind == "chromosome_arm" for step in parameters.steps)


def _collect_wells(lake: Lake, dataset: Dataset, model_key: str, progress: Progress) -> FilteredWells:
    """All experiments' wells after the quality filter; holds the sites of one experiment at a time."""
    batch = pl.col("experiment_id")
    if dataset.batch_by == "plate":
        batch = pl.concat_str("experiment_id", "plate_id", separator="/")
    by_experiment = dataset_wells(lake, dataset).with_columns(batch.alias("batch_id")).partition_by("experiment_id")
    parts = []
    for done, wells in enumerate(by_experiment):
        experiment_id = wells["experiment_id"][0]
        embeddings, quality = lake.site_embeddings(experiment_id, model_key), lake.plate_quality(experiment_id)
        record = embeddings.record()
        paths = [embeddings.path(entry.name, record) for entry in record.files if entry.name.endswith(".parquet")]
        sites = read_tables(paths, SITE_EMBEDDINGS)
        judged = read_table(quality.path("quality.parquet"), QUALITY)
        parts.append(filter_wells(sites, judged, wells, limits=dataset.quality))
        progress(done + 1, len(by_experiment), f"wells of {experiment_id}")
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
