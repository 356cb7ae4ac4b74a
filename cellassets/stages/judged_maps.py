"""A published map and the annotations of its dataset, as the input of benchmarks, hits and clusters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cellassets.errors import StaleArtifact
from cellassets.stages.stage import Context
from cellassets.storage.plan import Plan, Publication

if TYPE_CHECKING:
    from upath import UPath

    from cellassets.benchmarks.judged import JudgedMap
    from cellassets.knowledge.annotations import Annotations


def open_map(context: Context, pin: Publication, annotations: "Annotations | None" = None) -> "JudgedMap":
    """Returns a pinned map with its wells.

    Args:
        context: the lake.
        pin: publication of a perturbation_map.
        annotations: known biology.
    """
    from cellassets.benchmarks.judged import judged_map
    from cellassets.mapping.build import MapParameters
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import PERTURBATION_MAP, WELL_EMBEDDINGS

    opened = context.lake.open(pin)
    return judged_map(
        read_table(opened.file("wells.parquet"), WELL_EMBEDDINGS),
        read_table(opened.file("map.parquet"), PERTURBATION_MAP),
        parameters=MapParameters.model_validate(opened.record.inputs["parameters"]),
        annotations=annotations,
    )


def planned_annotations(context: Context, plan: Plan, uses: Sequence[str]) -> "Annotations":
    """Returns the annotations that a plan names (`annotation_sources` of its settings, `annotations` of its inputs).

    Raises:
        AnnotationError: an annotation source cannot be read.
        StaleArtifact: an annotation source changed since the plan was made.
    """
    from cellassets.knowledge.annotations import read_annotations

    folder, sources = context.lake.annotations, plan.settings["annotation_sources"]
    annotations = read_annotations(folder, tuple(uses), sources)
    if fingerprints_of(folder, tuple(uses), sources) != plan.inputs["annotations"]:
        message = f"{folder}: annotations changed since the plan of {plan} was made; materialise it again"
        raise StaleArtifact(message)
    return annotations


def fingerprints_of(folder: "UPath", uses: tuple[str, ...], sources: tuple[str, ...] | None) -> dict[str, list[int]]:
    """Returns the fingerprint of each annotation source of some kinds.

    Raises:
        AnnotationError: a named source does not exist, or one cannot be read.
    """
    from cellassets.knowledge.annotations import annotation_fingerprints

    return annotation_fingerprints(folder, uses, sources)
