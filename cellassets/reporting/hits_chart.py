"""The chart of the perturbations of a map: how far each one is from its controls, active ones marked.

Takes HITS rows. The chart stands in a model's report and in the Dagster UI.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cellassets.reporting.chart import Chart, rounded, specification
from cellassets.reporting.theme import OTHER, OWN

if TYPE_CHECKING:
    import altair as alt

MAX_POINTS = 240
WIDTH_PX, HEIGHT_PX, LABEL_PX = 810, 210, 56
OUTCOMES = ("active", "not active")


def hits_chart(hits: pl.DataFrame) -> Chart | None:
    """Returns the sorted distances of all perturbations from their controls, with their 95% intervals.

    None where fewer than two perturbations have a distance. Of more than 240, 240 at even steps of rank are shown.

    Args:
        hits: HITS rows of one dataset and model.
    """
    known = hits.filter(pl.col("distance_sd").is_not_null()).sort("distance_sd", "perturbation_id")
    if known.height < 2:
        return None
    places = np.unique(np.linspace(0, known.height - 1, min(known.height, MAX_POINTS)).round()).astype(np.int64)
    kept = known.with_row_index("rank", offset=1)[places]
    shown = f" ({kept.height} of {known.height} shown)" if kept.height < known.height else ""
    description = f"{int(known['is_active'].sum())} of {known.height} perturbations are active"
    rows = [_row(row) for row in kept.iter_rows(named=True)]
    spec = _draw(rows, f"perturbations, sorted by distance{shown}")
    return Chart("Distance of every perturbation from the controls of its plates", description, spec)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    numbers = {"value": "distance_sd", "low": "distance_sd_low", "high": "distance_sd_high", "magnitude": "magnitude"}
    return {
        "rank": row["rank"],
        "name": row["perturbation_id"],
        "n": f"{row['n_wells']} wells",
        **{name: rounded(row[column]) for name, column in numbers.items()},
        "outcome": OUTCOMES[0] if row["is_active"] else OUTCOMES[1],
    }


def _draw(rows: list[dict[str, Any]], ranks: str) -> dict[str, Any]:
    import altair as alt

    base = alt.Chart(alt.NamedData("hits"))
    legend = alt.Legend(title=None, orient="top", symbolOpacity=1, offset=10)
    colour = alt.Color("outcome:N", scale=alt.Scale(domain=list(OUTCOMES), range=[OWN, OTHER]), legend=legend)
    margin = max((rows[-1]["rank"] - rows[0]["rank"]) * 0.01, 0.5)
    x = alt.X(
        "rank:Q",
        scale=alt.Scale(domain=[rows[0]["rank"] - margin, rows[-1]["rank"] + margin], nice=False, zero=False),
        axis=alt.Axis(title=ranks, grid=False, tickMinStep=1, tickCount=8),
    )
    y_axis = alt.Axis(title="distance (control sd)", tickCount=5, minExtent=LABEL_PX, maxExtent=LABEL_PX)
    layers = alt.layer(
        base.mark_rule(strokeWidth=1, opacity=0.45).encode(
            x=x, y=alt.Y("low:Q", axis=y_axis), y2="high:Q", color=colour
        ),
        base.mark_circle(size=40, opacity=1).encode(x=x, y="value:Q", color=colour, tooltip=_tooltip()),
    )
    return specification(layers.properties(width=WIDTH_PX, height=HEIGHT_PX), hits=rows)


def _tooltip() -> "list[alt.Tooltip]":
    import altair as alt

    named = (("value", "distance"), ("low", "95% from"), ("high", "to"), ("magnitude", "magnitude"))
    numbers = [alt.Tooltip(f"{name}:Q", title=title, format=".3f") for name, title in named]
    return [alt.Tooltip("name:N", title="perturbation"), *numbers, alt.Tooltip("n:N", title="from")]
