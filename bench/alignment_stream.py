"""Alignment of 2 million wells of 1,024 features (8 GB of float32) from disk to disk: peak memory against 8 GiB.

Writes seeded wells in blocks to a .npy file, fits and applies a chain with `cellassets.mapping.streaming`, and reads
the process' peak resident memory. Wells lie in the order of their batches; every 16th is a control. The file, and the
aligned one, are deleted at the end; they need 17 GB of disk at full size and full width.

    .venv/bin/python bench/alignment_stream.py [--wells 2000000] [--features 1024] [--batches 160] [--chain default]

Chains: `default` (pca 128, centre_scale, tvn) and `wide` (efaar_tvn over all features). Prints JSON, keeps it in
bench/results/alignment_stream.json, a chain a key.
"""

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.steps import CentreScale, EfaarTypicalVariation, PrincipalComponents, Step, TypicalVariation
from cellassets.mapping.streaming import NpyWells, align_to_npy

RESULT = Path(__file__).parent / "results" / "alignment_stream.json"
LIMIT_GIB = 8.0
BLOCK_WELLS = 8192
CHAINS: dict[str, tuple[Step, ...]] = {
    "default": (PrincipalComponents(n_components=128), CentreScale(), TypicalVariation()),
    "wide": (EfaarTypicalVariation(),),
}


def write_wells(path: Path, n_wells: int, n_features: int, batch: np.ndarray) -> None:
    """Writes float32 wells whose batches are shifted, a block at a time, each from its own seed."""
    shifts = np.random.default_rng(0).standard_normal((int(batch[-1]) + 1, n_features), dtype=np.float32)
    with path.open("wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": (n_wells, n_features)}
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, n_wells, BLOCK_WELLS):
            rows = slice(start, min(start + BLOCK_WELLS, n_wells))
            rng = np.random.default_rng(start + 1)
            values = rng.standard_normal((rows.stop - rows.start, n_features), dtype=np.float32) + shifts[batch[rows]]
            stream.write(values.data)


def peak_gib() -> float:
    """Returns the most memory this process has had resident, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(folder: Path, asked: argparse.Namespace) -> dict[str, float]:
    """Returns times and peak memory of one chain."""
    batch = np.arange(asked.wells) * asked.batches // asked.wells
    design = BatchDesign(tuple(map(str, range(asked.batches))), batch, np.arange(asked.wells) % 16 == 0)
    started = time.perf_counter()
    write_wells(folder / "wells.npy", asked.wells, asked.features, batch)
    written = time.perf_counter()
    before = peak_gib()
    align_to_npy(NpyWells(folder / "wells.npy"), design, CHAINS[asked.chain], folder / "aligned.npy")
    done = time.perf_counter()
    sample = np.load(folder / "aligned.npy", mmap_mode="r")[:: max(1, asked.wells // 1000)]
    return {
        "n_wells": asked.wells,
        "n_features": asked.features,
        "n_batches": asked.batches,
        "n_controls": int(design.is_control.sum()),
        "n_components": int(sample.shape[1]),
        "is_finite": bool(np.isfinite(sample).all()),
        "input_gib": round(asked.wells * asked.features * 4 / 2**30, 2),
        "write_input_s": round(written - started, 1),
        "align_s": round(done - written, 1),
        "peak_before_gib": round(before, 2),
        "peak_gib": round(peak_gib(), 2),
        "limit_gib": LIMIT_GIB,
        "peak_to_limit": round(peak_gib() / LIMIT_GIB, 3),
        "n_cpu": os.cpu_count() or 0,
    }


def main() -> None:
    """Measures, prints and keeps the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wells", type=int, default=2_000_000)
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--batches", type=int, default=160)
    parser.add_argument("--chain", choices=sorted(CHAINS), default="default")
    parser.add_argument("--folder", type=Path, default=None, help="where the files lie while it runs")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        n_needed = asked.wells * asked.features * 8
        if shutil.disk_usage(folder).free < 1.1 * n_needed:
            parser.exit(1, f"{folder}: {n_needed / 1e9:.0f} GB of free disk needed; give --folder or fewer --wells\n")
        found = measure(folder, asked)
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    text = json.dumps({**kept, asked.chain: found}, indent=1)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
