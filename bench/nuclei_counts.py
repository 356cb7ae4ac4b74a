"""Nuclei that plate quality finds in real fields by default, compared with published outlines and with another method.

Fields: a JUMP plate (1,080 x 1,080 pixels, published outlines of nuclei) and an NF1 plate (904 x 1,224 pixels,
published masks) from the test data of cytomining/CytoDataFrame. The published nuclei are CellProfiler's, without those
that touch the edge of the image, so ours are counted in the same way; `n_with_edge` is what plate quality reports. A
published nucleus is found where exactly one of our nuclei has its centre in it. The other method is a watershed of the
distance to the background, with nuclei of at least a quarter of the usual area.

    python bench/nuclei_counts.py FOLDER

The diameter is estimated per plate, as `inspect_store` does. Prints JSON and writes it to
bench/results/nuclei_counts.json.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_li
from skimage.measure import label
from skimage.segmentation import clear_border, watershed

from cellassets.quality.grey_scale import GreyScale
from cellassets.quality.nuclei import find_nuclei, segment_nuclei
from cellassets.quality.nucleus_size import estimated_diameter

RESULT = Path(__file__).parent / "results" / "nuclei_counts.json"
TABLES = "cytomining+CytoDataFrame/tests/data/cytotable"
MAX_NUCLEUS_PX = 5000  # of JUMP; larger areas between outlines are background
ROUNDING = 3


@dataclass(frozen=True)
class Field:
    """One image of the DNA channel, and its published nuclei: one number per pixel, 0 outside."""

    plate: str
    name: str
    image: np.ndarray
    published: np.ndarray


def jump_fields(folder: Path) -> Iterator[Field]:
    """Yields the field of the JUMP plate; the areas within its outlines are nuclei."""
    plate = folder / TABLES / "JUMP_plate_BR00117006" / "images"
    name = "r01c01f01p01-ch5sk1fk1fl1"
    outlines = imagecodecs.png_decode((plate / "outlines" / f"{name}_nuclei_outlines.png").read_bytes())
    areas, _ = ndimage.label(outlines == 0)
    sizes = np.bincount(areas.ravel())
    areas[sizes[areas] > MAX_NUCLEUS_PX] = 0
    yield Field("JUMP BR00117006", name, tifffile.imread(plate / "orig" / f"{name}.tiff"), areas)


def nf1_fields(folder: Path) -> Iterator[Field]:
    """Yields the fields of the NF1 plate."""
    plate = folder / TABLES / "NF1_cellpainting_data_shrunken"
    for path in sorted((plate / "Plate_2_images").glob("*_1_*_DAPI_001.tif")):
        mask = tifffile.imread(plate / "Plate_2_masks" / f"{path.stem}_MaskNuclei.tiff")
        yield Field("NF1 Plate_2", path.stem, tifffile.imread(path), label(mask > 0))


def real_fields(folder: Path) -> list[Field]:
    """Returns the fields of both plates.

    Args:
        folder: where cytomining+CytoDataFrame lies.
    """
    return [*jump_fields(folder), *nf1_fields(folder)]


def counts(fields: list[Field]) -> list[dict[str, str | int | float]]:
    """Returns one row per field: our count, the published one, that of the other method, and how well they agree."""
    rows = []
    for plate in dict.fromkeys(field.plate for field in fields):
        of_plate = [field for field in fields if field.plate == plate]
        levels = [GreyScale.of(field.image.dtype, None).in_8_bit_levels(field.image) for field in of_plate]
        diameter_px = estimated_diameter(levels)
        if diameter_px is None:
            raise SystemExit(f"{plate}: no nucleus in {len(levels)} images")
        rows += [_row(field, image, diameter_px) for field, image in zip(of_plate, levels, strict=True)]
    return rows


def _row(field: Field, image: np.ndarray, diameter_px: float) -> dict[str, str | int | float]:
    labels = clear_border(segment_nuclei(image, diameter_px))
    n_nuclei, n_published = _n_objects(labels), _n_objects(field.published)
    centres = find_nuclei(image, diameter_px).centres
    hits = np.bincount(field.published[tuple(centres.T)], minlength=field.published.max() + 1)
    published_diameter = np.sqrt(4 / np.pi * np.median([n for n in np.bincount(field.published.ravel())[1:] if n]))
    return {
        "plate": field.plate,
        "field": field.name,
        "diameter_px": round(diameter_px, 1),
        "published_median_diameter_px": round(float(published_diameter), 1),
        "n_with_edge": len(centres),
        "n_nuclei": n_nuclei,
        "n_published": n_published,
        "n_other_method": other_method(field.image, diameter_px),
        "to_published": round(n_nuclei / n_published, ROUNDING),
        "published_found_once_frac": round(float((hits[1:] == 1).sum() / n_published), ROUNDING),
    }


def other_method(image: np.ndarray, diameter_px: float) -> int:
    """Returns the number of nuclei inside an image by Li's threshold and a watershed of the distance to the background.

    Args:
        image: grey levels.
        diameter_px: diameter of a typical nucleus, for the smallest area only.
    """
    smooth = ndimage.gaussian_filter(np.log(image.astype(np.float32) + 1), 1)
    mask = ndimage.binary_fill_holes(smooth > threshold_li(smooth[::2, ::2]))
    mask = ndimage.binary_opening(mask, iterations=2)
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 2)
    peaks = peak_local_max(distance, min_distance=5, labels=label(mask))
    markers = np.zeros(image.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    nuclei = clear_border(watershed(-distance, markers, mask=mask))
    return int((np.bincount(nuclei.ravel())[1:] >= np.pi / 4 * diameter_px**2 / 4).sum())


def _n_objects(labels: np.ndarray) -> int:
    return int((np.unique(labels) > 0).sum())


def main() -> None:
    """Counts, prints and keeps the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where cytomining+CytoDataFrame lies")
    rows = counts(real_fields(parser.parse_args().folder))
    total = {name: sum(int(row[name]) for row in rows) for name in ("n_nuclei", "n_published", "n_other_method")}
    text = json.dumps({"goal_to_published": [0.9, 1.1], "fields": rows, "all": total}, indent=1)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
