"""The stage `model_report`: one page about a model, for people who decide, in one file that needs no network."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from cellassets.benchmarks.parts import WHOLE
from cellassets.configuration import Parameters
from cellassets.errors import RegistryError, StaleArtifact
from cellassets.hits.summary import ActivePerturbationsSummary
from cellassets.mapping.summary import PerturbationMapSummary
from cellassets.registry.entry import SCORE_TAG
from cellassets.registry.lineage import TAG
from cellassets.stages.benchmark import BenchmarkSummary, ScoredPart, benchmark_stages, is_readable, name_of
from cellassets.stages.datasets import asked_gate_policy, dataset_names
from cellassets.stages.map_clusters import read_clusters
from cellassets.stages.models import seen_of
from cellassets.stages.snapshot import NotReady, Snapshot
from cellassets.stages.stage import Context, Keys, Stage, settings_of
from cellassets.stages.stores import open_store
from cellassets.storage.artifact import Record, write_files
from cellassets.storage.plan import Plan, Publication

if TYPE_CHECKING:
    import polars as pl

    from cellassets.registry import ModelEntry
    from cellassets.reporting.contents import DatasetPage
    from cellassets.reporting.examples import Example, SiteImage
    from cellassets.reporting.hits_section import HitsPage

CODE_VERSION = "6"
N_EXAMPLES = 4
STRONGEST_BY = "perturbation_magnitude"
SITE = ["plate_id", "well_id", "site_index"]
logger = logging.getLogger(__name__)


class ModelReportSummary(Parameters):
    """Summary of a report.

    Attributes:
        n_datasets: datasets that the model has a map of.
        n_bytes: size of the page in bytes.
        scores: the headline score of each benchmark, with interval and p-value, as text by `dataset/benchmark`.
    """

    n_datasets: int
    n_bytes: int
    scores: dict[str, str] = Field(default_factory=dict)


def plan(snapshot: Snapshot, keys: Keys) -> Plan:
    """Returns the plan of the report from the present inputs.

    Raises:
        NotReady: there is no leaderboard yet, or no map by this model.
        RegistryError: there is no such model.
    """
    model_key = keys["model"]
    leaderboard, entry, policy = snapshot.need("leaderboard"), snapshot.model(model_key), asked_gate_policy(snapshot)
    # the maps of a dataset that was removed stay published; a report that waited for them would wait forever
    datasets = set(dataset_names(snapshot))
    found = [snapshot.find("perturbation_map", name, model_key) for name in snapshot.keys("perturbation_map")]
    maps = [pin for pin in found if pin is not None and pin.keys[0] in datasets]
    if not maps:
        message = f"waits for the first map: no dataset has one by {model_key}"
        raise NotReady(message, [])
    clusters = [pin for pin in (snapshot.find("map_clusters", *own.keys) for own in maps) if pin is not None]
    scores = [score for score in _scores_of(snapshot, model_key) if score.keys[0] in datasets]
    called = [snapshot.find("active_perturbations", *pin.keys) for pin in maps]
    hits = [pin for pin in called if pin is not None]
    experiments = sorted({name for pin in maps for name in pin.summary(PerturbationMapSummary).experiments})
    images = [
        pin
        for kind in ("plate_store", "plate_quality")
        for pin in snapshot.need_all(kind, [(name,) for name in experiments])
    ]
    inputs = {
        "leaderboard": leaderboard.fingerprint,
        "model": entry.model_dump(mode="json", include={"key", "fingerprint", "aliases"}),
        "maps": {pin.keys[0]: pin.fingerprint for pin in maps},
        "clusters": {pin.keys[0]: pin.fingerprint for pin in clusters},
        "scores": {f"{name_of(pin.kind)}/{pin.keys[0]}": pin.fingerprint for pin in scores},
        "hits": {pin.keys[0]: pin.fingerprint for pin in hits},
        "images": {f"{pin.kind}/{pin.keys[0]}": pin.fingerprint for pin in images},
        "known_pairs": snapshot.value(_known_pairs_fingerprints),
        "annotation_terms": snapshot.value(_annotation_terms),
        "policy": settings_of(policy),
        "code_version": CODE_VERSION,
    }
    seen = seen_of(snapshot, model_key)
    inputs["seen"] = seen.lines()
    settings = {"model": entry, "policy": policy}
    pins = [leaderboard, *maps, *clusters, *scores, *hits, *images]
    return snapshot.plan("model_report", (model_key,), inputs, pins=pins, settings=settings)


def _scores_of(snapshot: Snapshot, model_key: str) -> list[Publication]:
    """Returns the model's published scores, in the order of `published_scores`."""
    found = [
        snapshot.find(stage.name, dataset_id, model_key)
        for stage in benchmark_stages()
        for dataset_id in snapshot.keys(stage.name)
    ]
    return [score for score in found if score is not None]


def _known_pairs_fingerprints(snapshot: Snapshot) -> dict[str, list[int]]:
    from cellassets.knowledge.annotations import annotation_fingerprints

    return annotation_fingerprints(snapshot.annotations(), ("pairs",))


def _annotation_terms(snapshot: Snapshot) -> dict[str, str]:
    """Returns version, licence and checksum of every annotation source, as the page shows them."""
    from cellassets.knowledge.installed_sources import described_sources

    return described_sources(snapshot.annotations())


def make(context: Context, plan: Plan) -> Record:
    """Returns the record of the report.

    Raises:
        StaleArtifact: an annotation source changed since the plan was made.
    """
    from cellassets.judging.leaderboard import headline_scores, shown_parts
    from cellassets.reporting.contents import ModelFacts, ReportPage
    from cellassets.reporting.page import render
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import DIFFERENCES, LEADERBOARD, RECALL_BY_SOURCE

    board, entry = context.lake.open(plan.pin("leaderboard")), plan.settings["model"]
    known_pairs = _known_pairs(context, plan)
    rows = read_table(board.file("leaderboard.parquet"), LEADERBOARD)
    shown = shown_parts(rows, entry.key)
    page = ReportPage(
        model=ModelFacts(entry.key, entry.kind, tuple(entry.aliases)),
        policy=plan.settings["policy"],
        leaderboard=rows,
        differences=read_table(board.file("differences.parquet"), DIFFERENCES),
        datasets=tuple(
            _dataset_page(context, plan, pin, known_pairs, shown.get(pin.keys[0], WHOLE))
            for pin in plan.pinned("perturbation_map")
        ),
        provenance=tuple(_provenance(context, plan, entry)),
        strongest_by=STRONGEST_BY,
        recall_by_source=read_table(board.file("recall_by_source.parquet"), RECALL_BY_SOURCE),
    )
    text = render(page).encode()
    with context.lake.draft(plan) as draft:
        files = write_files(draft.folder, {"report.html": text})
        headlines = headline_scores(rows, entry.key, shown)
        summary = ModelReportSummary(n_datasets=len(plan.inputs["maps"]), n_bytes=len(text), scores=headlines)
        return draft.publish(files, summary)


def settle(context: Context, record: Record) -> None:
    """Writes the scores of the report to the model version in MLflow. A registry that refuses them gets them later."""
    summary = ModelReportSummary.model_validate(record.summary)
    try:
        context.registry.note_scores(record.keys[0], summary.scores)
    except RegistryError as error:
        logger.warning("the scores of %s are not in MLflow yet: %s", record.keys[0], error)


def _known_pairs(context: Context, plan: Plan) -> "dict[str, pl.DataFrame]":
    from cellassets.knowledge.annotations import annotation_fingerprints, read_annotations

    folder = context.lake.annotations
    pairs = read_annotations(folder, ("pairs",)).pairs
    if annotation_fingerprints(folder, ("pairs",)) != plan.inputs["known_pairs"]:
        message = f"{folder}: annotations changed since the plan of {plan} was made; materialise it again"
        raise StaleArtifact(message)
    return pairs


def _dataset_page(
    context: Context, plan: Plan, pinned: Publication, known_pairs: "Mapping[str, pl.DataFrame]", part_id: str
) -> "DatasetPage":
    """Returns what the page shows of one dataset; the scores are those of one part."""
    import polars as pl

    from cellassets.reporting.contents import DatasetPage
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import BATCH_EFFECT, PERTURBATION_MAP, PUBLISHED, SCORES, WELL_EMBEDDINGS

    map_ = context.lake.open(pinned)
    wells = read_table(map_.file("wells.parquet"), WELL_EMBEDDINGS)
    scored = [pin for pin in plan.pins if pin.kind.startswith("benchmark/") and pin.keys == pinned.keys]
    own = {name_of(pin.kind): pin for pin in scored if is_readable(pin)}
    parts = {name: _part_of(pin, part_id) for name, pin in own.items()}
    opened = {name: context.lake.open(own[name]) for name, part in parts.items() if part is not None}
    scores = {
        name: read_table(found.file("scores.parquet"), SCORES).filter(pl.col("part_id") == part_id)
        for name, found in opened.items()
    }
    published = {
        name: read_table(found.file("published.parquet"), PUBLISHED).filter(
            pl.col("protocol_fingerprint") == parts[name].protocol_fingerprint  # type: ignore[union-attr]
        )
        for name, found in opened.items()
    }
    return DatasetPage(
        dataset_id=pinned.keys[0],
        map_table=read_table(map_.file("map.parquet"), PERTURBATION_MAP),
        wells=wells,
        batch_effect=read_table(map_.file("batch_effect.parquet"), BATCH_EFFECT),
        scores=scores,
        published=published,
        does_not_apply={name: part.does_not_apply for name, part in parts.items() if part and part.does_not_apply},
        known_pairs=known_pairs,
        hits=_hits(context, plan, pinned.keys),
        examples=_examples(context, plan, wells, scores, map_.record.inputs["parameters"]["aggregate_by"]),
        clusters=read_clusters(context.lake, [pin for pin in plan.pinned("map_clusters") if pin.keys == pinned.keys]),
    )


def _part_of(score: Publication, part_id: str) -> ScoredPart | None:
    """Returns a part of a score; None where the score does not have it, as scores of earlier versions."""
    return next((part for part in score.summary(BenchmarkSummary).parts if part.part_id == part_id), None)


def _hits(context: Context, plan: Plan, keys: tuple[str, ...]) -> "HitsPage | None":
    """Returns the active perturbations of a map; None where they have not been called."""
    from cellassets.reporting.hits_section import HitsPage
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import ACTIVE_SCORES, HITS, LOWEST_ACTIVE_DOSES

    for pin in plan.pinned("active_perturbations"):
        if pin.keys == keys:
            found = context.lake.open(pin)
            return HitsPage(
                hits=read_table(found.file("hits.parquet"), HITS),
                lowest_active_doses=read_table(found.file("lowest_active_doses.parquet"), LOWEST_ACTIVE_DOSES),
                active_scores=read_table(found.file("active_scores.parquet"), ACTIVE_SCORES),
                summary=pin.summary(ActivePerturbationsSummary),
            )
    return None


def _examples(
    context: Context, plan: Plan, wells: "pl.DataFrame", scores: "Mapping[str, pl.DataFrame]", aggregate_by: Any
) -> "tuple[Example, ...]":
    """Returns images of the strongest perturbations."""
    from cellassets.benchmarks.registry import find_benchmark
    from cellassets.mapping.aggregate import unit_labels
    from cellassets.reporting.examples import find_examples, unit_scores

    if STRONGEST_BY not in scores:
        return ()
    strongest = unit_scores(scores[STRONGEST_BY], find_benchmark(STRONGEST_BY)).head(N_EXAMPLES)
    units = unit_labels(wells, aggregate_by)
    return find_examples(wells, strongest, units, read_sites=lambda chosen: _read_sites(context, plan, chosen))


def _read_sites(context: Context, plan: Plan, wells: Sequence[Mapping[str, Any]]) -> "list[SiteImage]":
    """Returns one image per well of one experiment: the first site that is not flagged, or the first site of all."""
    import numpy as np
    import polars as pl

    from cellassets.reporting.examples import SiteImage
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import QUALITY

    experiment_id = wells[0]["experiment_id"]
    store = open_store(context.lake, plan.pin("plate_store", experiment_id))
    published = context.lake.open(plan.pin("plate_quality", experiment_id))
    quality = read_table(published.file("quality.parquet"), QUALITY)
    sites = store.sites.with_row_index("index").join(quality.select(*SITE, "is_flagged"), on=SITE, how="left")
    found = [
        sites.filter(pl.col("plate_id") == well["plate_id"], pl.col("well_id") == well["well_id"])
        .sort("is_flagged", "index")
        .row(0, named=True)
        for well in wells
    ]
    images = store.read(np.array([site["index"] for site in found]))
    return [
        SiteImage(pixels, f"{experiment_id} {site['plate_id']} {site['well_id']} site {site['site_index']}")
        for pixels, site in zip(images, found, strict=True)
    ]


def _provenance(context: Context, plan: Plan, entry: "ModelEntry") -> list[tuple[str, str]]:

    def is_hidden(name: str) -> bool:
        return name in ("fingerprint", TAG) or name.startswith(SCORE_TAG)

    rows = [
        *plan.inputs["seen"].items(),
        ("model fingerprint", entry.fingerprint),
        ("MLflow run", entry.run_id or "none"),
        *((name.replace("_", " "), value) for name, value in sorted(entry.tags.items()) if not is_hidden(name)),
    ]
    for pin in plan.pinned("perturbation_map"):
        dataset_id, record = pin.keys[0], context.lake.open(pin).record
        parameters = record.inputs["parameters"]
        steps = " → ".join(step["kind"] for step in parameters["steps"])
        made = f"{pin.fingerprint}, {steps}, {parameters['aggregation']} by {parameters['aggregate_by']}"
        rows += [
            (f"{dataset_id}: wells", record.inputs["dataset_fingerprint"]),
            (f"{dataset_id}: map", made),
            (f"{dataset_id}: experiments", ", ".join(sorted(record.inputs["site_embeddings"]))),
        ]
    terms = [(f"annotations: {name}", text) for name, text in sorted(plan.inputs["annotation_terms"].items())]
    return [*rows, *terms, ("leaderboard", plan.inputs["leaderboard"])]


MODEL_REPORT = Stage(
    name="model_report",
    axes=("model",),
    summary=ModelReportSummary,
    plan=plan,
    make=make,
    settle=settle,
    settings=("gate.yaml",),
)
