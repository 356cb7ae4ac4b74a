"""The heat map of a map of genes: every gene compared with every gene, in clustered order.

The colours are one PNG picture inside the chart. One transparent mark per cell lies over it and
answers to the mouse.
"""

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from cellassets.errors import BenchmarkError
from cellassets.reporting.chart import Chart, specification
from cellassets.reporting.clustered_map import ClusteredMap
from cellassets.reporting.theme import CATEGORIES, DIVERGING

if TYPE_CHECKING:
    import altair as alt

SIDE_PX, MARK_PX, GAP_PX = 640, 9, 3
MIN_CELL_PX_OF_NAMES, NAME_PX = 7, 9
# 150 x 150 marks are drawn in a fraction of a second; 300 x 300 are not
MAX_INTERACTIVE_GENES = 150
N_LISTED_MEMBERS = 4


def heat_map(title: str, clustered: ClusteredMap) -> Chart:
    """Returns the matrix of cosines from blue (-1) to red (1), with a coloured mark at each gene of a known group.

    With at most 150 genes each cell shows its two genes, their cosine and their known groups under the mouse. With more
    genes the chart is a picture only.

    Args:
        title: what the chart shows.
        clustered: the genes in the order to be shown.

    Raises:
        BenchmarkError: a cosine is not a finite number.
    """
    if not np.isfinite(clustered.cosines).all():
        message = f"{title}: expected finite cosines, found others; map again without genes that have no finite vector"
        raise BenchmarkError(message)
    n_genes = len(clustered.names)
    n_groups = len({group for group in clustered.groups if group is not None})
    description = f"{n_genes} genes by {n_genes}, clustered; {n_groups} known groups"
    matrix = [{"url": _png(_diverging(clustered.cosines)), "cosine": 0}]
    layers = [*_matrix(), *_groups(n_genes)]
    if n_genes * MIN_CELL_PX_OF_NAMES <= SIDE_PX:
        layers += _names(n_genes)
    static = _specification(layers, genes=_genes(clustered), matrix=matrix)
    if n_genes > MAX_INTERACTIVE_GENES:
        return Chart(title, description, static)
    cosines = [[int(value) for value in row] for row in (clustered.cosines * 1000).round()]
    genes = [{**gene, "cosines": row} for gene, row in zip(_genes(clustered), cosines, strict=True)]
    spec = _specification([*layers, _cells(n_genes)], genes=genes, matrix=matrix)
    return Chart(title, description, spec, static, renderer="canvas")


def _specification(layers: "list[alt.Chart]", **datasets: list[dict[str, Any]]) -> dict[str, Any]:
    import altair as alt

    return specification(alt.layer(*layers).properties(width=SIDE_PX, height=SIDE_PX), **datasets)


def _genes(clustered: ClusteredMap) -> list[dict[str, Any]]:
    """One row per gene: its place, name, colour and the first members of its known group."""
    members: dict[int | None, list[str]] = {}
    for name, group in zip(clustered.names, clustered.groups, strict=True):
        members.setdefault(group, []).append(name)
    return [
        {"place": place, "name": name}
        if group is None
        else {
            "place": place,
            "name": name,
            "colour": CATEGORIES[group % len(CATEGORIES)],
            "group": _listed(sorted(members[group])),
        }
        for place, (name, group) in enumerate(zip(clustered.names, clustered.groups, strict=True))
    ]


def _listed(names: list[str]) -> str:
    rest = len(names) - N_LISTED_MEMBERS
    return ", ".join(names[:N_LISTED_MEMBERS]) + (f" and {rest} more" if rest > 0 else "")


def _scale(n_genes: int) -> "alt.Scale":
    import altair as alt

    return alt.Scale(domain=[0, n_genes], range=[0, SIDE_PX], nice=False, zero=False)


def _matrix() -> "list[alt.Chart]":
    """The picture of the cosines, and an invisible point that brings the legend of its colours."""
    import altair as alt

    base = alt.Chart(alt.NamedData("matrix"))
    legend = alt.Legend(
        title="cosine similarity", orient="bottom", direction="horizontal", gradientLength=220, gradientThickness=9,
        gradientOpacity=1, values=[-1, 0, 1], format="d", titleOrient="left", offset=14,
    )  # fmt: skip
    colours = alt.Scale(domain=[-1, 0, 1], range=list(DIVERGING))
    corner = {"x": alt.value(0), "y": alt.value(0)}
    picture = base.mark_image(
        width=SIDE_PX, height=SIDE_PX, align="left", baseline="top", aspect=False, smooth=False
    )  # fmt: skip
    return [
        picture.encode(url="url:N", **corner),
        base.mark_point(opacity=0).encode(color=alt.Color("cosine:Q", scale=colours, legend=legend), **corner),
    ]


def _groups(n_genes: int) -> "list[alt.Chart]":
    """Coloured marks of the known groups at the left and at the top."""
    import altair as alt

    marked = (
        alt.Chart(alt.NamedData("genes"))
        .transform_filter("isValid(datum.colour)")
        .transform_calculate(next="datum.place + 1")
    )
    near, far = alt.value(-GAP_PX), alt.value(-GAP_PX - MARK_PX)
    scale, colour = _scale(n_genes), alt.Color("colour:N", scale=None)
    tooltip = [alt.Tooltip("name:N", title="gene"), alt.Tooltip("group:N", title="known group")]
    bars = marked.mark_rect()
    return [
        bars.encode(
            x=far, x2=near, y=alt.Y("place:Q", scale=scale, axis=None), y2="next:Q", color=colour, tooltip=tooltip
        ),
        bars.encode(
            y=far, y2=near, x=alt.X("place:Q", scale=scale, axis=None), x2="next:Q", color=colour, tooltip=tooltip
        ),
    ]


def _names(n_genes: int) -> "list[alt.Chart]":
    import altair as alt

    base = alt.Chart(alt.NamedData("genes")).transform_calculate(centre="datum.place + 0.5")
    beside, scale = alt.value(-2 * GAP_PX - MARK_PX), _scale(n_genes)
    left = base.mark_text(align="right", fontSize=NAME_PX)
    top = base.mark_text(align="left", angle=270, fontSize=NAME_PX)
    return [
        left.encode(x=beside, y=alt.Y("centre:Q", scale=scale, axis=None), text="name:N"),
        top.encode(y=beside, x=alt.X("centre:Q", scale=scale, axis=None), text="name:N"),
    ]


def _cells(n_genes: int) -> "alt.Chart":
    """One transparent mark per pair of genes, with what the mouse shows."""
    import altair as alt

    other = alt.LookupData(data=alt.NamedData("genes"), key="place", fields=["name", "group"])
    cells = (
        alt.Chart(alt.NamedData("genes"))
        .transform_flatten(["cosines"])
        .transform_window(number="row_number()", groupby=["place"])
        .transform_calculate(column="datum.number - 1")
        .transform_lookup(lookup="column", from_=other, as_=["other_name", "other_group"])
        .transform_calculate(
            next="datum.place + 1",
            next_column="datum.column + 1",
            cosine="datum.cosines / 1000",
            its_group="isValid(datum.group) ? datum.group : 'none'",
            others_group="isValid(datum.other_group) ? datum.other_group : 'none'",
        )
    )
    tooltip = [
        alt.Tooltip("name:N", title="gene"),
        alt.Tooltip("other_name:N", title="compared with"),
        alt.Tooltip("cosine:Q", title="cosine", format=".3f"),
        alt.Tooltip("its_group:N", title="its known group"),
        alt.Tooltip("others_group:N", title="the other's group"),
    ]
    scale = _scale(n_genes)
    return cells.mark_rect(color="transparent").encode(
        x=alt.X("column:Q", scale=scale, axis=None),
        x2="next_column:Q",
        y=alt.Y("place:Q", scale=scale, axis=None),
        y2="next:Q",
        tooltip=tooltip,
    )


def _diverging(values: Float[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x 3"]:
    low, middle, high = (np.array([int(name[at : at + 2], 16) for at in (1, 3, 5)], float) for name in DIVERGING)
    share = np.clip(values, -1, 1)[..., None]
    colours = np.where(share < 0, middle + (middle - low) * share, middle + (high - middle) * share)
    return colours.round().astype(np.uint8)


def _png(picture: UInt8[np.ndarray, "y x 3"]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
