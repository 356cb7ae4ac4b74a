"""The curves of a training: the loss, and the accuracy on held-out experiments beside chance, by epoch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cellassets.reporting.chart import Chart, rounded, specification
from cellassets.reporting.theme import CHANCE, OWN

if TYPE_CHECKING:
    import altair as alt

WIDTH_PX, HEIGHT_PX = 300, 160
MAX_DOTS = 12
MAX_POINTS = 100  # of a picture that is kept in Dagster's event log
LOSS, ACCURACY = "train_loss", "validation_accuracy"


def training_chart(history: Sequence[Mapping[str, float]]) -> Chart:
    """Returns two charts side by side; that of the accuracy has a dashed line at chance.

    Args:
        history: `epoch` (from 1), `train_loss` and, in epochs that were judged, `validation_accuracy` and
            `chance_accuracy`.
    """
    import altair as alt

    judged = [epoch for epoch in history if ACCURACY in epoch]
    losses, accuracies = _points(history, LOSS), _points(judged, ACCURACY)
    x = alt.X("epoch:Q", axis=alt.Axis(title="epoch", tickMinStep=1, grid=False))
    loss = _line("losses", losses, "loss", alt.Y("value:Q", axis=alt.Axis(title=None)), x)
    parts: list[Any] = [loss]
    told = f"loss {history[0][LOSS]:.3g} to {history[-1][LOSS]:.3g} in {len(history)} epochs"
    if judged:
        chance = judged[-1]["chance_accuracy"]
        y = alt.Y("value:Q", axis=alt.Axis(title=None), scale=alt.Scale(domainMin=0))
        rule = alt.Chart(alt.NamedData("accuracies")).mark_rule(color=CHANCE, strokeDash=[4, 3], strokeWidth=1.5)
        line = _line("accuracies", accuracies, "accuracy on held-out experiments", y, x)
        parts.append(alt.layer(rule.encode(y=alt.datum(rounded(chance))), line))
        told += f"; held-out accuracy {judged[-1][ACCURACY]:.3f}, by chance {chance:.3f}"
    return Chart("Training curves", told, specification(alt.hconcat(*parts), losses=losses, accuracies=accuracies))


def _points(epochs: Sequence[Mapping[str, float]], name: str) -> list[dict[str, float | None]]:
    """The values of a metric; of many epochs every second, third and so on, with the last one among them."""
    every = max(1, -(-len(epochs) // MAX_POINTS))
    return [{"epoch": epoch["epoch"], "value": rounded(epoch[name])} for epoch in epochs[::-1][::every]]


def _line(name: str, values: Sequence[object], title: str, y: "alt.Y", x: "alt.X") -> "alt.Chart":
    import altair as alt

    has_dots = len(values) <= MAX_DOTS  # a line of one epoch would not be seen without
    line = alt.Chart(alt.NamedData(name), title=title).mark_line(
        color=OWN, strokeWidth=2, point={"color": OWN} if has_dots else False
    )
    return line.encode(x=x, y=y).properties(width=WIDTH_PX, height=HEIGHT_PX)
