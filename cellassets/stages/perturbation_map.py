"""The stage `perturbation_map`: aligns the wells of a dataset over batches and aggregates them per perturbation.

Publishes `map.parquet`, `wells.parquet` (aligned), `wells_raw.parquet` (after the quality filter, before alignment) and
`batch_effect.parquet`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cellassets.errors import AlignmentError, AnnotationError, DatasetError, StaleArtifact
from cellassets.fingerprint import fingerprint
from cellassets.mapping.summary import PerturbationMapSummary
from cellassets.stages.datasets import dataset_experiments, dataset_fingerprint, dataset_named
from cellassets.stages.settings import map_parameters
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.stage import Context, Keys, Stage, settings_of
from cellassets.storage.artifact import Record
from cellassets.storage.plan import Plan, Publication

if TYPE_CHECKING:
    import polars as pl
    from upath import UPath

    from cellassets.mapping.build import ExperimentInput

CODE_VERSION = "3"
GENE_ARMS = "gene_arms"  # name of the annotation source


def plan(snapshot: Snapshot, keys: Keys) -> Plan:
    """Returns the plan of the map from the present inputs.

    Raises:
        NotReady: embeddings by this model or the quality of one of the dataset's experiments are not published.
        DatasetError: the dataset has no wells, or is frozen and changed.
        AlignmentError: a step needs the annotation source gene_arms, and it is not there.
    """
    dataset_id, model_key = keys["dataset"], keys["model"]
    experiments = dataset_experiments(snapshot, dataset_id)
    embeddings = snapshot.need_all("site_embeddings", [(name, model_key) for name in experiments])
    shared, others = snapshot.value(_shared, dataset_id)
    inputs = {
        "model_key": model_key,
        "site_embeddings": {pin.keys[0]: pin.fingerprint for pin in embeddings},
        **shared,
    }
    settings = {
        "dataset": dataset_named(snapshot, dataset_id),
        "parameters": map_parameters(snapshot),
        "protocol_fingerprint": map_protocol_fingerprint(snapshot, dataset_id),
    }
    pins = [*embeddings, *others]
    return snapshot.plan("perturbation_map", (dataset_id, model_key), inputs, pins=pins, settings=settings)


def map_protocol_fingerprint(snapshot: Snapshot, dataset_id: str) -> str:
    """Returns the fingerprint of all inputs of a map except the model. Maps with equal ones can be compared.

    Raises:
        NotReady: the quality of one of the dataset's experiments is not published.
        DatasetError: the dataset has no wells, or is frozen and changed.
        AlignmentError: a step needs the annotation source gene_arms, and it is not there.
    """
    return snapshot.value(_protocol_fingerprint, dataset_id)


def _protocol_fingerprint(snapshot: Snapshot, dataset_id: str) -> str:
    return fingerprint(snapshot.value(_shared, dataset_id)[0])


def _shared(snapshot: Snapshot, dataset_id: str) -> tuple[dict[str, Any], list[Publication]]:
    """The inputs that maps of all models share, and the publications behind them."""
    from cellassets.mapping.build import needs_gene_arms

    experiments = dataset_experiments(snapshot, dataset_id)
    qualities = snapshot.need_all("plate_quality", [(name,) for name in experiments])
    manifests = snapshot.need_all("raw_plates", [(name,) for name in experiments])
    parameters, dataset = map_parameters(snapshot), dataset_named(snapshot, dataset_id)
    inputs: dict[str, Any] = {
        "dataset_id": dataset_id,
        "dataset_fingerprint": dataset_fingerprint(snapshot, dataset_id),
        "dataset": dataset.model_dump(mode="json", exclude={"annotation_sources", "frozen_fingerprint"}),
        "plate_quality": {pin.keys[0]: pin.fingerprint for pin in qualities},
        "parameters": settings_of(parameters),
        "code_version": CODE_VERSION,
    }
    if needs_gene_arms(parameters):
        inputs["gene_arms"] = _gene_arms_fingerprint(snapshot.annotations())
    return inputs, [*qualities, *manifests]


def make(context: Context, plan: Plan) -> Record:
    """Returns the record of the map.

    Raises:
        AlignmentError: too few controls in a batch, values that are not finite, a site without quality.
        DatasetError: no well fits the dataset.
        StaleArtifact: the annotation source gene_arms changed since the plan was made.
    """
    import polars as pl

    from cellassets.mapping.build import build_map, summarise
    from cellassets.tables.parquet import write_tables
    from cellassets.tables.schemas import BATCH_EFFECT, PERTURBATION_MAP, WELL_EMBEDDINGS

    dataset, parameters = plan.settings["dataset"], plan.settings["parameters"]
    gene_arms = _read_gene_arms(context.lake.annotations, plan) if "gene_arms" in plan.inputs else None
    built = build_map(_experiments(context, plan), dataset, parameters, gene_arms=gene_arms, progress=context.progress)
    labels = {"dataset_id": plan.keys[0], "model_key": plan.keys[1]}
    units = built.units.with_columns(pl.lit(value).alias(name) for name, value in labels.items())
    tables = {
        "map.parquet": (units, PERTURBATION_MAP),
        "wells.parquet": (built.wells, WELL_EMBEDDINGS),
        "wells_raw.parquet": (built.wells_raw, WELL_EMBEDDINGS),
        "batch_effect.parquet": (built.batch_effect, BATCH_EFFECT),
    }
    summary = summarise(
        built,
        parameters,
        dataset_fingerprint=plan.inputs["dataset_fingerprint"],
        protocol_fingerprint=plan.settings["protocol_fingerprint"],
        experiments=tuple(sorted(plan.inputs["site_embeddings"])),
    )
    with context.lake.draft(plan) as draft:
        return draft.publish(write_tables(tables, draft.folder), summary)


def _experiments(context: Context, plan: Plan) -> Iterator["ExperimentInput"]:
    """Yields the pinned tables, one experiment at a time."""
    from cellassets.mapping.build import ExperimentInput
    from cellassets.screens.well_selection import selected_wells
    from cellassets.tables.parquet import read_table, read_tables
    from cellassets.tables.schemas import QUALITY, SITE_EMBEDDINGS, WELLS

    dataset, (_, model_key) = plan.settings["dataset"], plan.keys
    names = sorted(plan.inputs["site_embeddings"])
    n_kept = 0
    for done, name in enumerate(names):
        manifest = context.lake.open(plan.pin("raw_plates", name))
        embeddings = context.lake.open(plan.pin("site_embeddings", name, model_key))
        quality = context.lake.open(plan.pin("plate_quality", name))
        wells = read_table(manifest.file("wells.parquet"), WELLS)
        kept = selected_wells(wells, dataset.cell_types, dataset.perturbation_kinds)
        n_kept += kept.height
        if kept.is_empty():
            continue
        yield ExperimentInput(
            embeddings=read_tables([embeddings.file(part) for part in embeddings.names], SITE_EMBEDDINGS),
            quality=read_table(quality.file("quality.parquet"), QUALITY),
            wells=kept.sort("experiment_id", "plate_id", "well_id"),
        )
        context.progress(done + 1, len(names), "wells of experiments read")
    if not n_kept:
        message = f"dataset {dataset.dataset_id}: no well fits cell_types and perturbation_kinds; correct its YAML"
        raise DatasetError(message)


def _gene_arms_fingerprint(annotations: "UPath") -> list[int]:
    from cellassets.knowledge.annotations import annotation_fingerprints

    try:
        return annotation_fingerprints(annotations, ("gene_arms",), (GENE_ARMS,))[GENE_ARMS]
    except (AnnotationError, KeyError) as error:
        message = (
            f"{annotations}: no annotation source {GENE_ARMS} of chromosome arms; the step chromosome_arm reads it: "
            "a CSV with gene_symbol and chromosome_arm, one row per gene"
        )
        raise AlignmentError(message) from error


def _read_gene_arms(annotations: "UPath", plan: Plan) -> "pl.DataFrame":
    from cellassets.knowledge.annotations import read_annotations

    table = read_annotations(annotations, ("gene_arms",), (GENE_ARMS,)).gene_arms[GENE_ARMS]
    if _gene_arms_fingerprint(annotations) != plan.inputs["gene_arms"]:
        message = f"{annotations}: {GENE_ARMS} changed since the plan of {plan} was made; materialise it again"
        raise StaleArtifact(message)
    return table


PERTURBATION_MAP = Stage(
    name="perturbation_map",
    axes=("dataset", "model"),
    summary=PerturbationMapSummary,
    plan=plan,
    make=make,
    settings=("mapping.yaml", "datasets/<dataset>.yaml"),
)
