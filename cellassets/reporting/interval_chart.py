"""The chart of models on one benchmark: score and interval of each, over what chance gives."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cellassets.reporting.chart import Chart, rounded, specification
from cellassets.reporting.theme import BAND, CHANCE, INK, OTHER, OWN

if TYPE_CHECKING:
    import altair as alt

PLOT_WIDTH_PX, ROW_HEIGHT_PX, LABEL_PX, VALUE_PX = 650, 28, 170, 56


@dataclass(frozen=True)
class Estimate:
    """One row of the chart: a model's score with its 95% interval and the p-value against its null distribution.

    `rank` is None for a model that has seen the wells. `compared` says how the model compares with the highlighted one;
    it is empty where the two were not compared.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    p_value: float
    rank: int | None
    is_highlighted: bool = False
    compared: str = ""


@dataclass(frozen=True)
class NullBand:
    """Mean and 95% range of a null distribution."""

    low: float
    mean: float
    high: float


def interval_chart(title: str, estimates: Sequence[Estimate], band: NullBand, *, axis: str) -> Chart:
    """Returns one row per model: a dot for its score, a bar for its interval, behind them the null distribution.

    The axis covers 0 to 1, and more where a value lies outside.

    Args:
        title: what the chart shows.
        estimates: from top to bottom.
        band: the null distribution.
        axis: name of the score.
    """
    import altair as alt

    scale = alt.Scale(domain=_reach(estimates, band), nice=False, zero=False)
    null = alt.Chart(alt.NamedData("null"))
    layers = [
        null.mark_rect(color=BAND).encode(x=alt.X("low:Q", scale=scale), x2=alt.X2("high:Q")),
        null.mark_rule(color=CHANCE, strokeDash=[4, 3], strokeWidth=1.5).encode(x=alt.X("mean:Q")),
        *_models(estimates, axis=axis, scale=scale),
    ]
    chart = alt.layer(*layers).properties(
        width=PLOT_WIDTH_PX,
        height=alt.Step(ROW_HEIGHT_PX),
        padding={"left": 2, "top": 4, "bottom": 2, "right": VALUE_PX},
    )
    values = "; ".join(f"{e.name} {e.value:.3f}" for e in estimates)
    spec = specification(chart, models=[_row(e, band) for e in estimates], null=[asdict(band)])
    return Chart(title, f"{values}; mean of the null distribution {band.mean:.3f}", spec)


def _models(estimates: Sequence[Estimate], *, axis: str, scale: "alt.Scale") -> "list[alt.Chart]":
    """Interval, dot and number of each model; the whole row answers to the mouse."""
    import altair as alt

    base = alt.Chart(alt.NamedData("models"))
    y = alt.Y("name:N", sort=[estimate.name for estimate in estimates], axis=_names(estimates))
    x = alt.X("value:Q", scale=scale, axis=alt.Axis(title=axis, tickCount=6, format=".2~f", labelFlush=False))
    colour = alt.condition("datum.own", alt.value(OWN), alt.value(OTHER))
    tooltip = _tooltip(estimates, axis)
    return [
        base.mark_bar(height=ROW_HEIGHT_PX - 2, color="transparent").encode(
            x=alt.XValue(0),  # type: ignore[no-untyped-call]
            x2=alt.X2Value(PLOT_WIDTH_PX),  # type: ignore[no-untyped-call]
            y=y,
            tooltip=tooltip,
        ),
        base.mark_rule(strokeWidth=3.5, strokeCap="round", opacity=0.5).encode(
            x=alt.X("low:Q"), x2=alt.X2("high:Q"), y=y, color=colour, tooltip=tooltip
        ),
        base.mark_circle(size=110, opacity=1).encode(x=x, y=y, color=colour, tooltip=tooltip),
        base.mark_text(align="left", dx=12).encode(
            x=alt.XValue(PLOT_WIDTH_PX),  # type: ignore[no-untyped-call]
            y=y,
            text=alt.Text("value:Q", format=".3f"),
            color=alt.condition("datum.own", alt.value(OWN), alt.value(INK)),
        ),
    ]


def _names(estimates: Sequence[Estimate]) -> "alt.Axis":
    """The models' names, all charts equally wide; the highlighted one in its colour."""
    import altair as alt

    is_own = f"datum.value === {json.dumps(next((e.name for e in estimates if e.is_highlighted), ''))}"
    return alt.Axis(
        title=None,
        domain=False,
        ticks=False,
        minExtent=LABEL_PX,
        maxExtent=LABEL_PX,
        labelPadding=12,
        labelLimit=LABEL_PX - 16,
        labelColor=alt.condition(is_own, alt.value(OWN), alt.value(INK)),
        labelFontWeight=alt.condition(is_own, alt.value(600), alt.value(400)),
    )


def _tooltip(estimates: Sequence[Estimate], axis: str) -> "list[alt.Tooltip]":
    import altair as alt

    own = next((estimate.name for estimate in estimates if estimate.is_highlighted), "")
    compared = [alt.Tooltip("compared:N", title=f"compared with {own}")] if any(e.compared for e in estimates) else []
    return [
        alt.Tooltip("name:N", title="model"),
        alt.Tooltip("value:Q", title=axis, format=".4f"),
        alt.Tooltip("interval:N", title="95% interval"),
        alt.Tooltip("null:N", title="null mean (95%)"),
        alt.Tooltip("p:Q", title="p", format=".2g"),
        alt.Tooltip("rank:N", title="rank"),
        *compared,
    ]


def _row(estimate: Estimate, band: NullBand) -> dict[str, Any]:
    has_interval = estimate.low is not None and estimate.high is not None
    return {
        "name": estimate.name,
        "value": rounded(estimate.value),
        "low": rounded(estimate.low),
        "high": rounded(estimate.high),
        "interval": f"{estimate.low:.3f} to {estimate.high:.3f}" if has_interval else "not given",
        "null": f"{band.mean:.3f} ({band.low:.3f} to {band.high:.3f})",
        "p": rounded(estimate.p_value),
        "rank": estimate.rank or "not ranked",
        "compared": estimate.compared,
        "own": estimate.is_highlighted,
    }


def _reach(estimates: Sequence[Estimate], band: NullBand) -> list[float]:
    ends = [value for e in estimates for value in (e.value, e.low, e.high) if value is not None]
    return [min(0.0, band.low, *ends), max(1.0, band.high, *ends)]
