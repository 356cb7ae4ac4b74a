"""Images of strong perturbations, each beside a negative control of the same plate.

Which wells to show is decided here; the caller brings a function that reads their sites, since images live in a store
that science does not know.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import UInt, UInt8

from cellassets.benchmarks.registry import Benchmark
from cellassets.errors import CellAssetsError
from cellassets.quality.composite import channel_limits, composite

MAX_SIDE_PX = 256
JPEG_QUALITY = 88
PLATE = ["experiment_id", "plate_id"]


@dataclass(frozen=True, eq=False)
class SiteImage:
    """The image of one site, and a caption that says where it is from."""

    pixels: UInt[np.ndarray, "channel y x"]
    caption: str


@dataclass(frozen=True)
class Example:
    """A strong perturbation and its score, beside a negative control of the same plate."""

    perturbation_id: str
    value: float
    treated: SiteImage
    control: SiteImage


# of wells of one experiment (WELL_EMBEDDINGS rows): one site of each, in their order
ReadSites = Callable[[Sequence[Mapping[str, Any]]], Sequence[SiteImage]]


def unit_scores(scores: pl.DataFrame, chosen: Benchmark) -> pl.DataFrame:
    """Returns the SCORES rows of a benchmark's units, the best value first."""
    rows = scores.filter((pl.col("level") == "perturbation") & (pl.col("metric") == chosen.unit_metric))
    best_first = rows.sort(["q_value", "value"], descending=[False, True])  # of equal values the surer one comes first
    return best_first.sort("value", descending=chosen.is_higher_better, maintain_order=True)


def find_examples(
    wells: pl.DataFrame, strongest: pl.DataFrame, units: Sequence[str], *, read_sites: ReadSites
) -> tuple[Example, ...]:
    """Returns images of the strongest perturbations. A perturbation whose images cannot be read is left out.

    Args:
        wells: WELL_EMBEDDINGS rows of the map.
        strongest: `perturbation_id` and `value`, strongest first.
        units: the perturbation or gene that each well counts as.
        read_sites: reads one site of each of two wells. A CellAssetsError that it raises leaves the example out.
    """
    labelled = wells.with_columns(pl.Series("unit", units))
    found = []
    for name, value in strongest.select("perturbation_id", "value").rows():
        chosen = _example_wells(labelled, name)
        if chosen is None:
            continue
        try:
            treated, control = read_sites(chosen)
        except CellAssetsError:
            continue  # the store was removed or made again since: the report is about the scores
        found.append(Example(name, value, treated, control))
    return tuple(found)


def _example_wells(wells: pl.DataFrame, unit: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The first well of a unit on a plate with negative controls, and the first control of that plate."""
    controls = wells.filter(pl.col("control_kind") == "negative")
    treated = wells.filter(pl.col("unit") == unit).join(controls.select(PLATE).unique(), on=PLATE)
    if treated.is_empty():
        return None
    well = treated.sort(*PLATE, "well_id").row(0, named=True)
    on_plate = controls.filter(*(pl.col(name) == well[name] for name in PLATE)).sort("well_id")
    return well, on_plate.row(0, named=True)


def encoded_pictures(example: Example) -> tuple[str, str]:
    """Returns the centres of both sites as JPEG data URLs, with the same display limits."""
    images = np.stack([example.treated.pixels, example.control.pixels])
    limits = channel_limits(images)
    treated, control = (_jpeg(composite(_centre(site), limits)) for site in images)
    return treated, control


def _centre(site: UInt[np.ndarray, "channel y x"]) -> UInt[np.ndarray, "channel h w"]:
    top, left = (max(0, (side - MAX_SIDE_PX) // 2) for side in site.shape[1:])
    return site[:, top : top + MAX_SIDE_PX, left : left + MAX_SIDE_PX]


def _jpeg(picture: UInt8[np.ndarray, "y x 3"]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
