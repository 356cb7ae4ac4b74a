"""`active_perturbations`: which perturbations of a map are active, and what the active ones show."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from assets.checks import check_of
from assets.inputs import hit_settings
from assets.materialise import materialised, publish
from assets.missing_map import checks_without_map
from assets.perturbation_map import perturbation_map
from assets.pictures import chart as picture
from cellassets.benchmarks.parts import TITLES, UNSEEN
from cellassets.hits.summary import ActivePerturbationsSummary
from cellassets.stages.active_perturbations import ACTIVE_PERTURBATIONS, CODE_VERSION
from resources.partitions import DATASET_MODEL
from resources.places import DeploymentResource

if TYPE_CHECKING:
    import polars as pl

    from cellassets.storage.lake import Published

TESTED_CHECK, PERMUTATIONS_CHECK = "most_perturbations_could_be_tested", "permutations_allow_few_hits"
UNSEEN_CHECK = "hits_are_called_on_unseen_wells"
MIN_TESTED_FRAC = 0.9
MAX_LEAST_FRAC = 0.02
N_SHOWN = 20


@dg.asset(
    deps=[perturbation_map, hit_settings],
    partitions_def=DATASET_MODEL,
    group_name="maps",
    owners=["team:computational-biology"],
    kinds={"scipy", "parquet"},
    code_version=CODE_VERSION,
    output_required=False,  # a backfill over all partitions includes datasets of which a model has no map
    check_specs=[
        *check_of(
            ACTIVE_PERTURBATIONS,
            TESTED_CHECK,
            f"At least {MIN_TESTED_FRAC:.0%} of the perturbations have enough wells and controls to be tested.",
        ),
        *check_of(
            ACTIVE_PERTURBATIONS,
            PERMUTATIONS_CHECK,
            f"The permutations are enough to call {MAX_LEAST_FRAC:.0%} of the tested perturbations.",
        ),
        *check_of(
            ACTIVE_PERTURBATIONS, UNSEEN_CHECK, "The model has not seen the wells, so that the rate of the hits holds."
        ),
    ],
)
def active_perturbations(
    context: dg.AssetExecutionContext, deployment: DeploymentResource
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Active perturbations at a stated false discovery rate, lowest active doses, and scores among active ones."""
    names = (TESTED_CHECK, PERMUTATIONS_CHECK, UNSEEN_CHECK)
    if failed := checks_without_map(context, ACTIVE_PERTURBATIONS, deployment, names):
        yield from failed
        return
    published = publish(context, ACTIVE_PERTURBATIONS, deployment)
    summary = ActivePerturbationsSummary.model_validate(published.record.summary)
    checks = [check_tested(summary), check_permutations(summary), check_unseen(summary)]
    yield materialised(published, metadata=_pictures(published), checks=checks)


def check_tested(summary: ActivePerturbationsSummary) -> dg.AssetCheckResult:
    """Returns the check of how many perturbations could be tested; it fails where the map has none."""
    reasons = "; ".join(f"{n_not_tested}: {reason}" for reason, n_not_tested in summary.not_tested.items())
    return dg.AssetCheckResult(
        check_name=TESTED_CHECK,
        passed=summary.n_tested > 0 and summary.n_tested >= MIN_TESTED_FRAC * summary.n_perturbations,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{summary.n_tested} of {summary.n_perturbations} tested. {reasons}".strip(),
        metadata={"n_tested": summary.n_tested, "n_perturbations": summary.n_perturbations},
    )


def check_permutations(summary: ActivePerturbationsSummary) -> dg.AssetCheckResult:
    """Returns the check of the number of permutations; it passes where nothing was tested."""
    least = summary.least_n_active or 1
    return dg.AssetCheckResult(
        check_name=PERMUTATIONS_CHECK,
        passed=least <= max(1, MAX_LEAST_FRAC * summary.n_tested),
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"Fewer than {least} active perturbations among {summary.n_tested} cannot be called, because no p-value is "
            "small enough: raise n_permutations in hits.yaml."
            if least > 1
            else None
        ),
        metadata={"least_n_active": least},
    )


def check_unseen(summary: ActivePerturbationsSummary) -> dg.AssetCheckResult:
    """Returns the check of what the model has seen of the wells that hits are called on."""
    return dg.AssetCheckResult(
        check_name=UNSEEN_CHECK,
        passed=summary.exposure in UNSEEN,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{TITLES[summary.exposure]}: {summary.experiments}",
    )


def _pictures(published: "Published") -> dict[str, dg.MarkdownMetadataValue]:
    """Returns the strongest hits and the scores among active perturbations as tables, and a plot of all of them."""
    from cellassets.reporting.chart import data_uri
    from cellassets.reporting.hits_chart import hits_chart
    from cellassets.reporting.hits_section import strongest_hits
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import ACTIVE_SCORES, HITS

    hits = read_table(published.file("hits.parquet"), HITS)
    scores = read_table(published.file("active_scores.parquet"), ACTIVE_SCORES)
    chart = hits_chart(hits)
    plot = {} if chart is None else {"plot": picture("perturbations", data_uri(chart))}
    shown = {} if scores.is_empty() else {"among_active": _scores(scores)}
    return {"strongest": _hits(strongest_hits(hits, N_SHOWN)), **shown, **plot}


def _hits(hits: "pl.DataFrame") -> dg.MarkdownMetadataValue:
    lines = [
        "| active perturbation | distance (sd) | 95% interval | magnitude | activity | q | n |",
        f"|{' --- |' * 7}",
    ]
    for row in hits.iter_rows(named=True):
        low, high = row["distance_sd_low"], row["distance_sd_high"]
        interval = "" if low is None else f"{low:.2f} to {high:.2f}"
        numbers = [row[name] for name in ("distance_sd", "magnitude", "activity")]
        distance, magnitude, activity = ("" if value is None else f"{value:.2f}" for value in numbers)
        q_value = "" if row["activity_q_value"] is None else f"{row['activity_q_value']:.2g}"
        cells = (row["perturbation_id"], distance, interval, magnitude, activity, q_value, str(row["n_wells"]))
        lines.append(f"| {' | '.join(cells)} |")
    return dg.MetadataValue.md("\n".join(lines))


def _scores(scores: "pl.DataFrame") -> dg.MarkdownMetadataValue:
    lines = ["| among active perturbations | value | null | p | n |", f"|{' --- |' * 5}"]
    for row in scores.iter_rows(named=True):
        null = f"{row['null_mean']:.3f} ({row['null_low']:.3f} to {row['null_high']:.3f})"
        name, count = f"{row['benchmark_name']}: {row['metric']}", f"{row['n_units']} {row['unit']}s"
        lines.append(f"| {name} | {row['value']:.3f} | {null} | {row['p_value']:.2g} | {count} |")
    return dg.MetadataValue.md("\n".join(lines))
