"""The stages `benchmark/<name>`: one benchmark on one map.

Publishes `scores.parquet`, `influences.parquet` and `published.parquet`. If a benchmark does not apply to a dataset,
the tables are empty and the record gives the reason. The computation is in `cellassets.benchmarks`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from cellassets.benchmarks.definition import ROWS_VERSION
from cellassets.benchmarks.parts import WHOLE, Exposure, Part
from cellassets.benchmarks.registry import BENCHMARKS, find_benchmark
from cellassets.benchmarks.summary import ScoreSummary
from cellassets.configuration import Parameters
from cellassets.errors import CellAssetsError
from cellassets.fingerprint import fingerprint
from cellassets.mapping.summary import PerturbationMapSummary
from cellassets.stages.datasets import dataset_named
from cellassets.stages.judged_maps import fingerprints_of, open_map, planned_annotations
from cellassets.stages.models import parts_for, seen_of
from cellassets.stages.settings import benchmark_parameters
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.stage import Context, Keys, Stage, settings_of
from cellassets.storage.artifact import Record
from cellassets.storage.plan import Plan, Publication

if TYPE_CHECKING:
    from cellassets.benchmarks.judged import JudgedMap
    from cellassets.benchmarks.scoring import ScoreLabels

KIND = "benchmark"


class ScoredPart(Parameters):
    """The scores of one part of a dataset.

    Attributes:
        part_id: `all`, or a fingerprint of the part's experiments.
        exposure: what the model has seen of these experiments.
        n_experiments: number of experiments.
        protocol_fingerprint: fingerprint of everything that a score depends on except the model. Only scores of the
            same protocol are compared.
        does_not_apply: why there are no scores of this part.
        is_too_small: true if the part has too few wells for the benchmark.
    """

    part_id: str
    exposure: Exposure
    n_experiments: int
    protocol_fingerprint: str
    does_not_apply: str | None = None
    is_too_small: bool = False


class BenchmarkSummary(ScoreSummary):
    """Summary of the scores of one benchmark on one map. Its numbers are those of the first part.

    Attributes:
        parts: the parts of the dataset, unseen ones first. Empty in records of earlier versions.
        rows_version: `ROWS_VERSION` of the published tables.
        protocol_fingerprint: the protocol, in records of earlier versions.
    """

    parts: tuple[ScoredPart, ...] = ()
    rows_version: str = "1"
    protocol_fingerprint: str | None = None

    @property
    def is_silent(self) -> bool:
        """True if the benchmark has nothing to measure in this dataset, independent of the size of its parts."""
        return bool(self.parts) and all(
            part.does_not_apply is not None and not part.is_too_small for part in self.parts
        )


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
    parts = parts_for(snapshot, model_key, facts.experiments)
    beside = {part.part_id: _beside(snapshot, part, others) for part in parts}
    inputs = {
        **protocol,
        "parts": {
            part.part_id: {
                "exposure": part.exposure,
                "protocol_fingerprint": _protocol_fingerprint(protocol, part, beside[part.part_id]),
            }
            for part in parts
        },
        "seen_perturbations": snapshot.value(_perturbations_fingerprint, model_key),
        "model_key": model_key,
        "perturbation_map": own.fingerprint,
        "made_from_maps": {pin.keys[0]: pin.fingerprint for pin in others},
    }
    settings = {
        "benchmark": chosen,
        "parameters": parameters,
        "annotation_sources": dataset.annotation_sources,
        "parts": parts,
        "beside": beside,
        "perturbations": seen_of(snapshot, model_key).perturbations,
    }
    return snapshot.plan(
        kind_of(benchmark_name), (dataset_id, model_key), inputs, pins=[own, *others], settings=settings
    )


def _beside(snapshot: Snapshot, part: Part, others: Sequence[Publication]) -> dict[str, tuple[str, ...]]:
    """The experiments of other maps that a part is compared with, where they are not all experiments of the map."""
    experiments = {pin.keys[0]: _facts(snapshot, pin).experiments for pin in others}
    kept = {name: tuple(one for one in found if one not in part.left_out) for name, found in experiments.items()}
    return {name: found for name, found in kept.items() if found != experiments[name]}


def _protocol_fingerprint(protocol: Mapping[str, Any], part: Part, beside: Mapping[str, Sequence[str]]) -> str:
    """The protocol of a part; that of a whole dataset is the same for models that have seen nothing."""
    if part.part_id == WHOLE and not beside:
        return fingerprint(protocol)
    return fingerprint({**protocol, "part_id": part.part_id, "beside": beside})


def _perturbations_fingerprint(snapshot: Snapshot, model_key: str) -> str | None:
    found = seen_of(snapshot, model_key).perturbations
    return None if found is None else fingerprint({"perturbations": sorted(found)})


def make(context: Context, plan: Plan) -> Record:
    """Returns the record of the scores of all parts.

    Raises:
        BenchmarkError: the benchmark cannot be computed on this map.
        AnnotationError: an annotation source cannot be read.
        StaleArtifact: an annotation source changed since the plan was made.
    """
    from cellassets.benchmarks.scoring import score_parts
    from cellassets.tables.parquet import write_tables
    from cellassets.tables.schemas import INFLUENCES, PUBLISHED, SCORES

    scored = score_parts(plan.settings["benchmark"], _parts(context, plan), plan.settings["parameters"])
    tables = {
        "scores.parquet": (scored.scores, SCORES),
        "influences.parquet": (scored.influences, INFLUENCES),
        "published.parquet": (scored.published, PUBLISHED),
    }
    with context.lake.draft(plan) as draft:
        return draft.publish(write_tables(tables, draft.folder), _summary(plan, scored.summaries))


def _summary(plan: Plan, summaries: "Sequence[ScoreSummary]") -> BenchmarkSummary:
    parts = tuple(
        ScoredPart(
            part_id=part.part_id,
            exposure=part.exposure,
            n_experiments=len(part.experiments),
            protocol_fingerprint=plan.inputs["parts"][part.part_id]["protocol_fingerprint"],
            does_not_apply=found.does_not_apply,
            is_too_small=found.is_too_small,
        )
        for part, found in zip(plan.settings["parts"], summaries, strict=True)
    )
    return BenchmarkSummary(parts=parts, rows_version=ROWS_VERSION, **summaries[0].model_dump(exclude_unset=True))


def _parts(context: Context, plan: Plan) -> "list[tuple[JudgedMap, ScoreLabels]]":
    """Returns the input of the benchmark for every part, with the columns that its rows share."""
    from cellassets.benchmarks.judged import restricted, restricted_map
    from cellassets.benchmarks.scoring import ScoreLabels

    judged, others, beside = *_judged(context, plan), plan.settings["beside"]
    found = []
    for part in plan.settings["parts"]:
        maps = {
            name: restricted_map(other, beside[part.part_id][name]) if name in beside[part.part_id] else other.map_table
            for name, other in others.items()
        }
        labels = ScoreLabels(
            dataset_id=plan.keys[0],
            dataset_fingerprint=plan.inputs["dataset_fingerprint"],
            protocol_fingerprint=plan.inputs["parts"][part.part_id]["protocol_fingerprint"],
            model_key=plan.keys[1],
            part=part,
            seen_perturbations=plan.settings["perturbations"],
        )
        found.append((restricted(judged, part.experiments, other_maps=maps), labels))
    return found


def _judged(context: Context, plan: Plan) -> "tuple[JudgedMap, dict[str, JudgedMap]]":
    """Returns the pinned map with the annotations that the plan names, and the model's other maps."""
    own, *others = plan.pinned("perturbation_map")
    annotations = planned_annotations(context, plan, plan.settings["benchmark"].uses)
    return open_map(context, own, annotations), {pin.keys[0]: open_map(context, pin) for pin in others}


def _other_maps(snapshot: Snapshot, own: Publication) -> list[Publication]:
    """Returns the model's maps of other cell types whose datasets come later by name.

    A map that shares a cell type would be compared with itself. Two maps are compared once, not once for each: their
    agreement is one fact.
    """
    (dataset_id, model_key), own_types = own.keys, _facts(snapshot, own).cell_types
    later = [name for name in snapshot.keys("perturbation_map") if name > dataset_id]
    found = [snapshot.find("perturbation_map", name, model_key) for name in later]
    return [pin for pin in found if pin is not None and not own_types & _facts(snapshot, pin).cell_types]


@dataclass(frozen=True)
class _MapFacts:
    """The part of a map's summary that plans need. It is read once per map, not once per benchmark."""

    dataset_fingerprint: str
    protocol_fingerprint: str
    cell_types: frozenset[str]
    experiments: tuple[str, ...]


def _facts(snapshot: Snapshot, map_: Publication) -> _MapFacts:
    return snapshot.value(_read_facts, *map_.keys)


def _read_facts(snapshot: Snapshot, dataset_id: str, model_key: str) -> _MapFacts:
    summary = snapshot.need("perturbation_map", dataset_id, model_key).summary(PerturbationMapSummary)
    return _MapFacts(
        summary.dataset_fingerprint, summary.protocol_fingerprint, frozenset(summary.cell_types), summary.experiments
    )


def _annotations(snapshot: Snapshot, uses: tuple[str, ...], sources: tuple[str, ...] | None) -> dict[str, list[int]]:
    return fingerprints_of(snapshot.annotations(), uses, sources)


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
        settings=(f"benchmarks/{name}.yaml",),
    )
