"""How real images and simulated ones look, measured in the same way: is the simulator like a microscope?

Both sides are landing zones: a folder with one folder per experiment, in any layout that the platform reads. Every
experiment is checked and stored as for ingestion, then its negative controls are measured (all wells, if it has none).
The measures do not depend on the camera's scale, and lengths are in diameters of a nucleus, except where a name ends
with `_px` or `_levels`. All sites are cut into tiles that are as many diameters wide as the narrowest site of both
sides. Channels are compared in their order, so both sides have the same stains in the same order.

    python bench/realism.py --real LANDING --simulated LANDING --source OWNER/NAME@COMMIT

Without `--simulated`, three experiments of the study on learning (configs/studies/learning/design.yaml) are simulated.
Prints a table of the range over the real experiments and over the simulated ones, and keeps every experiment's figures
in bench/results/realism.json. `realism_ranking.py` ranks methods on both sides.
"""

import argparse
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import ndimage
from upath import UPath

from cellassets.configuration import load_yaml
from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.quality.grey_scale import GreyScale
from cellassets.quality.inspect import nucleus_channel
from cellassets.quality.measures import illumination_cv, power_slope
from cellassets.quality.nuclei import segment_nuclei
from cellassets.quality.nucleus_size import nucleus_size
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy
from cellassets.synthetic.design import ScreenDesign
from cellassets.synthetic.screen import write_screen
from cellassets.tables.parquet import vectors

RESULT = Path(__file__).parent / "results" / "realism.json"
STUDY = Path(__file__).parents[1] / "configs" / "studies" / "learning"
STUDIED = ("HUVEC-1", "HUVEC-2", "U2OS-1")
BACKGROUND, BRIGHT = 5.0, 99.0
SLOPE_RANGE = (0.5, 4.0)  # cycles per diameter of a nucleus
COARSE, FINE = 0.5, 2.0  # the same: larger than two nuclei, smaller than half a nucleus
N_RINGS = 12
AREA_DIAMETERS = 10.0  # nuclei are counted per square of this side
MIN_NUCLEI = 5
Measures = dict[str, float]
Row = dict[str, Any]


def opened_stores(landing: Path, work: Path) -> list[ExperimentStore]:
    """Returns the stores of all experiments of a landing zone, after packing them into `work`.

    Raises:
        LayoutError: a folder is in no layout that the platform reads.
        PlateRefused: an experiment lacks too many images.
    """
    stores = []
    for folder in sorted(path for path in landing.iterdir() if path.is_dir()):
        manifest = check_experiment(UPath(landing), folder.name, policy=IngestPolicy())
        packing = Packing(
            UPath(folder), UPath(work / "stores" / landing.resolve().name / folder.name), manifest.imaging
        )
        packed = pack_plates(manifest.images, manifest.wells, packing)
        stores.append(ExperimentStore.open(packing.target, packed.files, folder.name))
    if not stores:
        raise SystemExit(f"{landing}: no experiment in it; expected one folder per experiment")
    return stores


def channel_measures(image: np.ndarray, diameter_px: float, scale: GreyScale) -> Measures:
    """Returns how one image of one channel looks.

    Args:
        image: grey levels.
        diameter_px: diameter of a typical nucleus.
        scale: where the grey levels end.
    """
    levels = scale.in_8_bit_levels(image)
    low, middle, upper, bright, brightest = np.percentile(levels, (BACKGROUND, 50, 90, BRIGHT, 99.9))
    signal = max(float(bright - low), 1.0)
    return {
        "bright_levels": float(bright),
        "background": float(low / max(bright, 1.0)),
        "median": float((middle - low) / signal),
        "p90": float((upper - low) / signal),
        "p99.9": float((brightest - low) / signal),
        "noise": pixel_noise(levels) / signal,
        "uneven_background": illumination_cv(image, unit=scale.unit),
        "focus_px": power_slope(levels),
        **power_measures(levels, diameter_px),
    }


def pixel_noise(levels: np.ndarray) -> float:
    """Returns the standard deviation of noise between neighbouring pixels, in the unit of the image.

    The finest detail of the cells counts as noise, too.

    Source: Immerkaer (1996), Computer Vision and Image Understanding 64:300.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    filtered = ndimage.convolve(levels.astype(np.float32), kernel, mode="nearest")
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(filtered).mean())


def power_measures(levels: np.ndarray, diameter_px: float) -> Measures:
    """Returns the slope of the power spectrum, and the shares of its power in coarse, middle and fine detail.

    Frequencies are in cycles per diameter of a nucleus. Coarse detail is larger than two nuclei, fine detail smaller
    than half a nucleus. The slope is that of log power over log frequency from 0.5 to 4 cycles.
    """
    pixels = levels.astype(np.float32) - np.float32(levels.mean())
    pixels *= np.hanning(pixels.shape[0])[:, None].astype(np.float32)
    pixels *= np.hanning(pixels.shape[1])[None].astype(np.float32)
    power = np.abs(np.fft.rfft2(pixels)) ** 2
    power[:, 1:-1] *= 2  # the other half of the spectrum
    counts = np.full(power.shape, 2.0)
    counts[:, [0, -1]] = 1.0
    frequency = np.hypot(np.fft.fftfreq(levels.shape[0])[:, None], np.fft.rfftfreq(levels.shape[1])[None]) * diameter_px
    total = max(float(power.sum()), 1e-12)
    edges = np.geomspace(*SLOPE_RANGE, N_RINGS + 1)
    ring = np.searchsorted(edges, frequency, side="right").ravel() - 1
    inside = (ring >= 0) & (ring < N_RINGS)
    sums, n = (np.bincount(ring[inside], some.ravel()[inside], minlength=N_RINGS) for some in (power, counts))
    used = (n > 0) & (sums > 0)
    centres = np.log(np.sqrt(edges[1:] * edges[:-1]))
    slope = float(np.polyfit(centres[used], np.log(sums[used] / n[used]), 1)[0]) if used.sum() > 2 else float("nan")
    coarse, fine = float(power[frequency < COARSE].sum() / total), float(power[frequency >= FINE].sum() / total)
    return {"spectrum_slope": slope, "coarse": coarse, "middle": 1 - coarse - fine, "fine": fine}


def nucleus_measures(image: np.ndarray, diameter_px: float, scale: GreyScale) -> Measures:
    """Returns how many nuclei a field has, how large they are and how different; nan where there are fewer than 5."""
    levels = scale.in_8_bit_levels(image)
    labels = segment_nuclei(levels, diameter_px)
    areas = np.bincount(labels.ravel())[1:]
    n_nuclei = int((areas > 0).sum())
    density = n_nuclei * (AREA_DIAMETERS * diameter_px) ** 2 / image.size
    found: Measures = {"n_nuclei": float(n_nuclei), "nuclei_density": density}
    if n_nuclei < MIN_NUCLEI:
        return found | dict.fromkeys(("nuclei_cover", "nucleus_area_cv", "nucleus_brightness_cv"), float("nan"))
    brightness = np.asarray(ndimage.mean(levels, labels, np.flatnonzero(areas) + 1)) - np.percentile(levels, BACKGROUND)
    some = areas[areas > 0]
    return found | {
        "nuclei_cover": float(areas.sum() / image.size),
        "nucleus_area_cv": float(some.std() / some.mean()),
        "nucleus_brightness_cv": float(brightness.std() / max(brightness.mean(), 1e-6)),
    }


@dataclass(frozen=True)
class Experiment:
    """The images of an experiment, with what is to be known to measure them.

    Attributes:
        store: the images.
        nucleus_channel: number of the channel with the DNA stain, from 0.
        diameter_px: diameter of a typical nucleus.
    """

    store: ExperimentStore
    nucleus_channel: int
    diameter_px: float

    @classmethod
    def of(cls, store: ExperimentStore) -> "Experiment":
        """Returns a stored experiment, with the size of its nuclei estimated."""
        channel = nucleus_channel(store, None, settings="experiment.yaml")
        return cls(store, channel, nucleus_size(store, channel, diameter_um=None, diameter_px=None).diameter_px)

    @property
    def width(self) -> float:
        """The shorter side of a site in diameters of a nucleus."""
        return min(self.store.height, self.store.width) / self.diameter_px


def measured(experiment: Experiment, width: float, *, n_sites: int = 64, n_channels: int | None = None) -> Row:
    """Returns the measures of an experiment: medians over tiles of its negative controls, by channel, pair and field.

    Args:
        experiment: the images.
        width: side of a tile, in diameters of a nucleus.
        n_sites: how many sites are measured at most, spread evenly.
        n_channels: how many channels are measured, from the first one on; None for all.
    """
    store, diameter_px, dna = experiment.store, experiment.diameter_px, experiment.nucleus_channel
    controls = control_rows(store)
    chosen = controls[np.unique(np.linspace(0, len(controls) - 1, min(n_sites, len(controls))).astype(int))]
    scale = GreyScale.of(store.dtype, store.imaging.top_grey_level)
    names = store.channel_names[:n_channels]
    tiles = [tile for site in store.read(chosen) for tile in tiles_of(site[: len(names)], int(width * diameter_px))]
    channels = [[channel_measures(image, diameter_px, scale) for image in tile] for tile in tiles]
    corr = np.median([np.corrcoef(tile.reshape(len(tile), -1).astype(np.float32)) for tile in tiles], axis=0)
    pairs = combinations(range(len(names)), 2)
    return {
        "experiment": store.experiment_id,
        "n_sites": len(chosen),
        "n_tiles": len(tiles),
        "n_wells": store.sites[chosen].select("plate_id", "well_id").n_unique(),
        "n_plates": store.sites[chosen]["plate_id"].n_unique(),
        "site_px": [store.height, store.width],
        "tile_diameters": round(width, 2),
        "nucleus_diameter_px": round(diameter_px, 2),
        "channels": {name: _median([tile[number] for tile in channels]) for number, name in enumerate(names)},
        "pairs": {f"{names[a]} - {names[b]}": round(float(corr[a, b]), 4) for a, b in pairs},
        "nuclei": _median([nucleus_measures(tile[dna], diameter_px, scale) for tile in tiles]),
        "variation": variation(store, controls, n_channels),
    }


def tiles_of(site: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """Yields the squares of a site that do not overlap: `[channel, y, x]`."""
    for y in range(0, site.shape[1] - side + 1, side):
        for x in range(0, site.shape[2] - side + 1, side):
            yield site[:, y : y + side, x : x + side]


def control_rows(store: ExperimentStore) -> np.ndarray:
    """Returns the rows of the sites of negative controls, or of all sites if there are none."""
    key = ["experiment_id", "plate_id", "well_id"]
    kinds = store.sites.select(key).join(
        store.wells.select(*key, "control_kind"), on=key, how="left", maintain_order="left"
    )
    rows = np.flatnonzero((kinds["control_kind"] == "negative").fill_null(value=False).to_numpy())
    return rows if len(rows) else np.arange(store.n_sites)


def variation(store: ExperimentStore, rows: np.ndarray, n_channels: int | None = None) -> dict[str, float | None]:
    """Returns how much the mean brightness of channels differs between sites of a well, and between wells.

    Both are standard deviations of the natural logarithm, averaged over the channels, so 0.1 is about 10%. That between
    wells has the part removed that comes from measuring few sites. `well_share` is the share of the variance that the
    well, with its plate, explains. None where no well has two sites, or there is one well.
    """
    mean = np.log(np.maximum(vectors(store.sites[rows], "channel_mean")[:, :n_channels], 0.5))
    key = (
        store.sites[rows].select(pl.struct("plate_id", "well_id").rank("dense")).to_series().to_numpy().astype(int) - 1
    )
    n = np.bincount(key)
    means = np.stack([np.bincount(key, column) / n for column in mean.T], axis=1)
    n_free = len(rows) - len(n)
    within = ((mean - means[key]) ** 2).sum(axis=0) / n_free if n_free else None
    if len(n) < 2:
        between = None
    else:
        between = means.var(axis=0, ddof=1)
        between = between if within is None else np.maximum(between - within * (1 / n).mean(), 0)
    share = None if within is None or between is None else float((between / np.maximum(between + within, 1e-12)).mean())
    deviations = [None if some is None else float(np.sqrt(some).mean()) for some in (within, between)]
    found = {"between_sites_of_a_well": deviations[0], "between_wells": deviations[1], "well_share": share}
    return {name: None if value is None else round(value, 4) for name, value in found.items()}


def _median(rows: Sequence[Measures]) -> dict[str, Any]:
    """The median of each measure, without those that are nan."""
    table = {name: [row[name] for row in rows if np.isfinite(row[name])] for name in rows[0]}
    return {name: round(float(np.median(values)), 4) for name, values in table.items() if values}


def flat(row: Row) -> Measures:
    """Returns the measures of an experiment by one name each, such as `2 spectrum_slope` for the second channel."""
    found = {f"nuclei: {name}": value for name, value in row["nuclei"].items()}
    found |= {f"variation: {name}": value for name, value in row["variation"].items() if value is not None}
    for number, channel in enumerate(row["channels"].values(), start=1):
        found |= {f"channel {number}: {name}": value for name, value in channel.items()}
    for (a, b), value in zip(combinations(range(1, len(row["channels"]) + 1), 2), row["pairs"].values(), strict=True):
        found[f"correlation {a} - {b}"] = value
    return found


def compared(real: Sequence[Row], simulated: Sequence[Row]) -> list[Row]:
    """Returns one row per measure: its range on both sides, the ratio of the medians, and whether the ranges overlap.

    Args:
        real: rows of `measured`.
        simulated: the same of the other side.

    Raises:
        SystemExit: the experiments have different numbers of channels.
    """
    n_channels = {len(row["channels"]) for row in (*real, *simulated)}
    if len(n_channels) > 1:
        raise SystemExit(f"experiments have {sorted(n_channels)} channels: compare the same stains, with --channels")
    sides = [[flat(row) for row in rows] for rows in (real, simulated)]
    names = [name for name in sides[0][0] if all(any(name in row for row in side) for side in sides)]
    return [_row(name, *([row[name] for row in side if name in row] for side in sides)) for name in names]


def _row(name: str, real: Sequence[float], simulated: Sequence[float]) -> Row:
    centre, other = float(np.median(real)), float(np.median(simulated))
    return {
        "measure": name,
        "real": [round(float(some), 4) for some in (min(real), centre, max(real))],
        "simulated": [round(float(some), 4) for some in (min(simulated), other, max(simulated))],
        "ratio": round(other / centre, 3) if centre else None,
        "is_alike": bool(min(simulated) <= max(real) and max(simulated) >= min(real)),
    }


def keep(part: str, value: Any) -> None:
    """Writes one part of the result file and leaves the others."""
    RESULT.parent.mkdir(exist_ok=True)
    found = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    text = json.dumps(found | {part: value}, indent=1)
    one_line = re.sub(r"\[\s+([^\[\]{}]+?)\s+\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    RESULT.write_text(one_line + "\n")


def main() -> None:
    """Measures both sides, prints the table and keeps it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="landing zone with real experiments")
    parser.add_argument("--simulated", type=Path, help="landing zone with simulated experiments")
    parser.add_argument("--work", type=Path, help="folder for the stores (default: a temporary one)")
    parser.add_argument("--sites", type=int, default=64, help="sites per experiment, at most (default: 64)")
    parser.add_argument("--channels", type=int, help="compare this many channels only, from the first one on")
    parser.add_argument("--part", default="appearance", help="name in the result file (default: appearance)")
    parser.add_argument("--source", action="append", default=[], help="where the real images come from")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = chosen.work or Path(temporary)
        simulated = chosen.simulated
        if simulated is None:
            simulated = work / "simulated_landing"
            write_screen(load_yaml(UPath(STUDY / "design.yaml"), ScreenDesign), simulated, experiment_ids=STUDIED)
        opened = [[Experiment.of(one) for one in opened_stores(zone, work)] for zone in (chosen.real, simulated)]
        width = min(one.width for side in opened for one in side)
        limits = {"n_sites": chosen.sites, "n_channels": chosen.channels}
        sides = [[measured(one, width, **limits) for one in side] for side in opened]
    rows = compared(*sides)
    keep(chosen.part, {"sources": chosen.source, "compared": rows, "real": sides[0], "simulated": sides[1]})
    print("| measure | real | simulated | |\n| --- | --- | --- | --- |")
    for row in rows:
        cells = [" / ".join(f"{value:.3g}" for value in row[side]) for side in ("real", "simulated")]
        print(f"| {row['measure']} | {cells[0]} | {cells[1]} | {'' if row['is_alike'] else 'differs'} |")


if __name__ == "__main__":
    main()
