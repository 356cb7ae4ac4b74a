"""Maps, scores, leaderboard and reports that are missing or made from other inputs."""

from dataclasses import dataclass, field
from typing import Any

from upath import UPath

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.run import find_benchmark, plan_scores, score_protocol
from cellassets.encoders.plan import plan_embeddings
from cellassets.errors import CellAssetsError
from cellassets.fingerprint import fingerprint
from cellassets.judging.leaderboard import Protocols, plan_leaderboard
from cellassets.mapping.build import map_protocol, plan_map
from cellassets.mapping.dataset import Dataset, dataset_experiments
from cellassets.reconcile.experiments import is_stored
from cellassets.reconcile.policy import load_benchmark_parameters, load_map_parameters
from cellassets.reconcile.work import Waiting, Work, is_missing, run_key
from cellassets.registry import ModelEntry, Registry
from cellassets.reporting.report import plan_report
from cellassets.storage.artifact import Artifact
from cellassets.storage.lake import Lake


@dataclass(frozen=True)
class ScoreState:
    """What is to be mapped and scored, and what cannot be asked for yet; `unscored`: the pairs with either."""

    work: list[Work]
    waiting: list[Waiting]
    unscored: set[tuple[str, str]] = field(default_factory=set)


def stale_scores(lake: Lake, *, models: list[ModelEntry], datasets: list[Dataset], configs: UPath) -> ScoreState:
    """Returns the (dataset, model) pairs to map and score, each with exactly the assets that are out of date.

    A pair counts only when every experiment of the dataset is stored and embedded as it is now, so that a backfill
    or a landing under way does not score half a dataset. Settings or annotations that cannot be read hold up the
    benchmarks that read them, and nothing else.
    """
    state = ScoreState([], [])
    for dataset in datasets:
        for entry in models:
            try:
                is_ready = _is_embedded(lake, dataset, entry)
                steps, waiting = _stale_steps(lake, dataset, entry.key, configs) if is_ready else ([], [])
            except CellAssetsError as error:
                steps, waiting = [], [Waiting(f"map of {dataset.dataset_id} by {entry.key}", str(error))]
            state.waiting.extend(waiting)
            if steps or waiting:
                state.unscored.add((dataset.dataset_id, entry.key))
            if steps:
                keys = {"dataset": dataset.dataset_id, "model": entry.key}
                key = run_key(*((artifact, fingerprint) for _, artifact, fingerprint in steps))
                state.work.append(Work(keys, tuple(asset for asset, _, _ in steps), key))
    return state


def _is_embedded(lake: Lake, dataset: Dataset, entry: ModelEntry) -> bool:
    experiments = dataset_experiments(lake, dataset)
    return bool(experiments) and all(
        is_stored(lake, name)
        and not is_missing(lake.site_embeddings(name, entry.key), plan_embeddings(lake, name, entry))
        for name in experiments
    )


def _stale_steps(
    lake: Lake, dataset: Dataset, model_key: str, configs: UPath
) -> tuple[list[tuple[str, Artifact, str]], list[Waiting]]:
    """The assets of a pair that are out of date, each with its artefact and fingerprint; and what cannot be planned."""
    parameters = load_map_parameters(configs)
    plan = plan_map(lake, dataset, model_key=model_key, parameters=parameters)
    artifact = lake.perturbation_map(dataset.dataset_id, model_key)
    is_map_stale = is_missing(artifact, plan)
    steps = [("perturbation_map", artifact, plan.fingerprint)] if is_map_stale else []
    waiting = []
    for name in sorted(BENCHMARKS):
        scores = lake.scores(name, dataset.dataset_id, model_key)
        try:
            settings = load_benchmark_parameters(configs, name)
            wanted = None
            if not is_map_stale:
                wanted = plan_scores(lake, name, dataset, model_key=model_key, parameters=settings)
        except CellAssetsError as error:
            waiting.append(Waiting(f"{name} on {dataset.dataset_id} by {model_key}", str(error)))
            continue
        if wanted is None or is_missing(scores, wanted):
            # under a stale map a benchmark's own fingerprint is not known yet: the map's stands for it
            steps.append((f"benchmark/{name}", scores, plan.fingerprint if wanted is None else wanted.fingerprint))
    return steps, waiting


def unscored_maps(lake: Lake, benchmark_name: str, *, datasets: list[Dataset], configs: UPath) -> ScoreState:
    """Returns every published map, of any model, that a benchmark has not scored as it would now.

    A map that is itself out of date is scored as it lies: its scores stay stale until `perturbation_map` makes it anew.
    Maps that cannot be scored, since settings or annotations cannot be read, are in `waiting`.

    Raises:
        BenchmarkError: there is no such benchmark.
    """
    find_benchmark(benchmark_name)
    state = ScoreState([], [])
    for dataset in datasets:
        for model_key in lake.keys("perturbation_map", dataset.dataset_id):
            if lake.perturbation_map(dataset.dataset_id, model_key).find_record() is None:
                continue
            try:
                parameters = load_benchmark_parameters(configs, benchmark_name)
                plan = plan_scores(lake, benchmark_name, dataset, model_key=model_key, parameters=parameters)
            except CellAssetsError as error:
                state.waiting.append(Waiting(f"{benchmark_name} on {dataset.dataset_id} by {model_key}", str(error)))
                continue
            artifact = lake.scores(benchmark_name, dataset.dataset_id, model_key)
            if is_missing(artifact, plan):
                keys = {"dataset": dataset.dataset_id, "model": model_key}
                state.work.append(Work(keys, (f"benchmark/{benchmark_name}",), run_key((artifact, plan.fingerprint))))
    return state


def wanted_protocols(lake: Lake, datasets: list[Dataset], configs: UPath) -> Protocols:
    """Returns how a benchmark, dataset and model would be scored now: a protocol's fingerprint by these three names.

    None where that cannot be: the dataset is gone, or the quality of one of its experiments, or settings or annotations
    cannot be read.
    """
    maps: dict[str, dict[str, Any] | None] = {}
    by_id = {dataset.dataset_id: dataset for dataset in datasets}

    def made_by(dataset: Dataset) -> dict[str, Any] | None:
        if dataset.dataset_id not in maps:
            try:
                maps[dataset.dataset_id] = map_protocol(lake, dataset, load_map_parameters(configs))
            except CellAssetsError:
                maps[dataset.dataset_id] = None
        return maps[dataset.dataset_id]

    def protocol(benchmark_name: str, dataset_id: str, model_key: str) -> str | None:
        dataset = by_id.get(dataset_id)
        made = None if dataset is None else made_by(dataset)
        if dataset is None or made is None:
            return None
        try:
            parameters = load_benchmark_parameters(configs, benchmark_name)
            judged_by = score_protocol(
                lake, benchmark_name, dataset, model_key=model_key, parameters=parameters, map_protocol=made
            )
        except CellAssetsError:
            return None
        return fingerprint(judged_by)

    return protocol


def stale_leaderboard(lake: Lake, datasets: list[Dataset], configs: UPath) -> list[Work]:
    """Returns the leaderboard where scores were published that it does not show, or went stale."""
    plan = plan_leaderboard(lake, wanted_protocols(lake, datasets, configs))
    artifact = lake.leaderboard()
    if not plan.inputs["scores"] or not is_missing(artifact, plan):
        return []
    return [Work({}, ("leaderboard",), run_key((artifact, plan.fingerprint)))]


def stale_reports(lake: Lake, registry: Registry, models: list[ModelEntry]) -> list[Work]:
    """Returns the models whose page does not show the leaderboard as it is now."""
    if lake.leaderboard().find_record() is None:
        return []
    work = []
    for entry in models:
        plan = plan_report(lake, registry, entry.key)
        artifact = lake.model_report(entry.key)
        if is_missing(artifact, plan):
            work.append(Work({"model": entry.key}, ("model_report",), run_key((artifact, plan.fingerprint))))
    return work
