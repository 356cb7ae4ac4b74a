"""Peak memory of packing a plate of 16-bit sites of 5 channels and 1,080 x 1,080 pixels, for plates of three sizes.

Each plate is packed in a process of its own with two threads. Its peak of resident memory must not grow with the number
of sites. With `--whole` a plate of 384 wells and 9 sites follows, 40 GB of pixels, which takes about ten minutes and 30
GB of disk. Prints JSON and writes it to bench/results/pack_memory.json.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imagecodecs
import numpy as np
import polars as pl
from upath import UPath

from cellassets.images.pack import Packing, pack_plates
from cellassets.images.store_spec import StoreSpec
from cellassets.screens.imaging import Imaging
from cellassets.storage.artifact import describe_content
from cellassets.tables.schemas import WELLS

RESULT = Path(__file__).parent / "results" / "pack_memory.json"
N_CHANNELS, IMAGE_SIZE = 5, 1080
N_SITES = (8, 32, 96)
N_SITES_WHOLE = 384 * 9
CHANNEL_NAMES = tuple(f"stain {number}" for number in range(N_CHANNELS))
N_FILES = 10  # that differ; further sites have the same images


def write_images(folder: Path) -> list[str]:
    """Returns the names of a few images after writing them: noise on a slope, as a camera of 16 bits gives it."""
    rng = np.random.default_rng(0)
    slope = np.linspace(300, 20000, IMAGE_SIZE, dtype=np.float32)[:, None]
    names = [f"{number}.png" for number in range(N_FILES)]
    for name in names:
        image = rng.normal(slope, 60, (IMAGE_SIZE, IMAGE_SIZE)).astype(np.uint16)
        (folder / name).write_bytes(imagecodecs.png_encode(image, level=1))
    return names


def images_table(folder: Path, names: list[str], n_sites: int) -> pl.DataFrame:
    """Returns what packing reads of the manifest of one plate."""
    entries = [describe_content((folder / name).read_bytes(), name) for name in names]
    chosen = [entries[index % len(entries)] for index in range(n_sites * N_CHANNELS)]
    sites = np.repeat(np.arange(n_sites), N_CHANNELS)
    return pl.DataFrame(
        {
            "experiment_id": ["E"] * len(chosen),
            "plate_id": ["Plate1"] * len(chosen),
            "well_id": [f"{'ABCDEFGHIJKLMNOP'[site // 24 % 16]}{site % 24 + 1:02d}" for site in sites],
            "site_index": (sites // 384 + 1).tolist(),
            "channel_index": list(range(N_CHANNELS)) * n_sites,
            "z_index": pl.Series([None] * len(chosen), dtype=pl.Int32),
            "part": pl.Series([None] * len(chosen), dtype=pl.String),
            "path": [entry.name for entry in chosen],
            "n_bytes": [entry.n_bytes for entry in chosen],
            "crc32c": [entry.crc32c for entry in chosen],
            "height": [IMAGE_SIZE] * len(chosen),
            "width": [IMAGE_SIZE] * len(chosen),
            "dtype": ["uint16"] * len(chosen),
            "is_usable": [True] * len(chosen),
        }
    )


def pack(folder: Path, n_sites: int) -> dict[str, float]:
    """Packs one plate in this process and returns its size and this process's peak memory before and after."""
    images = images_table(folder, sorted(path.name for path in folder.glob("*.png")), n_sites)
    wells = WELLS.empty()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with tempfile.TemporaryDirectory(dir=folder) as target:
        packing = Packing(
            UPath(folder), UPath(target), Imaging(channel_names=CHANNEL_NAMES), StoreSpec(shard_sites=8), n_threads=2
        )
        started = time.monotonic()
        pack_plates(images, wells, packing)
        seconds = time.monotonic() - started
        stored = sum(path.stat().st_size for path in Path(target).rglob("*") if path.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "n_sites": n_sites,
        "raw_mib": round(n_sites * N_CHANNELS * IMAGE_SIZE**2 * 2 / 2**20),
        "stored_mib": round(stored / 2**20),
        "before_mib": round(before),
        "peak_mib": round(peak),
        "seconds": round(seconds),
    }


def main() -> None:
    """Measures each size in a process of its own, prints and writes the result file."""
    is_whole = sys.argv[1:] == ["--whole"]
    if len(sys.argv) == 3:
        print(json.dumps(pack(Path(sys.argv[1]), int(sys.argv[2]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder))
        command = [sys.executable, __file__, folder]
        sizes = [*N_SITES, N_SITES_WHOLE] if is_whole else N_SITES
        answers = [subprocess.run([*command, str(n)], check=True, capture_output=True, text=True) for n in sizes]
    site_mib = round(N_CHANNELS * IMAGE_SIZE**2 * 2 / 2**20, 1)
    result = {"site_mib": site_mib, "n_threads": 2, "plates": [json.loads(answer.stdout) for answer in answers]}
    text = json.dumps(result, indent=1)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
