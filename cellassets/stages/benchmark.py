"""The stages `benchmark/<name>`: one benchmark on one map.

Publishes `scores.parquet`, `influences.parquet` and `published.parquet`. If a benchmark does not apply to a dataset,
the tables are empty and the record gives the reason. The computation is in `cellassets.benchmarks`.
"""

from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from cellassets.benchmarks.definition import ROWS_VERSION
from cellassets.benchmarks.registry import BENCHMARKS, find_benchmark
from cellassets.benchmarks.summary import ScoreSummary
from cellassets.errors import CellAssetsError, StaleArtifact
from cellassets.fingerprint import fingerprint
from cellassets.mapping.summary import PerturbationMapSummary
from cellassets.stages.datasets import dataset_named
from cellassets.stages.settings import benchmark_parameters
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.stage import Context, Keys, Pod, Stage, settings_of
from cellassets.storage.artifact import Record
from cellassets.storage.plan import Plan, Publication

if TYPE_CHECKING:
    from upath import UPath

    from cellassets.benchmarks.judged import JudgedMap

KIND = "benchmark"


class BenchmarkSummary(ScoreSummary):
    """Summary of the scores of one benchmark on one map.

    Attributes:
        protocol_fingerprint: fingerprint of everything that a score depends on except the model. Only scores of the
            same protocol are compared.
        rows_version: `ROWS_VERSION` of the published tables.
    """

    protocol_fingerprint: str
    rows_version: str = "1"


def kind_of(benchmark_name: str) -> str:
    """Returns the name of a benchmark's asset, which is the kind of its artefacts."""
    return f"{KIND}/{benchmark_name}"


def name_of(kind: str) -> str:
    """Returns the benchmark's name in the name of an asset."""
    return kind.removeprefix(f"{KIND}/")


def is_readable(score: Publication) -> bool:
    """Returns true if published scores have the rows of now; those of an earlier version are computed again first."""
    return score.summary(BenchmarkSummary).rows_version == ROWS_VERSION


def plan(benchmark_name: str, snapshot: Snapshot, keys: Keys) -> Plan:
    """Returns the plan of the scores from the present inputs.

    Raises:
        NotReady: there is no map of this dataset by this model.
        BenchmarkError: there is no such benchmark.
        AnnotationError: the dataset names an annotation source that does not exist.
    """
    dataset_id, model_key = keys["dataset"], keys["model"]
    chosen, dataset = find_benchmark(benchmark_name), dataset_named(snapshot, dataset_id)
    own = snapshot.need("perturbation_map", dataset_id, model_key)
    others = _other_maps(snapshot, own) if "other_maps" in chosen.uses else []
    parameters, facts = benchmark_parameters(snapshot, benchmark_name), _facts(snapshot, own)
    protocol = {
        "benchmark_name": benchmark_name,
        "dataset_id": dataset_id,
        "dataset_fingerprint": facts.dataset_fingerprint,
        "map": facts.protocol_fingerprint,
        "parameters": settings_of(parameters),
        "code_version": chosen.code_version,
        "rows_version": ROWS_VERSION,
        "annotations": snapshot.value(_annotations, chosen.uses, dataset.annotation_sources),
        "other_maps": {pin.keys[0]: _facts(snapshot, pin).protocol_fingerprint for pin in others},
    }
    inputs = {
        **protocol,
        "protocol_fingerprint": fingerprint(protocol),
        "model_key": model_key,
        "perturbation_map": own.fingerprint,
        "made_from_maps": {pin.keys[0]: pin.fingerprint for pin in others},
    }
    settings = {"benchmark": chosen, "parameters": parameters, "annotation_sources": dataset.annotation_sources}
    return snapshot.plan(
        kind_of(benchmark_name), (dataset_id, model_key), inputs, pins=[own, *others], settings=settings
    )


def make(context: Context, plan: Plan) -> Record:
    """Returns the record of the scores.

    Raises:
        BenchmarkError: the benchmark cannot be computed on this map.
        AnnotationError: an annotation source cannot be read.
        StaleArtifact: an annotation source changed since the plan was made.
    """
    from cellassets.benchmarks.scoring import ScoreLabels, score_judged
    from cellassets.tables.parquet import write_table
    from cellassets.tables.schemas import INFLUENCES, PUBLISHED, SCORES

    labels = ScoreLabels(
        dataset_id=plan.keys[0],
        dataset_fingerprint=plan.inputs["dataset_fingerprint"],
        protocol_fingerprint=plan.inputs["protocol_fingerprint"],
        model_key=plan.keys[1],
    )
    scored = score_judged(plan.settings["benchmark"], _judged(context, plan), plan.settings["parameters"], labels)
    tables = {
        "scores.parquet": (scored.scores, SCORES),
        "influences.parquet": (scored.influences, INFLUENCES),
        "published.parquet": (scored.published, PUBLISHED),
    }
    found = scored.summary.model_dump(exclude_unset=True)
    summary = BenchmarkSummary(
        protocol_fingerprint=plan.inputs["protocol_fingerprint"], rows_version=ROWS_VERSION, **found
    )
    with context.lake.draft(plan) as draft:
        for name, (table, schema) in tables.items():
            write_table(table, draft.folder / name, schema)
        return draft.publish(list(tables), summary)


def _judged(context: Context, plan: Plan) -> "JudgedMap":
    """Returns the input of the benchmark, from the pinned maps and the annotations that the plan names."""
    from cellassets.benchmarks.judged import judged_map
    from cellassets.knowledge.annotations import read_annotations
    from cellassets.mapping.build import MapParameters
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import PERTURBATION_MAP, WELL_EMBEDDINGS

    own, *others = [context.lake.open(pin) for pin in plan.pinned("perturbation_map")]
    uses, sources = plan.settings["benchmark"].uses, plan.settings["annotation_sources"]
    folder = context.lake.annotations
    annotations = read_annotations(folder, uses, sources)
    if _fingerprints(folder, uses, sources) != plan.inputs["annotations"]:
        message = f"{folder}: annotations changed since the plan of {plan} was made; materialise it again"
        raise StaleArtifact(message)
    return judged_map(
        read_table(own.path("wells.parquet"), WELL_EMBEDDINGS),
        read_table(own.path("map.parquet"), PERTURBATION_MAP),
        parameters=MapParameters.model_validate(own.record.inputs["parameters"]),
        annotations=annotations,
        other_maps={map_.record.keys[0]: read_table(map_.path("map.parquet"), PERTURBATION_MAP) for map_ in others},
    )


def _other_maps(snapshot: Snapshot, own: Publication) -> list[Publication]:
    """Returns the model's maps of other cell types. A map that shares a cell type would be compared with itself."""
    (_, model_key), own_types = own.keys, _facts(snapshot, own).cell_types
    found = [snapshot.find("perturbation_map", name, model_key) for name in snapshot.keys("perturbation_map")]
    return [pin for pin in found if pin is not None and not own_types & _facts(snapshot, pin).cell_types]


@dataclass(frozen=True)
class _MapFacts:
    """The part of a map's summary that plans need. It is read once per map, not once per benchmark."""

    dataset_fingerprint: str
    protocol_fingerprint: str
    cell_types: frozenset[str]


def _facts(snapshot: Snapshot, map_: Publication) -> _MapFacts:
    return snapshot.value(_read_facts, *map_.keys)


def _read_facts(snapshot: Snapshot, dataset_id: str, model_key: str) -> _MapFacts:
    summary = snapshot.need("perturbation_map", dataset_id, model_key).summary(PerturbationMapSummary)
    return _MapFacts(summary.dataset_fingerprint, summary.protocol_fingerprint, frozenset(summary.cell_types))


def _annotations(snapshot: Snapshot, uses: tuple[str, ...], sources: tuple[str, ...] | None) -> dict[str, list[int]]:
    return _fingerprints(snapshot.annotations(), uses, sources)


def settings_fingerprint(snapshot: Snapshot, benchmark_name: str) -> str | None:
    """Returns the fingerprint of a benchmark's parameters and of all annotations that it may read.

    None if these cannot be read; then the scores wait, with the reason.
    """
    chosen = find_benchmark(benchmark_name)
    try:
        parameters = settings_of(benchmark_parameters(snapshot, benchmark_name))
        annotations = snapshot.value(_annotations, chosen.uses, None)
    except CellAssetsError:
        return None
    return fingerprint({"parameters": parameters, "annotations": annotations})


def _fingerprints(folder: "UPath", uses: tuple[str, ...], sources: tuple[str, ...] | None) -> dict[str, list[int]]:
    from cellassets.knowledge.annotations import annotation_fingerprints

    return annotation_fingerprints(folder, uses, sources)


@cache
def benchmark_stages() -> tuple[Stage, ...]:
    """Returns one stage per registered benchmark, in order of their names."""
    return tuple(_stage(name) for name in sorted(BENCHMARKS))


def _stage(name: str) -> Stage:
    planned: Any = partial(plan, name)
    return Stage(
        name=kind_of(name),
        axes=("dataset", "model"),
        summary=BenchmarkSummary,
        plan=planned,
        make=make,
        pod=Pod(n_cores=2, memory_gib=4),
        settings=(f"benchmarks/{name}.yaml",),
    )
