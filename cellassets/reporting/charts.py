"""Charts as SVG: text in, text out, no browser and no library. Colours are CSS variables, so they follow the page.

Every chart has a title and a description for those who do not see it. Names are escaped.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float

from cellassets.errors import BenchmarkError

WIDTH = 680
LABEL_WIDTH = 190
ROW_HEIGHT = 30
# Okabe and Ito's colours, told apart by people with any colour vision; cycled where there are more groups
GROUP_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")
HEAT_LOW, HEAT_MID, HEAT_HIGH = np.array([33, 102, 172]), np.array([247, 247, 247]), np.array([178, 24, 43])


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, as one row of a chart."""

    name: str
    value: float
    low: float | None
    high: float | None
    is_highlighted: bool = False
    note: str = ""


@dataclass(frozen=True)
class Band:
    """Where values lie by chance."""

    low: float
    mean: float
    high: float


def interval_chart(
    title: str, estimates: Sequence[Estimate], band: Band, *, axis: str, reach: tuple[float, float]
) -> str:
    """Returns dots with intervals, a row an estimate, over the band of chance.

    Args:
        title: for those who do not see it.
        estimates: from top to bottom.
        band: drawn behind all rows.
        axis: what the values are.
        reach: lowest and highest value of the axis.
    """
    height = ROW_HEIGHT * len(estimates) + 46
    scale = _Scale(*reach)
    low, high = scale.x(band.low), scale.x(band.high)
    parts = [
        f'<rect class="band" x="{low:.1f}" y="4" width="{max(high - low, 1):.1f}" height="{height - 42}"/>',
        f'<line class="chance" x1="{scale.x(band.mean):.1f}" x2="{scale.x(band.mean):.1f}" y1="4" y2="{height - 38}"/>',
        *_axis(scale, height - 38, axis),
    ]
    for row, estimate in enumerate(estimates):
        parts += _estimate(estimate, scale, 4 + ROW_HEIGHT * (row + 0.5))
    told = "; ".join(f"{e.name} {e.value:.3f}" for e in estimates)
    return svg_document(title, f"{told}; by chance {band.mean:.3f}", (WIDTH, height), parts)


def steps_chart(title: str, steps: Sequence[str], values: Sequence[float], chance: float, *, axis: str) -> str:
    """Returns values after each step as a line, and chance as a dashed one; the axis goes from 0 to 1."""
    width, height, left, top, bottom = 330, 210, 44, 14, 42
    span = (width - left - 24) / max(len(steps) - 1, 1)

    def y(value: float) -> float:
        return top + (1 - min(max(value, 0.0), 1.0)) * (height - top - bottom)

    points = [(left + 10 + number * span, y(value)) for number, value in enumerate(values)]
    parts = [
        f'<line class="grid" x1="{left}" x2="{width - 8}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text class="tick" x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.1f}</text>'
        for tick in (0.0, 0.5, 1.0)
    ]
    parts.append(f'<line class="chance" x1="{left}" x2="{width - 8}" y1="{y(chance):.1f}" y2="{y(chance):.1f}"/>')
    line = " ".join(f"{x:.1f},{value:.1f}" for x, value in points)
    parts.append(f'<polyline class="line" points="{line}"/>')
    for (x, place), step, value in zip(points, steps, values, strict=True):
        parts.append(f'<circle class="dot own" cx="{x:.1f}" cy="{place:.1f}" r="4.5"/>')
        parts.append(f'<text class="value" x="{x:.1f}" y="{place - 10:.1f}" text-anchor="middle">{value:.2f}</text>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 22}" text-anchor="middle">{escape(step)}</text>')
    parts.append(f'<text class="axis" x="{left}" y="{height - 4}">{escape(axis)}</text>')
    told = ", ".join(f"{step} {value:.2f}" for step, value in zip(steps, values, strict=True))
    return svg_document(title, f"{told}; by chance {chance:.2f}", (width, height), parts)


def heat_map(
    title: str, cosines: Float[np.ndarray, "gene gene"], names: Sequence[str], groups: Sequence[int | None]
) -> str:
    """Returns a matrix of cosines with names at its sides and a coloured mark for each known group.

    Args:
        title: for those who do not see it.
        cosines: in the order to be shown, from -1 (blue) to 1 (red).
        names: of its rows.
        groups: number of the known group of each row, or None.
    """
    side, label, mark = 600, 92, 12
    cell = side / max(len(names), 1)
    left = top = label + mark
    picture = base64.b64encode(_png(_diverging(cosines))).decode()
    parts = [
        (
            f'<image x="{left}" y="{top}" width="{side}" height="{side}" preserveAspectRatio="none" '
            f'style="image-rendering:pixelated" href="data:image/png;base64,{picture}"/>'
        )
    ]
    has_names = cell >= 7
    for row, (name, group) in enumerate(zip(names, groups, strict=True)):
        place = row * cell
        if group is not None:
            colour = GROUP_COLOURS[group % len(GROUP_COLOURS)]
            parts.append(
                f'<rect fill="{colour}" x="{label}" y="{top + place:.2f}" width="{mark - 3}" height="{cell:.2f}"/>'
                f'<rect fill="{colour}" x="{left + place:.2f}" y="{label}" width="{cell:.2f}" height="{mark - 3}"/>'
            )
        if has_names:
            centre = place + cell / 2
            parts.append(
                f'<text class="name" x="{label - 4}" y="{top + centre + 3:.1f}" text-anchor="end">{escape(name)}</text>'
                f'<text class="name" transform="translate({left + centre + 3:.1f} {label - 4}) rotate(-90)">'
                f"{escape(name)}</text>"
            )
    parts += _heat_legend(left, top + side + 14)
    told = f"{len(names)} genes by {len(names)}, clustered; {len({g for g in groups if g is not None})} known groups"
    return svg_document(title, told, (left + side + 8, top + side + 44), parts)


def _heat_legend(left: int, top: int) -> list[str]:
    ramp = base64.b64encode(_png(_diverging(np.linspace(-1, 1, 128)[None]))).decode()
    return [
        (
            f'<image x="{left}" y="{top}" width="160" height="9" preserveAspectRatio="none" '
            f'href="data:image/png;base64,{ramp}"/>'
        ),
        f'<text class="tick" x="{left}" y="{top + 24}">opposite (-1)</text>',
        f'<text class="tick" x="{left + 160}" y="{top + 24}" text-anchor="end">alike (1)</text>',
    ]


@dataclass(frozen=True)
class _Scale:
    """From values to places on the x axis."""

    low: float
    high: float

    def x(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return LABEL_WIDTH + min(max(share, 0.0), 1.0) * (WIDTH - LABEL_WIDTH - 70)


def _estimate(estimate: Estimate, scale: _Scale, y: float) -> list[str]:
    kind = "own" if estimate.is_highlighted else "other"
    parts = [
        (
            f'<text class="label {kind}" x="{LABEL_WIDTH - 14}" y="{y + 4:.1f}" text-anchor="end">'
            f"{escape(estimate.name)}</text>"
        )
    ]
    if estimate.low is not None and estimate.high is not None:
        low, high = scale.x(estimate.low), scale.x(estimate.high)
        parts.append(f'<line class="interval {kind}" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
    parts.append(f'<circle class="dot {kind}" cx="{scale.x(estimate.value):.1f}" cy="{y:.1f}" r="5.5"/>')
    note = estimate.note or f"{estimate.value:.3f}"
    parts.append(f'<text class="value {kind}" x="{WIDTH - 62}" y="{y + 4:.1f}">{escape(note)}</text>')
    return parts


def _axis(scale: _Scale, y: int, axis: str) -> list[str]:
    parts = [f'<line class="base" x1="{LABEL_WIDTH}" x2="{WIDTH - 70}" y1="{y:.1f}" y2="{y:.1f}"/>']
    parts += [
        f'<text class="tick" x="{scale.x(float(tick)):.1f}" y="{y + 15:.1f}" text-anchor="middle">{tick:.2f}</text>'
        for tick in np.linspace(scale.low, scale.high, 5)
    ]
    middle = (LABEL_WIDTH + WIDTH - 70) / 2
    parts.append(f'<text class="axis" x="{middle:.1f}" y="{y + 32:.1f}" text-anchor="middle">{escape(axis)}</text>')
    return parts


def svg_document(title: str, description: str, size: tuple[int, int], parts: Sequence[str]) -> str:
    """Returns a picture with a title and a description for those who do not see it."""
    width, height = size
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'style="max-width:{width}px"><title>{escape(title)}</title><desc>{escape(description)}</desc>'
    )
    return head + "".join(parts) + "</svg>"


def _diverging(values: Float[np.ndarray, "y x"]) -> np.ndarray:
    if not np.isfinite(values).all():
        message = "a heat map needs finite values"
        raise BenchmarkError(message)
    share = np.clip(values, -1, 1)[..., None]
    low = HEAT_MID + (HEAT_MID - HEAT_LOW) * share
    high = HEAT_MID + (HEAT_HIGH - HEAT_MID) * share
    return np.where(share < 0, low, high).round().astype(np.uint8)


def _png(picture: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
