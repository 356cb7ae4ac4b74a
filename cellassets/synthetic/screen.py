"""Writing a simulated screen into a landing zone, in RxRx1's layout.

The files are `<landing>/<experiment_id>/Plate<n>/<well>_s<site>_w<channel>.png` (8-bit grey), `metadata.csv` beside the
plates, and `_COMPLETE`, which is written last. Images come from `site.py`; `truth.py` writes the planted truth to
another folder.
"""

import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import polars as pl
from jaxtyping import UInt8

from cellassets.errors import ConfigError
from cellassets.progress import Progress, no_progress
from cellassets.synthetic.biology import Biology, plant_biology
from cellassets.synthetic.design import ScreenDesign
from cellassets.synthetic.nuisances import N_CHANNELS, total_conditions
from cellassets.synthetic.plate_map import map_plate, well_place
from cellassets.synthetic.site import Well, render_site
from cellassets.synthetic.textures import texture_bank

COMPLETE_MARKER = "_COMPLETE"
METADATA_NAME = "metadata.csv"
PNG_LEVEL = 1


def write_screen(
    design: ScreenDesign,
    landing: Path,
    *,
    experiment_ids: Sequence[str] | None = None,
    plate_ids: Sequence[str] | None = None,
    n_threads: int = 2,
    progress: Progress = no_progress,
) -> list[Path]:
    """Returns the experiments' folders after writing those that are not complete yet.

    Args:
        design: the screen.
        landing: landing zone, the folder that contains the experiments' folders.
        experiment_ids: experiments to write; None for all of the design. An experiment's content does not depend on
            the other experiments.
        plate_ids: plates to write, for a part of each experiment; None for all of the design.
        n_threads: threads that render and encode; the images do not depend on it.
        progress: called at the end of every well.

    Raises:
        ConfigError: an experiment or a plate is not in the design.
    """
    chosen = _chosen("experiments", experiment_ids, list(design.experiments))
    plates = _chosen("plates", plate_ids, list(design.plate_ids))
    biology = plant_biology(design)
    todo = [experiment_id for experiment_id in chosen if not (landing / experiment_id / COMPLETE_MARKER).is_file()]
    wells = {
        experiment_id: [well for well in experiment_wells(design, biology, experiment_id) if well.plate_id in plates]
        for experiment_id in todo
    }
    n_total, n_done = sum(len(some) for some in wells.values()), 0
    for experiment_id, some in wells.items():
        for _ in _written_wells(design, some, landing / experiment_id, n_threads):
            n_done += 1
            progress(n_done, n_total, "wells in the landing zone")
        _finish(design, some, landing / experiment_id)
    return [landing / experiment_id for experiment_id in chosen]


def _chosen(what: str, wanted: Sequence[str] | None, known: list[str]) -> list[str]:
    """Returns what is wanted of a design; all where nothing is named."""
    chosen = known if wanted is None else list(wanted)
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        message = f"the design has no {what} {unknown}; it has {known}"
        raise ConfigError(message)
    return chosen


def experiment_wells(design: ScreenDesign, biology: Biology, experiment_id: str) -> list[Well]:
    """Returns the wells of an experiment, sorted by plate and well."""
    cell_type = design.experiments[experiment_id]
    wells = []
    for plate_id in design.plate_ids:
        for well_id, perturbation in map_plate(design, biology, experiment_id, plate_id).items():
            conditions = total_conditions(design, experiment_id, plate_id, well_id, place=well_place(well_id))
            wells.append(Well(experiment_id, cell_type, plate_id, well_id, perturbation, conditions))
    return wells


def metadata_table(design: ScreenDesign, wells: Sequence[Well]) -> pl.DataFrame:
    """Returns `metadata.csv` of an experiment, one row per site: RxRx1's columns, then the optional ones."""
    return pl.DataFrame([_metadata_row(well, site) for well in wells for site in _site_indices(design)])


def _metadata_row(well: Well, site: int) -> dict[str, str | int | float | None]:
    perturbation = well.perturbation
    plate = int(well.plate_id.removeprefix("Plate"))
    well_key = f"{well.experiment_id}_{plate}_{well.well_id}"
    return {
        "site_id": f"{well_key}_{site}",
        "well_id": well_key,
        "cell_type": well.cell_type,
        "dataset": "train",
        "experiment": well.experiment_id,
        "plate": plate,
        "well": well.well_id,
        "site": site,
        "well_type": perturbation.well_type,
        "sirna": perturbation.perturbation_id,
        "sirna_id": perturbation.class_index,
        "perturbation_kind": perturbation.perturbation_kind,
        "gene_symbol": perturbation.gene_symbol,
        "guide_id": perturbation.guide_id,
        "compound_id": perturbation.compound_id,
        "concentration_um": perturbation.concentration_um,
    }


def _site_indices(design: ScreenDesign) -> range:
    return range(1, design.n_sites_per_well + 1)


def _written_wells(design: ScreenDesign, wells: Sequence[Well], folder: Path, n_threads: int) -> Iterator[Well]:
    """Yields each well when its images are on disk."""
    for plate_id in {well.plate_id for well in wells}:
        (folder / plate_id).mkdir(parents=True, exist_ok=True)
    texture_bank(design)  # computed and cached here; otherwise every thread would compute its own
    pool = ThreadPoolExecutor(n_threads)
    try:
        futures = [pool.submit(_write_well, design, well, folder) for well in wells]
        for well, future in zip(wells, futures, strict=True):
            future.result()
            yield well
    finally:
        pool.shutdown(cancel_futures=True)  # after a failure, no further well is started


def _write_well(design: ScreenDesign, well: Well, folder: Path) -> None:
    for site in _site_indices(design):
        write_site(render_site(design, well, site), folder / well.plate_id, f"{well.well_id}_s{site}")


def write_site(images: UInt8[np.ndarray, "channel y x"], folder: Path, name: str) -> None:
    """Writes a site's images as `<name>_w<channel>.png`; each file becomes visible when it is complete."""
    for channel, plane in enumerate(images, start=1):
        _write_atomically(folder / f"{name}_w{channel}.png", imagecodecs.png_encode(plane, level=PNG_LEVEL))


def _finish(design: ScreenDesign, wells: Sequence[Well], folder: Path) -> None:
    _write_atomically(folder / METADATA_NAME, metadata_table(design, wells).write_csv().encode())
    n_images = len(wells) * design.n_sites_per_well * N_CHANNELS
    _write_atomically(folder / COMPLETE_MARKER, f"{n_images}\n".encode())


def _write_atomically(path: Path, content: bytes | bytearray) -> None:
    # no fsync: a screen can be simulated again, and 2,000 calls would take longer than the rendering
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
