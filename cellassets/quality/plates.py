"""What people see of the quality of a plate: a page of heat maps with the flagged wells, and a contact sheet.

A store and its QUALITY table come in, encoded pictures go out; `pictures.py` draws them.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
from jaxtyping import UInt, UInt8

from cellassets.images.reader import ExperimentStore
from cellassets.quality.composite import channel_limits, composite
from cellassets.quality.drawing import PlateGrid, plate_grid
from cellassets.quality.pictures import Flags, Heading, Panel, contact_sheet, heat_maps

N_SITES_FOR_LIMITS = 48
THUMBNAIL_PX = 120
# what each panel shows, and by how much the column is multiplied for it
SHOWN = {
    "focus": ("Focus: slope of the power spectrum (lower is blurrier)", 1),
    "n_nuclei": ("Nuclei per site", 1),
    "saturation_frac": ("Saturated pixels in the worst channel (% of pixels)", 100),
    "background": ("Background, mean of the channels (grey levels)", 1),
    "illumination": ("Uneven illumination (variation of the background in %)", 100),
    "debris_frac": ("Debris: bright areas larger than nuclei (% of pixels)", 100),
}
# Source of the colours: Okabe and Ito (2008), Color Universal Design. The first reason of a well gives its colour.
REASONS = {
    "no cells": ((86, 180, 233), "no nucleus was found"),
    "out of focus": ((0, 114, 178), "much blurrier than the plate"),
    "debris": ((0, 158, 115), "large bright areas in the DNA channel"),
    "saturated": ((213, 94, 0), "many pixels at the camera's highest level"),
    "background": ((230, 159, 0), "much brighter or darker than the plate"),
    "uneven illumination": ((204, 121, 167), "brightness changes across the field"),
}


def plate_pictures(store: ExperimentStore, quality: pl.DataFrame) -> Iterator[tuple[str, bytes]]:
    """Yields file name and content of a page of heat maps and a contact sheet per plate.

    Args:
        store: the repacked images of one experiment.
        quality: its QUALITY table.
    """
    for (plate_id,), sites in quality.group_by("plate_id", maintain_order=True):
        wells = sites.group_by("well_id", maintain_order=True).agg(
            *(pl.col(name).cast(pl.Float64).mean() * factor for name, (_, factor) in SHOWN.items()),
            pl.col("flag_reason").drop_nulls().str.join(";"),
        )
        grid, flags = plate_grid(wells["well_id"].to_list()), _flags(wells, sites)
        heading = _heading(store, str(plate_id), sites)
        panels = [Panel(title, wells[name].to_numpy()) for name, (title, _) in SHOWN.items()]
        yield f"heatmap_{plate_id}.png", heat_maps(grid, heading, panels, flags)
        yield f"contact_{plate_id}.jpg", _contact_sheet(store, str(plate_id), grid, flags)


def _flags(wells: pl.DataFrame, sites: pl.DataFrame) -> Flags:
    of_wells = [set(reasons.split(";")) for reasons in wells["flag_reason"]]
    main = [next((name for name in REASONS if name in reasons), None) for reasons in of_wells]
    legend = {}
    for name, (colour, meaning) in REASONS.items():
        n_sites = sites.filter(pl.col("flag_reason").str.split(";").list.contains(name)).height
        if n_sites:
            n_wells = sum(name in reasons for reasons in of_wells)
            legend[f"{name}: {_counted(n_sites, 'site')} in {_counted(n_wells, 'well')} ({meaning})"] = colour
    return Flags([None if name is None else REASONS[name][0] for name in main], legend)


def _heading(store: ExperimentStore, plate_id: str, sites: pl.DataFrame) -> Heading:
    n_flagged = int(sites["is_flagged"].sum())
    found = f"{n_flagged:,} of {_counted(sites.height, 'site')} flagged" if n_flagged else "no site is flagged"
    n_wells = sites["well_id"].n_unique()
    return Heading(
        f"{store.experiment_id}, plate {plate_id}: {found}",
        f"{_counted(n_wells, 'well')}, {_counted(sites.height, 'site')}; values are means over the sites of a well; "
        "grey: not imaged; frames: wells with flagged sites",
    )


def _counted(n: int, thing: str) -> str:
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def _contact_sheet(store: ExperimentStore, plate_id: str, grid: PlateGrid, flags: Flags) -> bytes:
    dna = store.imaging.dna_index or 0
    order = [dna, *(channel for channel in range(store.n_channels) if channel != dna)]
    names = ("blue", "green", "red", "cyan", "magenta", "yellow")
    colours = ", ".join(f"{store.channel_names[at]} {names[n % len(names)]}" for n, at in enumerate(order))
    heading = Heading(
        f"{store.experiment_id}, plate {plate_id}: the first site of each well",
        f"{colours}; same brightness in all wells; frames: wells with flagged sites",
    )
    return contact_sheet(grid, heading, _thumbnails(store, plate_id, order), flags)


def _thumbnails(store: ExperimentStore, plate_id: str, order: list[int]) -> list[UInt8[np.ndarray, "y x 3"]]:
    """Returns a small composite of the first site of each well, all with the same display limits."""
    places = store.sites.with_row_index("index").filter(pl.col("plate_id") == plate_id)
    indices = places.group_by("well_id", maintain_order=True).first()["index"].to_numpy()
    shrink = max(1, min(store.height, store.width) // THUMBNAIL_PX)
    small = [_shrunk(images[0], shrink)[order] for _, images in store.blocks(1, indices=indices, n_ahead=1)]
    limits = channel_limits(np.stack(small[:: max(1, len(small) // N_SITES_FOR_LIMITS)]))
    return [composite(site, limits) for site in small]


def _shrunk(images: UInt[np.ndarray, "channel y x"], side: int) -> UInt[np.ndarray, "channel h w"]:
    """Means of squares of pixels."""
    height, width = (length // side for length in images.shape[1:])
    blocks = images[:, : height * side, : width * side].reshape(len(images), height, side, width, side)
    return blocks.mean(axis=(2, 4), dtype=np.float32).astype(images.dtype)
