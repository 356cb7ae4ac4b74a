"""Time of exporting a plate as OME-Zarr, relative to writing the same with ome-zarr-py's own writer.

One simulated plate of 384 wells with one site of 512 x 512 pixels and 6 channels each. Both sides read the same store
and write plate, wells and images with the same chunks and the same number of levels by local means. `export_ome_zarr`
also computes contrast limits, flushes the disk and renames the result; ome-zarr-py uses its defaults otherwise. Rounds
alternate, and medians are compared. Prints JSON and writes it to bench/results/export_ome_zarr.json.
"""

import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import zarr
from ome_zarr.scale import Methods
from ome_zarr.writer import write_image, write_plate_metadata, write_well_metadata
from upath import UPath

from cellassets.exporting.ome_metadata import well_path
from cellassets.exporting.ome_zarr import export_ome_zarr
from cellassets.exporting.pyramid import pyramid
from cellassets.exporting.selection import STORE_INDEX, Place, selected_sites
from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy
from cellassets.synthetic.presets import demo_design
from cellassets.synthetic.screen import write_screen

RESULT = Path(__file__).parent / "results" / "export_ome_zarr.json"
EXPERIMENT, PLATE = "HUVEC-1", "Plate1"
N_ROUNDS = 3
ROWS, COLUMNS = "ABCDEFGHIJKLMNOP", [f"{column:02d}" for column in range(1, 25)]


def simulated_store(root: Path) -> ExperimentStore:
    """Returns the store of one plate with 384 wells."""
    design = demo_design(
        image_size=512, n_rows=16, n_columns=24, n_plates_per_experiment=1, n_sites_per_well=1, n_negative_controls=252
    )
    landing, folder = root / "landing", UPath(root / "packed")
    write_screen(design, landing, experiment_ids=[EXPERIMENT], n_threads=2)
    manifest = check_experiment(UPath(landing), EXPERIMENT, policy=IngestPolicy())
    packed = pack_plates(
        manifest.images, manifest.wells, Packing(UPath(landing / EXPERIMENT), folder, manifest.imaging)
    )
    return ExperimentStore.open(folder, packed.files, EXPERIMENT)


def write_with_ome_zarr_py(store: ExperimentStore, target: Path) -> None:
    """Writes the plate as the documentation of ome-zarr-py shows it, site after site."""
    root = zarr.open_group(str(target), mode="w", zarr_format=3)
    sites = selected_sites(store, Place(PLATE))
    paths = [well_path(well) for well in sites["well_id"].unique(maintain_order=True)]
    write_plate_metadata(root, list(ROWS), COLUMNS, paths)
    factors = [2**level for level in range(1, len(pyramid(store.read([0])[0])))]
    for path, index, site in zip(paths, sites[STORE_INDEX], sites["site_index"], strict=True):
        well = root.require_group(path)
        write_well_metadata(well, [str(site)])
        write_image(
            store.read([index])[0],
            well.require_group(str(site)),
            scale_factors=factors,
            method=Methods.LOCAL_MEAN,
            axes=["c", "y", "x"],
            storage_options={"chunks": (1, store.height, store.width)},
        )


def main() -> None:
    """Measures both writers, prints the ratio and writes it to the result file."""
    times: dict[str, list[float]] = {"cellassets": [], "ome_zarr_py": []}
    sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        store = simulated_store(Path(folder))
        writers = {
            "cellassets": lambda target: export_ome_zarr(store, Place(PLATE), target, source={}),
            "ome_zarr_py": lambda target: write_with_ome_zarr_py(store, target),
        }
        for _ in range(N_ROUNDS):
            for name, write in writers.items():
                target = Path(folder) / f"{name}.ome.zarr"
                started = time.perf_counter()
                write(target)
                times[name].append(time.perf_counter() - started)
                files = [path for path in target.rglob("*") if path.is_file()]
                sizes[name] = {"n_files": len(files), "n_bytes": sum(path.stat().st_size for path in files)}
                shutil.rmtree(target)
    median = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "n_sites": store.n_sites,
        "image_size": store.height,
        "n_rounds": N_ROUNDS,
        "cellassets_s": round(median["cellassets"], 1),
        "ome_zarr_py_s": round(median["ome_zarr_py"], 1),
        "time_relative_to_ome_zarr_py": round(median["cellassets"] / median["ome_zarr_py"], 2),
        "written": sizes,
    }
    text = json.dumps(result, indent=1)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
