"""What a benchmark says of each perturbation, as a picture: sorted values over the band of their own nulls.

Takes SCORES rows of one benchmark; drawn in a model's report and beside the materialisation in the Dagster UI.
"""

import base64
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.reporting.charts import WIDTH, svg_document

STYLE = Path(__file__).parent / "templates" / "style.css"
MAX_POINTS = 240
HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 190, 52, 12, 10, 40


def unit_chart(scores: pl.DataFrame) -> str | None:
    """Returns the sorted unit values of one benchmark as SVG; None where there are fewer than two, or only yes and no.

    Args:
        scores: SCORES rows of one benchmark, dataset and model.
    """
    if scores.is_empty():
        return None
    chosen = BENCHMARKS[scores["benchmark_name"][0]]
    units = scores.filter((pl.col("level") == "perturbation") & (pl.col("metric") == chosen.unit_metric)).sort("value")
    if units.height < 2 or units["value"].is_in([0.0, 1.0]).all():
        return None
    kept = units[np.unique(np.linspace(0, units.height - 1, min(units.height, MAX_POINTS)).round()).astype(np.int64)]
    columns = kept.select("value", "null_low", "null_mean", "null_high").to_numpy().T
    n_called = int((units["q_value"] <= 0.05).sum())
    told = f"{units.height} {units['unit'][0]} groups, {n_called} of them beyond their null (q at most 0.05)"
    return _draw(f"{chosen.title}, every unit", told, columns, chosen.unit_metric)


def data_uri(svg: str) -> str:
    """Returns a picture that stands alone, with the report's style in it, as the source of an `img`."""
    styled = svg.replace("<title>", f"<style>{STYLE.read_text()} svg {{ background: var(--card); }}</style><title>", 1)
    return f"data:image/svg+xml;base64,{base64.b64encode(styled.encode()).decode()}"


def _draw(title: str, told: str, columns: Float[np.ndarray, "column unit"], metric: str) -> str:
    value, low, mean, high = columns
    least, most = float(columns.min()), float(columns.max())
    x = np.linspace(LEFT + 6, WIDTH - RIGHT - 6, len(value))

    def y(values: Float[np.ndarray, "unit"]) -> Float[np.ndarray, "unit"]:
        share = (values - least) / (most - least) if most > least else np.full(len(values), 0.5)
        return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)

    band = _points(np.concatenate([x, x[::-1]]), y(np.concatenate([low, high[::-1]])))
    ticks = np.linspace(least, most, 3)
    parts = [
        *(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>'
            f'<text class="tick" x="{LEFT - 6}" y="{place + 4:.1f}" text-anchor="end">{tick:.2f}</text>'
            for tick, place in zip(ticks, y(ticks), strict=True)
        ),
        f'<polygon class="band" points="{band}"/>',
        f'<polyline class="chance" fill="none" points="{_points(x, y(mean))}"/>',
        *(f'<circle class="dot own" cx="{a:.1f}" cy="{b:.1f}" r="2.6"/>' for a, b in zip(x, y(value), strict=True)),
        f'<text class="axis" x="{LEFT}" y="{HEIGHT - 6}">{metric}, sorted; shaded: 95% of each null. {told}</text>',
    ]
    return svg_document(title, told, (WIDTH, HEIGHT), parts)


def _points(x: Float[np.ndarray, "point"], y: Float[np.ndarray, "point"]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
