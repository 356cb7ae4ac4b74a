"""`make study`: what networks learn that classical features do not measure, on a simulated screen.

    .venv/bin/python scripts/learning_study.py                  # hours on two cores; goes on where it was stopped
    .venv/bin/python scripts/learning_study.py --minutes 30     # begins nothing after 30 minutes

Everything goes through the platform's own stages, so the study goes on after an interruption like any other work. Its
settings are in configs/studies/learning. At the end it prints what every model gains over the classical features, on
held-out experiments and on a cell type that no network has seen, with paired 95% intervals. It writes the same to
bench/results/learning.json and into docs/learning.md.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import polars as pl
from upath import UPath

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.configuration import load_yaml
from cellassets.judging.comparison import compare_models
from cellassets.reconcile.live import LiveSnapshot
from cellassets.reconcile.standing import plate_agenda, recipe_agenda
from cellassets.reconcile.work import Agenda, Work, embedding_agenda, map_agenda, map_chain
from cellassets.stages.benchmark import name_of
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import open_snapshot, stage_named, stages
from cellassets.stages.leaderboard import published_scores, read_influences, read_scores
from cellassets.storage.deployment import Deployment, Home
from cellassets.storage.lake import Published
from cellassets.synthetic.design import ScreenDesign
from cellassets.synthetic.screen import write_screen
from cellassets.synthetic.truth import write_truth_and_annotation
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import DIFFERENCES, LEADERBOARD

REPOSITORY = Path(__file__).parents[1]
CONFIGS = REPOSITORY / "configs" / "studies" / "learning"
RESULT = REPOSITORY / "bench" / "results" / "learning.json"
PAGE = REPOSITORY / "docs" / "learning.md"
BEGIN, END = "<!-- written by scripts/learning_study.py -->", "<!-- end -->"
BASELINES = ("classical.v1", "cross_entropy.v1")  # what a network gains; which choices mattered
MEASURED = (
    "known_relationships",
    "perturbation_consistency",
    "phenotypic_activity",
    "held_out_batch_classification",
)
CONSISTENCY = "perturbation_consistency"
PLANTED = "consistency_of_planted_effects"  # the same of perturbations with a planted effect alone
COLUMNS = (*MEASURED[:2], PLANTED, *MEASURED[2:])
ASSETS = {"perturbation_map", *(f"benchmark/{name}" for name in MEASURED)}
# in this order: what one model needs is finished before the next one is trained
AGENDAS: tuple[Callable[[LiveSnapshot], Agenda], ...] = (plate_agenda, map_agenda, embedding_agenda, recipe_agenda)


def land(deployment: Deployment, home: Home) -> None:
    """Writes the screen into the landing zone, and the planted relationships as annotations."""
    design = load_yaml(UPath(CONFIGS / "design.yaml"), ScreenDesign)
    write_screen(design, home.landing, progress=_say)
    write_truth_and_annotation(design, home.root / "truth", deployment.lake.annotations)


def _say(n_done: int, n_total: int, what: str, note: str = "") -> None:
    if n_done % 500 == 0 or n_done == n_total:
        print(f"  {n_done} of {n_total} {what} {note}".rstrip(), flush=True)


def next_work(snapshot: LiveSnapshot) -> Work | None:
    """Returns what to do next; None if everything is done."""
    snapshot.refresh()
    snapshot.refresh_landing(snapshot.landing.first_seen, datetime.now(UTC), timedelta(minutes=10))
    return next((work for agenda in AGENDAS for work in _measured(agenda(snapshot).work)), None)


def _measured(works: list[Work]) -> Iterator[Work]:
    """Yields the work without the benchmarks and pictures that the study does not report."""
    for work in works:
        assets = tuple(name for name in work.assets if name in ASSETS or name not in map_chain())
        if assets:
            yield Work(assets, work.keys, work.run_key)


def carry_out_work(deployment: Deployment, snapshot: LiveSnapshot, *, until: float) -> bool:
    """Carries out what is not done yet; returns False if the time is over before everything is done."""
    while (work := next_work(snapshot)) is not None:
        if time.monotonic() > until:
            return False
        started = time.monotonic()
        for name in work.assets:
            carry_out(stage_named(name), deployment, work.keys)
        print(f"{time.monotonic() - started:6.0f} s  {' '.join(work.keys.values())}  {work.assets[0]}", flush=True)
    return True


def scores(leaderboard: Published) -> list[dict[str, Any]]:
    """Returns the headline scores of all models: model, dataset, benchmark and value."""
    is_headline = pl.any_horizontal(
        (pl.col("benchmark_name") == name) & (pl.col("metric") == BENCHMARKS[name].headline_metric) for name in MEASURED
    )
    table = read_table(leaderboard.path("leaderboard.parquet"), LEADERBOARD)
    found = (
        table.filter(is_headline, pl.col("part_id") == "all")
        .sort("dataset_id", "model_key")
        .select(
            pl.col("model_key").alias("model"),
            pl.col("dataset_id").alias("dataset"),
            pl.col("benchmark_name").alias("benchmark"),
            pl.col("value").round(4),
        )
    )
    return found.to_dicts()


def differences(leaderboard: Published, deployment: Deployment, home: Home) -> pl.DataFrame:
    """Returns the DIFFERENCES of the leaderboard, and those of `PLANTED`."""
    table = read_table(leaderboard.path("differences.parquet"), DIFFERENCES).filter(
        pl.col("benchmark_name").is_in(MEASURED), pl.col("part_id") == "all"
    )
    return pl.concat([table, planted_differences(deployment, home)])


def planted_differences(deployment: Deployment, home: Home) -> pl.DataFrame:
    """Returns the differences in consistency over the perturbations that do something.

    One without an effect has nothing to be consistent in: its percentile is a random number between 0 and 1.
    """
    truth = pl.read_csv(home.root / "truth" / "perturbations.csv").filter(pl.col("strength") > 0)
    names = truth.select(pl.coalesce("gene_symbol", "perturbation_id")).to_series().to_list()
    snapshot = open_snapshot(deployment)
    published = [score for score in published_scores(snapshot) if name_of(score.kind) == CONSISTENCY]
    rows = read_scores(deployment.lake, published).filter(pl.col("perturbation_id").is_in(names))
    found = compare_models(rows, read_influences(deployment.lake, published)).filter(pl.col("part_id") == "all")
    return found.with_columns(benchmark_name=pl.lit(PLANTED))


def gains(table: pl.DataFrame, baseline: str) -> list[dict[str, Any]]:
    """Returns what each model gains over another one on wells that no network has seen.

    Args:
        table: DIFFERENCES of all models.
        baseline: key of the other model.
    """
    rows = []
    for row in table.iter_rows(named=True):
        if baseline not in (row["model_key_a"], row["model_key_b"]):
            continue
        is_first = row["model_key_b"] == baseline
        low, high = row["interval_low"], row["interval_high"]
        rows.append(
            {
                "model": row["model_key_a" if is_first else "model_key_b"],
                "baseline": baseline,
                "dataset": row["dataset_id"],
                "benchmark": row["benchmark_name"],
                "gain": round(row["difference"] if is_first else -row["difference"], 4),
                "interval": [round(low, 4), round(high, 4)] if is_first else [round(-high, 4), round(-low, 4)],
                "p_value": row["p_value"],
                "n": row["n_pairs"],
            }
        )
    return sorted(rows, key=lambda row: (row["dataset"], row["benchmark"], row["model"]))


def tables_of(found: dict[str, list[dict[str, Any]]]) -> str:
    """Returns the scores and the gains as Markdown tables: models as rows, benchmarks as columns."""
    parts = []
    for dataset_id in dict.fromkeys(row["dataset"] for row in found["scores"]):
        own = [row for row in found["scores"] if row["dataset"] == dataset_id]
        parts.append(f"**{dataset_id}**, scores\n")
        parts += _table(own, MEASURED, lambda row: f"{row['value']:.3f}")
    rows = found["gains"]
    for baseline, dataset_id in dict.fromkeys((row["baseline"], row["dataset"]) for row in rows):
        own = [row for row in rows if (row["baseline"], row["dataset"]) == (baseline, dataset_id)]
        parts.append(f"**{dataset_id}**, gain over `{baseline}` (95% interval)\n")
        parts += _table(own, COLUMNS, _cell)
    return "\n".join(parts)


def _table(rows: list[dict[str, Any]], columns: Sequence[str], cell: Callable[[dict[str, Any]], str]) -> list[str]:
    lines = ["| model | " + " | ".join(name.replace("_", " ") for name in columns) + " |"]
    lines.append("| --- |" + " --- |" * len(columns))
    for model in sorted({row["model"] for row in rows}):
        cells = {row["benchmark"]: cell(row) for row in rows if row["model"] == model}
        lines.append(f"| `{model}` | " + " | ".join(cells.get(name, "") for name in columns) + " |")
    return [*lines, ""]


def _cell(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    text = f"{row['gain']:+.3f} ({low:+.3f} to {high:+.3f})"
    return f"**{text}**" if low > 0 or high < 0 else text


def write_results(found: dict[str, list[dict[str, Any]]]) -> None:
    """Writes the results to the result file and into the page of the study."""
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables_of(found)}\n{END}{after}")


def main() -> None:
    """Does what is not done yet, and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=REPOSITORY / "learning_study", help="folder of the study")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no work is begun after this time")
    chosen = parser.parse_args()
    until = time.monotonic() + 60 * chosen.minutes
    home = Home(chosen.home.resolve())
    home.landing.mkdir(parents=True, exist_ok=True)
    home.remember_configs(CONFIGS)
    deployment = Deployment.of({}, home=home.root, configs=CONFIGS)
    land(deployment, home)
    is_done = carry_out_work(deployment, LiveSnapshot(deployment, stages()), until=until)
    leaderboard = carry_out(stage_named("leaderboard"), deployment, {})
    table = differences(leaderboard, deployment, home)
    found = {
        "scores": scores(leaderboard),
        "gains": [row for baseline in BASELINES for row in gains(table, baseline)],
    }
    write_results(found)
    print(tables_of(found))
    print(f"written to {RESULT} and {PAGE}" if is_done else "not everything is done yet: run it again to go on")


if __name__ == "__main__":
    main()
