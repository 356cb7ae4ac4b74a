"""The picture of the calibration study: the distribution of every benchmark's p-values under every null."""

import numpy as np
import polars as pl

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.reporting.chart import Chart, rounded, specification
from cellassets.reporting.theme import CATEGORIES, LINE, SOFT
from cellassets.studies.calibration_scenarios import scenarios_of

PANEL_PX, COLUMNS = 170, 4


def calibration_picture(study: pl.DataFrame) -> str:
    """Returns one panel per benchmark as SVG: for each null, the fraction of p-values below each value.

    Args:
        study: rows of `run_study`.
    """
    names = [name for name in sorted(BENCHMARKS) if name in set(study["benchmark_name"])]
    rows = [row for name in names for row in _curves(name, study)]
    return Chart("Distribution of p-values under every null", ", ".join(names), _draw(rows)).svg()


def _curves(name: str, study: pl.DataFrame) -> list[dict[str, object]]:
    """The points of the distribution function of each null, from (0, 0) to (1, 1)."""
    headlines = study.filter(
        (pl.col("benchmark_name") == name) & pl.col("is_null") & (pl.col("metric") == BENCHMARKS[name].headline_metric)
    )
    title = name.replace("_", " ").capitalize()
    rows: list[dict[str, object]] = []
    for (scenario,), found in headlines.group_by("scenario", maintain_order=True):
        p_values, counts = np.unique(found["p_value"].to_numpy(), return_counts=True)
        fractions = np.cumsum(counts) / found.height
        points = [(0.0, 0.0), *zip(p_values.tolist(), fractions.tolist(), strict=True), (1.0, 1.0)]
        rows += [
            {"benchmark": title, "null": scenario, "p": rounded(p), "fraction": rounded(share)} for p, share in points
        ]
    return rows


def _nulls() -> list[str]:
    """The names of all nulls; nulls of one name have one colour in all panels."""
    subjects = sorted({benchmark.asks_about for benchmark in BENCHMARKS.values()}, reverse=True)
    scenarios = [scenario for subject in subjects for scenario in scenarios_of(subject)]
    return list(dict.fromkeys(scenario.name for scenario in scenarios if scenario.is_null))


def _draw(rows: list[dict[str, object]]) -> dict[str, object]:
    import altair as alt

    def axis(title: str) -> alt.Axis:
        return alt.Axis(title=title, values=[0, 0.5, 1], format=".2~f", grid=False, labelFlush=True)

    ends = alt.Scale(domain=[0, 1], nice=False)
    x = alt.X("p:Q", scale=ends, axis=axis("p-value"))
    y = alt.Y("fraction:Q", scale=ends, axis=axis("fraction of screens"))
    nulls = _nulls()
    colours = alt.Scale(domain=nulls, range=[CATEGORIES[place % len(CATEGORIES)] for place in range(len(nulls))])
    legend = alt.Legend(title="null", orient="top", columns=4, symbolType="stroke", symbolStrokeWidth=3, labelLimit=300)
    even = alt.Chart(alt.NamedData("even"))
    curves = alt.Chart().mark_line(strokeWidth=1.5, interpolate="step-after")
    panel = alt.layer(
        even.mark_line(color=SOFT, strokeDash=[3, 3], strokeWidth=1).encode(x=x, y=y),
        curves.encode(x=x, y=y, color=alt.Color("null:N", scale=colours, legend=legend)),
        data=alt.NamedData("curves"),
    ).properties(width=PANEL_PX, height=PANEL_PX, view=alt.ViewConfig(stroke=LINE))
    header = alt.Header(title=None, labelFontSize=13, labelFontWeight=600, labelAnchor="start", labelPadding=4)
    faceted = panel.facet(alt.Facet("benchmark:N", header=header), columns=COLUMNS)
    chart = faceted.resolve_axis(x="independent", y="independent").properties(spacing=26)
    return specification(chart, curves=rows, even=[{"p": 0, "fraction": 0}, {"p": 1, "fraction": 1}])
