"""The chart of one measure after each step of alignment, compared with chance."""

import json
from collections.abc import Sequence

from cellassets.reporting.chart import Chart, rounded, specification
from cellassets.reporting.theme import CHANCE, OWN

WIDTH_PX, HEIGHT_PX = 370, 180


def steps_chart(title: str, steps: Sequence[str], values: Sequence[float], chance: float) -> Chart:
    """Returns one point per step, joined by a line; a dashed line shows chance. The axis goes from 0 to 1.

    Args:
        title: what is measured.
        steps: names of the steps, in order.
        values: the measure after each step, 0 to 1.
        chance: its value by chance.
    """
    import altair as alt

    names = [step.replace("_", " ") for step in steps]
    rows = [
        {"place": place, "step": name, "value": rounded(value), "chance": rounded(chance)}
        for place, (name, value) in enumerate(zip(names, values, strict=True))
    ]
    base = alt.Chart(alt.NamedData("steps"))
    # steps may have equal names, so the axis is of their places
    x = alt.X(
        "place:O",
        axis=alt.Axis(title=None, labelAngle=0, grid=False, labelExpr=_labels(names)),
    )
    y = alt.Y(
        "value:Q",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(title=None, values=[0, 0.25, 0.5, 0.75, 1], format=".2~f"),
    )
    tooltip = [
        alt.Tooltip("step:N", title="after"),
        alt.Tooltip("value:Q", title=title, format=".3f"),
        alt.Tooltip("chance:Q", title="by chance", format=".3f"),
    ]
    layers = alt.layer(
        base.mark_rule(color=CHANCE, strokeDash=[4, 3], strokeWidth=1.5).encode(y=alt.datum(rounded(chance))),
        base.mark_line(color=OWN, strokeWidth=2).encode(x=x, y=y),
        base.mark_circle(color=OWN, size=90, opacity=1).encode(x=x, y=y, tooltip=tooltip),
        base.mark_text(dy=-13).encode(x=x, y=y, text=alt.Text("value:Q", format=".2f")),
    ).properties(width=WIDTH_PX, height=HEIGHT_PX)
    told = ", ".join(f"{step} {value:.2f}" for step, value in zip(steps, values, strict=True))
    return Chart(title, f"{told}; by chance {chance:.2f}", specification(layers, steps=rows))


def _labels(names: Sequence[str]) -> str:
    """A Vega expression for the label of a place."""
    return f"{json.dumps(list(names))}[datum.value]"
