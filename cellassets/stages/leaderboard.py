"""The stage `leaderboard`: all models side by side, ranked if they were judged on equal wells.

Reads all published scores; publishes `leaderboard.parquet`, `differences.parquet` and `recall_by_source.parquet`. A
score is stale if its partition is not current (`cellassets.stages.state`): it is shown, but not compared.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.configuration import Parameters
from cellassets.stages.benchmark import BenchmarkSummary, is_readable, kind_of, name_of
from cellassets.stages.datasets import declared_datasets
from cellassets.stages.snapshot import NotReady, Snapshot
from cellassets.stages.stage import Context, Keys, Stage
from cellassets.stages.state import is_current
from cellassets.storage.artifact import Record
from cellassets.storage.lake import Lake
from cellassets.storage.plan import Plan, Publication

if TYPE_CHECKING:
    import polars as pl

CODE_VERSION = "6"


class LeaderboardSummary(Parameters):
    """Summary of a leaderboard.

    Attributes:
        n_models: models with a score.
        n_datasets: datasets with a score.
        n_stale: scores whose inputs have changed.
        n_comparisons: pairs of models that were compared.
        n_differences: pairs with a q-value of at most 0.05.
    """

    n_models: int
    n_datasets: int
    n_stale: int
    n_comparisons: int
    n_differences: int


def published_scores(snapshot: Snapshot, *, dataset_id: str | None = None) -> list[Publication]:
    """Returns the published scores of all registered benchmarks, for one dataset or all, in order of their names."""
    found: list[Publication] = []
    for name in sorted(BENCHMARKS):
        for dataset in snapshot.keys(kind_of(name)):
            if dataset_id in (None, dataset):
                keys = [(dataset, model) for model in snapshot.keys(kind_of(name), dataset)]
                found += snapshot.need_all(kind_of(name), keys)
    return found


def label_of(score: Publication) -> str:
    """Returns the name of a score: benchmark/dataset/model."""
    return "/".join((name_of(score.kind), *score.keys))


def plan(snapshot: Snapshot, _keys: Keys) -> Plan:
    """Returns the plan of the leaderboard from the present scores.

    Raises:
        NotReady: nothing is scored yet.
    """
    scores = published_scores(snapshot)
    if not scores:
        message = "waits for the first scores: no benchmark has been published yet"
        raise NotReady(message, [])
    inputs = {
        "scores": {label_of(score): score.fingerprint for score in scores},
        "is_current": {label_of(score): is_current(snapshot, score.kind, *score.keys) for score in scores},
        "active_datasets": list(declared_datasets(snapshot)),
        "code_version": CODE_VERSION,
    }
    return snapshot.plan("leaderboard", (), inputs, pins=scores)


def make(context: Context, plan: Plan) -> Record:
    """Returns the record of the leaderboard.

    Raises:
        SchemaError: the file of a score is not a SCORES table.
    """
    import polars as pl

    from cellassets.judging.comparison import compare_models
    from cellassets.judging.leaderboard import IS_UNSEEN, rank_models
    from cellassets.judging.recall_by_source import recall_by_source
    from cellassets.statistics.significance import SIGNIFICANCE_LEVEL
    from cellassets.tables.parquet import write_tables
    from cellassets.tables.schemas import DIFFERENCES, LEADERBOARD, RECALL_BY_SOURCE

    current = {label for label, value in plan.inputs["is_current"].items() if value}
    newest = {
        f"{label_of(pin)}/{part.part_id}": part.protocol_fingerprint if label_of(pin) in current else None
        for pin in plan.pins
        for part in pin.summary(BenchmarkSummary).parts
    }
    rows = rank_models(read_scores(context.lake, plan.pins), newest)
    fresh = [pin for pin in plan.pins if label_of(pin) in current]
    headlines = [name for name, benchmark in BENCHMARKS.items() if benchmark.is_headline]
    family = {(name, dataset) for name in headlines for dataset in plan.inputs["active_datasets"]}
    fresh_scores = read_scores(context.lake, fresh)
    differences = compare_models(fresh_scores, read_influences(context.lake, fresh), family)
    parts = rows.filter("is_main_part").select("dataset_id", "part_id").unique()
    main = fresh_scores.filter(IS_UNSEEN).join(parts, on=["dataset_id", "part_id"], how="semi")
    summary = LeaderboardSummary(
        n_models=rows["model_key"].n_unique(),
        n_datasets=rows["dataset_id"].n_unique(),
        n_stale=int(rows["is_stale"].sum()),
        n_comparisons=differences.height,
        n_differences=differences.filter(pl.col("q_value") <= SIGNIFICANCE_LEVEL).height,
    )
    tables = {
        "leaderboard.parquet": (rows, LEADERBOARD),
        "differences.parquet": (differences, DIFFERENCES),
        "recall_by_source.parquet": (recall_by_source(main), RECALL_BY_SOURCE),
    }
    with context.lake.draft(plan) as draft:
        return draft.publish(write_tables(tables, draft.folder), summary)


def read_scores(lake: Lake, scores: Sequence[Publication]) -> "pl.DataFrame":
    """Returns the SCORES rows of some publications; none of those in the form of an earlier version."""
    import polars as pl

    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import SCORES

    paths = (lake.open(pin).file("scores.parquet") for pin in scores if is_readable(pin))
    return pl.concat([SCORES.empty(), *(read_table(path, SCORES) for path in paths)])


def read_influences(lake: Lake, scores: Sequence[Publication]) -> "pl.DataFrame":
    """Returns the INFLUENCES rows of some publications."""
    import polars as pl

    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import INFLUENCES

    tables = (read_table(lake.open(pin).file("influences.parquet"), INFLUENCES) for pin in scores)
    return pl.concat([INFLUENCES.empty(), *tables])


LEADERBOARD = Stage(
    name="leaderboard",
    axes=(),
    summary=LeaderboardSummary,
    plan=plan,
    make=make,
    waits_for_inputs=False,
)
