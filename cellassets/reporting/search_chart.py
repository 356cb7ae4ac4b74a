"""The variants of a search: their curves in one chart, and their values and results as a table."""

from collections.abc import Mapping

from cellassets.reporting.chart import Chart, rounded, specification
from cellassets.reporting.theme import CATEGORIES
from cellassets.training.recipe.variant_names import shown_value
from cellassets.training.search_summary import SearchSummary, VariantRow

WIDTH_PX, HEIGHT_PX = 420, 240
MAX_POINTS = 600  # of all curves together: the picture is kept in Dagster's event log
MAX_ROWS = 200
STATES = ("trained", "stopped", "diverged")


def search_chart(summary: SearchSummary, curves: Mapping[str, Mapping[str, float]]) -> Chart:
    """Returns the curves of the variants that ended, coloured by how they ended.

    Args:
        summary: the variants.
        curves: the metric of the search by epoch, by name of the variant.
    """
    import altair as alt

    states = {row.name: row.state for row in summary.variants}
    n_points = sum(len(curve) for curve in curves.values())
    every = max(1, -(-n_points // MAX_POINTS))
    points = [
        {"variant": name, "state": states.get(name, "trained"), "epoch": int(epoch), "value": rounded(value)}
        for name, curve in curves.items()
        for epoch, value in list(curve.items())[::-1][::every]
    ]
    colour = alt.Color(
        "state:N", scale=alt.Scale(domain=list(STATES), range=list(CATEGORIES[:3])), legend=alt.Legend(title=None)
    )
    line = alt.Chart(alt.NamedData("curves")).mark_line(strokeWidth=1.5, opacity=0.7, point={"size": 18})
    drawn = line.encode(
        x=alt.X("epoch:Q", axis=alt.Axis(title="epoch", tickMinStep=1, grid=False)),
        y=alt.Y("value:Q", axis=alt.Axis(title=summary.metric), scale=alt.Scale(zero=False)),
        color=colour,
        detail="variant:N",
    ).properties(width=WIDTH_PX, height=HEIGHT_PX)
    return Chart("Variants of the search", _told(summary), specification(drawn, curves=points))


def variants_markdown(summary: SearchSummary) -> str:
    """Returns the table of the variants, the best first, then those without a result."""
    keys = list(dict.fromkeys(key for row in summary.variants for key in row.values))
    sign = 1 if summary.metric == "train_loss" else -1
    order = ("trained", "stopped", "open", "diverged", "given up")
    rows = sorted(
        summary.variants, key=lambda row: (order.index(row.state), sign * (0.0 if row.value is None else row.value))
    )
    head = ["variant", *keys, "state", summary.metric, "epochs", "model", "note"]
    lines = [_line(head), _line(["---"] * len(head)), *(_line(_cells(row, keys)) for row in rows[:MAX_ROWS])]
    if len(rows) > MAX_ROWS:
        lines.append(f"\n{len(rows) - MAX_ROWS} more are in the record.")
    return "\n".join(lines)


def _cells(row: VariantRow, keys: list[str]) -> list[str]:
    value = "" if row.value is None else f"{row.value:.4g}"
    given = [shown_value(row.values[key]) if key in row.values else "" for key in keys]
    n_epochs = "" if row.n_epochs is None else str(row.n_epochs)
    return [row.name, *given, row.state, value, n_epochs, row.model_key or "", row.note]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _told(summary: SearchSummary) -> str:
    best = f"; the best is {summary.best_variant} with {summary.best_value:.4g}" if summary.best_variant else ""
    return f"{summary.n_trained} trained, {summary.n_stopped} stopped as poor, {summary.n_failed} failed{best}"
