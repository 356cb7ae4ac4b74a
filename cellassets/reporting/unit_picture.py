"""The chart of one benchmark's units: every unit's value beside its own null distribution.

Takes SCORES rows of one benchmark. The chart stands in a model's report and in the Dagster UI.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.reporting.chart import Chart, data_uri, rounded, specification
from cellassets.reporting.theme import BAND, CHANCE, OTHER, OWN
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL

if TYPE_CHECKING:
    import altair as alt

__all__ = ["data_uri", "unit_chart"]

MAX_POINTS = 240
PLOT_WIDTH_PX, HEIGHT_PX, LABEL_PX = 810, 210, 56


def unit_chart(scores: pl.DataFrame, *, alpha: float = SIGNIFICANCE_LEVEL) -> Chart | None:
    """Returns the sorted values of a benchmark's units, each beside the 95% range of its null distribution.

    None where there are fewer than two units, and where all values are 0 or 1. Of more than 240 units, 240 at even
    steps of rank are shown.

    Args:
        scores: SCORES rows of one benchmark, dataset and model.
        alpha: a unit with a q-value of at most this is marked as different from its null distribution.
    """
    if scores.is_empty():
        return None
    chosen = BENCHMARKS[scores["benchmark_name"][0]]
    units = scores.filter((pl.col("level") == "perturbation") & (pl.col("metric") == chosen.unit_metric)).sort("value")
    if units.height < 2 or units["value"].is_in([0.0, 1.0]).all():
        return None
    ranked = units.with_row_index("rank", offset=1)
    places = np.unique(np.linspace(0, units.height - 1, min(units.height, MAX_POINTS)).round()).astype(np.int64)
    kept = ranked[places]
    n_called = int((units["q_value"] <= alpha).sum())
    description = f"{n_called} of {units.height} units differ from their null distribution (q ≤ {alpha:g})"
    shown = f" ({kept.height} of {units.height} shown)" if kept.height < units.height else ""
    called, not_called = f"differs from its null (q ≤ {alpha:g})", f"does not (q > {alpha:g})"
    rows = [_row(row, called if _is_called(row, alpha) else not_called) for row in kept.iter_rows(named=True)]
    spec = _draw(
        rows, chosen.unit_metric.replace("_", " "), f"units, sorted by value{shown}", outcomes=(called, not_called)
    )
    return Chart(f"{chosen.title}: every unit", description, spec)


def _is_called(row: dict[str, Any], alpha: float) -> bool:
    return row["q_value"] is not None and row["q_value"] <= alpha


def _row(row: dict[str, Any], outcome: str) -> dict[str, Any]:
    numbers = {
        "value": row["value"],
        "low": row["null_low"],
        "mean": row["null_mean"],
        "high": row["null_high"],
        "p": row["p_value"],
        "q": row["q_value"],
    }
    labels = {"rank": row["rank"], "name": row["perturbation_id"], "n": f"{row['n_units']} {row['unit']}s"}
    if row["interval_low"] is not None and row["interval_high"] is not None:
        labels["interval"] = f"{row['interval_low']:.3f} to {row['interval_high']:.3f}"
    return {**labels, **{name: rounded(value) for name, value in numbers.items()}, "outcome": outcome}


def _draw(rows: list[dict[str, Any]], metric: str, ranks: str, *, outcomes: tuple[str, str]) -> dict[str, Any]:
    import altair as alt

    base = alt.Chart(alt.NamedData("units")).transform_calculate(
        null="format(datum.mean, '.3f') + ' (' + format(datum.low, '.3f') + ' to ' + format(datum.high, '.3f') + ')'"
    )
    names = [*outcomes, "null mean", "95% of the null"]
    legend = alt.Legend(title=None, orient="top", symbolOpacity=1, labelLimit=300, offset=10)
    colour = alt.Scale(domain=names, range=[OWN, OTHER, CHANCE, BAND])
    first, last = rows[0]["rank"], rows[-1]["rank"]
    margin = max((last - first) * 0.01, 0.5)
    x = alt.X(
        "rank:Q",
        scale=alt.Scale(domain=[first - margin, last + margin], nice=False, zero=False),
        axis=alt.Axis(title=ranks, grid=False, tickMinStep=1, tickCount=8),
    )
    y_axis = alt.Axis(title=metric, tickCount=5, minExtent=LABEL_PX, maxExtent=LABEL_PX)
    y = alt.Y("low:Q", scale=alt.Scale(zero=False, padding=8), axis=y_axis)
    layers = alt.layer(
        base.mark_area().encode(x=x, y=y, y2=alt.Y2("high:Q"), color=alt.datum(names[3])),
        base.mark_line(strokeWidth=1.5).encode(x=x, y=alt.Y("mean:Q"), color=alt.datum(names[2])),
        base.mark_circle(size=52, opacity=1, stroke="#ffffff", strokeWidth=0.6).encode(
            x=x,
            y=alt.Y("value:Q"),
            color=alt.Color("outcome:N", scale=colour, legend=legend),
            tooltip=_tooltip(rows, metric),
        ),
    )
    return specification(layers.properties(width=PLOT_WIDTH_PX, height=HEIGHT_PX), units=rows)


def _tooltip(rows: list[dict[str, Any]], metric: str) -> "list[alt.Tooltip]":
    import altair as alt

    has_intervals = any("interval" in row for row in rows)
    interval = [alt.Tooltip("interval:N", title="95% interval")] if has_intervals else []
    return [
        alt.Tooltip("name:N", title="unit"),
        alt.Tooltip("value:Q", title=metric, format=".4f"),
        *interval,
        alt.Tooltip("null:N", title="null mean (95%)"),
        alt.Tooltip("p:Q", title="p", format=".2g"),
        alt.Tooltip("q:Q", title="q", format=".2g"),
        alt.Tooltip("n:N", title="from"),
    ]
