"""The stage `active_perturbations`: which perturbations of a map are active, and what the active ones show.

Publishes `hits.parquet`, `lowest_active_doses.parquet` and `active_scores.parquet`. It reads the wells of the map that
the model has not seen, and never published scores. A network knows the labels of its training wells, so nothing could
be tested on them; only where there are no others they are used, and the summary says so. The computation is in
`cellassets.hits`.
"""

from typing import TYPE_CHECKING

from cellassets.benchmarks.parts import named
from cellassets.benchmarks.registry import find_benchmark
from cellassets.errors import CellAssetsError
from cellassets.fingerprint import fingerprint
from cellassets.hits.parameters import MEASURES, SECOND_STEP
from cellassets.hits.summary import ActivePerturbationsSummary
from cellassets.mapping.summary import PerturbationMapSummary
from cellassets.stages.datasets import dataset_named
from cellassets.stages.judged_maps import fingerprints_of, open_map, planned_annotations
from cellassets.stages.models import parts_for
from cellassets.stages.settings import benchmark_parameters, hit_parameters
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.stage import Context, Keys, Stage, settings_of
from cellassets.storage.artifact import Record
from cellassets.storage.plan import Plan

if TYPE_CHECKING:
    import polars as pl

    from cellassets.benchmarks.judged import JudgedMap

KIND = "active_perturbations"
CODE_VERSION = "1"
BENCHMARKS_USED = (*MEASURES, *SECOND_STEP)
USES = tuple(sorted({kind for name in SECOND_STEP for kind in find_benchmark(name).uses}))
FILES = ("hits.parquet", "lowest_active_doses.parquet", "active_scores.parquet")


def plan(snapshot: Snapshot, keys: Keys) -> Plan:
    """Returns the plan of the hits from the present inputs.

    Raises:
        NotReady: there is no map of this dataset by this model.
        AnnotationError: the dataset names an annotation source that does not exist.
        ConfigError: `hits.yaml`, or the settings of a benchmark that is used, are wrong.
    """
    dataset_id, model_key = keys["dataset"], keys["model"]
    map_ = snapshot.need("perturbation_map", dataset_id, model_key)
    facts, sources = map_.summary(PerturbationMapSummary), dataset_named(snapshot, dataset_id).annotation_sources
    parameters = hit_parameters(snapshot)
    benchmarks = {name: benchmark_parameters(snapshot, name) for name in BENCHMARKS_USED}
    part = parts_for(snapshot, model_key, facts.experiments)[0]
    protocol = {
        "part_id": part.part_id,
        "dataset_id": dataset_id,
        "dataset_fingerprint": facts.dataset_fingerprint,
        "map": facts.protocol_fingerprint,
        "parameters": settings_of(parameters),
        "benchmarks": {
            name: {"parameters": settings_of(found), "code_version": find_benchmark(name).code_version}
            for name, found in benchmarks.items()
        },
        "annotations": snapshot.value(_annotations, sources),
        "code_version": CODE_VERSION,
    }
    inputs = {
        **protocol,
        "protocol_fingerprint": fingerprint(protocol),
        "exposure": part.exposure,
        "model_key": model_key,
        "perturbation_map": map_.fingerprint,
    }
    settings = {"parameters": parameters, "benchmarks": benchmarks, "annotation_sources": sources, "part": part}
    return snapshot.plan(KIND, (dataset_id, model_key), inputs, pins=[map_], settings=settings)


def make(context: Context, plan: Plan) -> Record:
    """Returns the record of the hits.

    Raises:
        AnnotationError: an annotation source cannot be read.
        StaleArtifact: an annotation source changed since the plan was made.
    """
    from cellassets.hits.tables import hit_tables
    from cellassets.tables.parquet import write_tables
    from cellassets.tables.schemas import ACTIVE_SCORES, HITS, LOWEST_ACTIVE_DOSES

    found = hit_tables(_judged(context, plan), plan.settings["benchmarks"], plan.settings["parameters"])
    tables = zip(
        FILES,
        (found.hits, found.lowest_active_doses, found.active_scores),
        (HITS, LOWEST_ACTIVE_DOSES, ACTIVE_SCORES),
        strict=True,
    )
    part = plan.settings["part"]
    summary = ActivePerturbationsSummary(
        protocol_fingerprint=plan.inputs["protocol_fingerprint"],
        exposure=part.exposure,
        experiments=named(part.experiments),
        **found.counts(),
    )
    labelled = {
        name: (schema.empty() if table.is_empty() else _labelled(table, plan), schema) for name, table, schema in tables
    }
    with context.lake.draft(plan) as draft:
        return draft.publish(write_tables(labelled, draft.folder), summary)


def _labelled(table: "pl.DataFrame", plan: Plan) -> "pl.DataFrame":
    import polars as pl

    labels = {
        "dataset_id": plan.keys[0],
        "dataset_fingerprint": plan.inputs["dataset_fingerprint"],
        "protocol_fingerprint": plan.inputs["protocol_fingerprint"],
        "model_key": plan.keys[1],
    }
    return table.with_columns(pl.lit(value).alias(name) for name, value in labels.items())


def _judged(context: Context, plan: Plan) -> "JudgedMap":
    """Returns the part of the pinned map that is tested, with the annotations that the plan names."""
    from cellassets.benchmarks.judged import restricted

    annotations = planned_annotations(context, plan, USES)
    judged = open_map(context, plan.pin("perturbation_map", *plan.keys), annotations)
    return restricted(judged, plan.settings["part"].experiments)


def settings_fingerprint(snapshot: Snapshot) -> str | None:
    """Returns the fingerprint of all settings of the hits, and of all annotations that they may read.

    None if these cannot be read; then the hits wait, with the reason.
    """
    try:
        parameters = [hit_parameters(snapshot), *(benchmark_parameters(snapshot, n) for n in BENCHMARKS_USED)]
        annotations = snapshot.value(_annotations, None)
    except CellAssetsError:
        return None
    return fingerprint({"parameters": [settings_of(one) for one in parameters], "annotations": annotations})


def _annotations(snapshot: Snapshot, sources: tuple[str, ...] | None) -> dict[str, list[int]]:
    return fingerprints_of(snapshot.annotations(), USES, sources)


ACTIVE_PERTURBATIONS = Stage(
    name=KIND,
    axes=("dataset", "model"),
    summary=ActivePerturbationsSummary,
    plan=plan,
    make=make,
    settings=("hits.yaml", *(f"benchmarks/{name}.yaml" for name in BENCHMARKS_USED)),
)
