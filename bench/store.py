"""Speed of the image store compared with PNG files, with the same two threads, in one run.

Two ratios of speed are measured. Packing (`pack_plates`: read, check, decode, statistics, compress, write, fsync)
is compared with a loop that only reads and decodes the same PNG files; the goal is at least 0.9. Reading all sites from
the store is compared with reading and decoding the PNG files; the goal is at least 4. Rounds alternate, and medians are
compared, of wall time and of CPU time: on a busy machine only the latter means something. `bench/codecs.py` shows where
the time of packing goes. Prints JSON and writes it to bench/results/store.json.
"""

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
from upath import UPath

from cellassets.images.pack import Packed, Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.images.store_spec import StoreSpec
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy
from cellassets.synthetic.presets import demo_design
from cellassets.synthetic.screen import write_screen

RESULT = Path(__file__).parent / "results" / "store.json"
EXPERIMENT = "HUVEC-1"
N_THREADS = 2
N_ROUNDS = 5
BLOCK_SITES = 16
MEASURED = {"full": (512, 1), "full, not compressed": (512, 0), "demo": (192, 1)}  # image size and compression level


def decode_all(paths: list[Path]) -> None:
    """Reads and decodes every file with two threads; pixels are not kept."""
    with ThreadPoolExecutor(N_THREADS) as pool:
        for _ in pool.map(lambda path: imagecodecs.png_decode(path.read_bytes()), paths):
            pass


def read_all(store: ExperimentStore) -> int:
    """Returns the number of sites after reading all of them from the store with two threads."""
    return sum(len(images) for _, images in store.blocks(BLOCK_SITES, n_threads=N_THREADS))


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Returns the wall time and the CPU time of one call, of all threads."""
    started, cpu_started = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - cpu_started


def measure(root: Path, image_size: int, level: int) -> dict[str, float]:
    """Returns the ratios on one simulated experiment, with the store's compression at a level."""
    landing, folder = root / f"landing-{image_size}", UPath(root / f"packed-{image_size}")
    write_screen(demo_design(image_size=image_size), landing, experiment_ids=[EXPERIMENT], n_threads=N_THREADS)
    manifest = check_experiment(UPath(landing), EXPERIMENT, policy=IngestPolicy())
    packing = Packing(UPath(landing / EXPERIMENT), folder, manifest.imaging, StoreSpec(blosc_level=level))
    paths = sorted((landing / EXPERIMENT).rglob("*.png"))
    times: dict[str, list[tuple[float, float]]] = {"decode": [], "pack": [], "read": []}
    packed: list[Packed] = []

    def pack() -> None:
        packed.append(pack_plates(manifest.images, manifest.wells, packing))

    def read() -> None:
        read_all(ExperimentStore.open(folder, packed[-1].files, EXPERIMENT))

    for n_round in range(N_ROUNDS + 1):
        shutil.rmtree(folder.path, ignore_errors=True)
        taken = {"decode": seconds(lambda: decode_all(paths)), "pack": seconds(pack), "read": seconds(read)}
        if n_round:  # the first round fills the file cache and is not counted
            for name, value in taken.items():
                times[name].append(value)
    store = ExperimentStore.open(folder, packed[-1].files, EXPERIMENT)
    median = {name: statistics.median(wall for wall, _ in values) for name, values in times.items()}
    cpu = {name: statistics.median(cpu for _, cpu in values) for name, values in times.items()}
    png_bytes = sum(path.stat().st_size for path in paths)
    stored = packed[-1].summary.n_bytes
    return {
        "image_size": image_size,
        "blosc_level": level,
        "n_sites": store.n_sites,
        "png_decode_sites_per_s": round(store.n_sites / median["decode"], 1),
        "repack_sites_per_s": round(store.n_sites / median["pack"], 1),
        "store_read_sites_per_s": round(store.n_sites / median["read"], 1),
        "repack_to_decode": round(median["decode"] / median["pack"], 2),
        "repack_to_decode_cpu": round(cpu["decode"] / cpu["pack"], 2),
        "read_to_png_decode": round(median["decode"] / median["read"], 2),
        "read_to_png_decode_cpu": round(cpu["decode"] / cpu["read"], 2),
        "store_to_png_bytes": round(stored / png_bytes, 2),
        "mean_grey_level": round(float(np.mean(store.read([0]))), 1),
    }


def main() -> None:
    """Measures images of RxRx1's size and of the demo's size, prints all and writes them to the result file."""
    with tempfile.TemporaryDirectory() as folder:
        measured = {name: measure(Path(folder), size, level) for name, (size, level) in MEASURED.items()}
    result = {"n_threads": N_THREADS, "goals": {"repack_to_decode": 0.9, "read_to_png_decode": 4.0}, **measured}
    text = json.dumps(result, indent=1)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
