"""Cost of plate quality: processor time per site and the peak of memory.

Time: `measure_site` compared with the same measures by plain calls of numpy and scikit-image (references/quality.py),
and with the decoding of the site from the store, on sites of 1,080 x 1,080 pixels and 6 channels, in 8 and in 16 bits.
Rounds alternate and the fastest is kept. Both sides must agree. Memory: the peak of a process of its own that inspects
a store of sites of 2,160 x 2,160 pixels, 5 channels and 16 bits; the goal is 1 GiB.

    python bench/quality.py [--sites 24]

Prints JSON and writes it to bench/results/quality.json.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import imagecodecs
import numpy as np
from references.quality import reference_site
from upath import UPath

from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.quality.grey_scale import GreyScale
from cellassets.quality.inspect import inspect_store
from cellassets.quality.measures import measure_site, quality_row
from cellassets.quality.parameters import QualityParameters
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy
from cellassets.synthetic.presets import demo_design
from cellassets.synthetic.screen import write_screen

RESULT = Path(__file__).parent / "results" / "quality.json"
EXPERIMENT = "HUVEC-1"
TILE_PX, DIAMETER_PX = 512, 27.0
N_ROUNDS = 5
STEP_16_BIT = 16  # from 8 bits to 12
MIB = 1 << 20


def tiles(folder: Path, n_sites: int) -> np.ndarray:
    """Returns simulated sites, `[site, channel, y, x]`."""
    design = demo_design(image_size=TILE_PX)
    write_screen(design, folder, experiment_ids=[EXPERIMENT])
    names = sorted({path.name.rsplit("_w", 1)[0] for path in (folder / EXPERIMENT / "Plate1").glob("*.png")})[:n_sites]
    return np.stack(
        [
            [
                imagecodecs.png_decode((folder / EXPERIMENT / "Plate1" / f"{name}_w{channel}.png").read_bytes())
                for channel in range(1, 7)
            ]
            for name in names
        ]
    )


def enlarged(tile: np.ndarray, side: int, *, bits: int, seed: int) -> np.ndarray:
    """Returns a tile repeated to a larger site; one of 16 bits has 12 bits of levels, the lowest four at random."""
    n = -(-side // tile.shape[1])
    whole = np.tile(tile, (1, n, n))[:, :side, :side]
    if bits == 8:
        return np.ascontiguousarray(whole)
    noise = np.random.default_rng(seed).integers(0, STEP_16_BIT, whole.shape, dtype=np.uint16)
    return whole.astype(np.uint16) * STEP_16_BIT + noise


def landed(folder: Path, sites: list[np.ndarray]) -> ExperimentStore:
    """Returns the store of one plate of sites, one site per well of the first rows."""
    plate = folder / EXPERIMENT / "Plate1"
    plate.mkdir(parents=True)
    wells = [f"{'ABCDEFGH'[n // 12]}{n % 12 + 1:02d}" for n in range(len(sites))]
    lines = ["site_id,well_id,cell_type,dataset,experiment,plate,well,site,well_type,sirna,sirna_id"]
    for well, images in zip(wells, sites, strict=True):
        row = f"HUVEC,train,{EXPERIMENT},1,{well},1,treatment,s1,1"
        lines.append(f"{EXPERIMENT}_1_{well}_1,{EXPERIMENT}_1_{well},{row}")
        for channel, image in enumerate(images, start=1):
            (plate / f"{well}_s1_w{channel}.png").write_bytes(imagecodecs.png_encode(image, level=1))
    (folder / EXPERIMENT / "metadata.csv").write_text("\n".join(lines) + "\n")
    names = ("Hoechst", "ConA", "Phalloidin", "SYTO14", "MitoTracker", "WGA")[: len(sites[0])]
    channels = [{"key": str(number), "name": name} for number, name in enumerate(names, start=1)]
    (folder / EXPERIMENT / "experiment.yaml").write_text(json.dumps({"channels": channels}))
    manifest = check_experiment(UPath(folder), EXPERIMENT, policy=IngestPolicy())
    packing = Packing(UPath(folder / EXPERIMENT), UPath(folder / "packed"), manifest.imaging)
    return ExperimentStore.open(packing.target, pack_plates(manifest.images, manifest.wells, packing).files, EXPERIMENT)


def cpu_ms(work: Callable[[], object]) -> float:
    """Returns the processor time of one call."""
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e3


def speed(store: ExperimentStore) -> dict[str, float]:
    """Returns the fastest times per site; both sides must give the same values."""
    images = store.read([0])[0]
    scale = GreyScale.of(store.dtype, store.imaging.top_grey_level)
    of_nuclei = {"nucleus_channel": 0, "nucleus_diameter_px": DIAMETER_PX}
    ours, theirs = measure_site(images, scale=scale, **of_nuclei), reference_site(images, **of_nuclei)
    compared = quality_row(ours)
    if scale.top == np.iinfo(images.dtype).max:
        np.testing.assert_allclose([compared[name] for name in theirs], list(theirs.values()), rtol=1e-4)
    works = {
        "decode": lambda: store.read([0]),
        "quality": lambda: measure_site(images, scale=scale, **of_nuclei),
        "before": lambda: reference_site(images, **of_nuclei),
    }
    taken = {name: min(cpu_ms(work) for _ in range(N_ROUNDS)) for name, work in works.items()}
    return {
        **{f"{name}_ms_per_site": round(value, 1) for name, value in taken.items()},
        "times_as_fast": round(taken["before"] / taken["quality"], 2),
        "quality_to_decode": round(taken["quality"] / taken["decode"], 2),
    }


def peak_mib(store: ExperimentStore) -> tuple[float, float]:
    """Returns the peak of this process' memory before and after it inspects a store."""
    before = high_water_mib()
    inspect_store(store, QualityParameters())
    return before, high_water_mib()


def high_water_mib() -> float:
    """Returns the peak of resident memory since this program started; `ru_maxrss` would include its parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def memory(root: Path, tile: np.ndarray, n_sites: int) -> dict[str, float]:
    """Returns the peak of memory on large sites."""
    sites = [enlarged(tile[:5], 2160, bits=16, seed=number) for number in range(n_sites)]
    site_mib = sites[0].nbytes / MIB
    store = landed(root / "large", sites)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        before, peak = pool.submit(peak_mib, store).result()
    return {
        "n_sites": n_sites,
        "site_mib": round(site_mib, 1),
        "peak_before_mib": round(before),
        "peak_mib": round(peak),
        "goal_mib": 1024,
    }


def main() -> None:
    """Measures, prints and keeps the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=24, help="number of large sites (default: 24)")
    n_sites = parser.parse_args().sites
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tile = tiles(root / "tiles", 1)[0]
        by_bits = {
            f"{bits}_bit": speed(landed(root / str(bits), [enlarged(tile, 1080, bits=bits, seed=0)]))
            for bits in (8, 16)
        }
        result = {"site_shape": [6, 1080, 1080], **by_bits, "memory": memory(root, tile, n_sites)}
    text = json.dumps(result, indent=1)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
