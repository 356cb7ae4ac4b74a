"""Alignment and aggregation against a straight transcription of each published formula, in one run.

70,000 wells (or `--wells`) in 16 batches, a tenth of them controls, 5,000 genes; 128 and 1,024 features. The
transcriptions write the formulas down as they are published: loops over batches or names, the singular value
decomposition, scipy's `fractional_matrix_power`. Where EFAAR_PATH is the path of EFAAR_benchmarking's `efaar.py` and
its imports are there, TVN is timed against that file as well; where PYCYTOMINER_PYTHON is a Python with pycytominer,
sphering is timed against its class. Beside them stand limits: reading the values once, a covariance, a linear map.
Goal: TVN at least 50 times as fast; memory a small multiple of the input.

Each method runs twice and the faster one counts; a transcription runs once. With fewer than 70,000 wells both run
seven times. Processor seconds of one thread are
counted, since a machine that others use makes wall times of both sides meaningless: set OMP_NUM_THREADS=1. Prints
JSON, keeps it in bench/results/alignment.json.

    OMP_NUM_THREADS=1 .venv/bin/python bench/alignment.py [--features 128] [--wells 70000]
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.linalg import fractional_matrix_power
from scipy.stats import median_abs_deviation

from cellassets.mapping.aggregate import group_mean, group_median
from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.steps import (
    EfaarCentreScale,
    EfaarPrincipalComponents,
    EfaarTypicalVariation,
    RobustZ,
    Sphering,
    TypicalVariation,
)

RESULT = Path(__file__).parent / "results" / "alignment.json"
N_BATCHES, N_GENES, N_WELLS = 16, 5000, 70_000
SMALL_BYTES = 1 << 26
METHODS = (
    "efaar_centre_scale", "efaar_pca", "efaar_tvn", "robust_z", "sphering", "mean", "median", "tvn", "limits",
    "reference",
)  # fmt: skip
Work = Callable[[], np.ndarray]


def screen(n_wells: int, n_features: int) -> tuple[np.ndarray, BatchDesign, np.ndarray]:
    """Returns vectors (float64), design and genes of wells whose batches are shifted and correlated."""
    rng = np.random.default_rng(0)
    batch = np.sort(np.arange(n_wells) % N_BATCHES)
    mixing = rng.standard_normal((n_features, 32)) * 0.3
    values = rng.standard_normal((n_wells, n_features)) + rng.standard_normal((n_wells, 32)) @ mixing.T
    values = values * rng.uniform(0.7, 1.4, (N_BATCHES, 1))[batch] + rng.standard_normal((N_BATCHES, n_features))[batch]
    design = BatchDesign(tuple(map(str, range(N_BATCHES))), batch, rng.random(n_wells) < 0.1)
    return values, design, rng.permutation(np.arange(n_wells) % min(N_GENES, n_wells // 8))


def plain_scale(values: np.ndarray, fitted: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """Centre and scale of every batch, one after another."""
    out = values.copy()
    for b in np.unique(batch):
        rows = batch == b
        learnt = values[rows & fitted]
        out[rows] = (values[rows] - learnt.mean(axis=0)) / learnt.std(axis=0)
    return out


def plain_pca(values: np.ndarray, fitted: np.ndarray, n_components: int) -> np.ndarray:
    """Components by the singular value decomposition of the centred wells."""
    mean = values[fitted].mean(axis=0)
    axes = np.linalg.svd(values[fitted] - mean, full_matrices=False)[2]
    return (values - mean) @ axes[:n_components].T


def plain_tvn(values: np.ndarray, design: BatchDesign) -> np.ndarray:
    """TVN on controls with scipy's general matrix power, as it is published."""
    whole, controls = np.zeros(len(values)), design.is_control
    white = plain_pca(plain_scale(values, controls, whole), controls, values.shape[1])
    white = plain_scale(white, controls, whole)
    for b in range(N_BATCHES):
        rows = design.batch_index == b
        own = np.cov(white[rows & controls], rowvar=False) + 0.5 * np.eye(white.shape[1])
        white[rows] = white[rows] @ fractional_matrix_power(own, -0.5).real
    return white


def plain_robust_z(values: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """Median and scipy's median absolute deviation of every batch."""
    out = np.empty_like(values)
    for b in np.unique(batch):
        rows = values[batch == b]
        deviation = median_abs_deviation(rows, scale=1 / 1.4826, nan_policy="omit")
        out[batch == b] = (rows - np.median(rows, axis=0)) / (deviation + 1e-18)
    return out


def plain_sphering(values: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """ZCA-cor by the singular value decomposition of the standardised controls, with a check of their rank."""
    standard = (values - values[controls].mean(axis=0)) / values[controls].std(axis=0)
    np.linalg.matrix_rank(standard[controls])
    _, singular, axes = np.linalg.svd(standard[controls], full_matrices=True)
    return standard @ ((axes.T * np.sqrt(controls.sum() - 1) / (singular + 1e-6)) @ axes)


def plain_aggregate(values: np.ndarray, genes: np.ndarray, middle: Callable[..., np.ndarray]) -> np.ndarray:
    """Mean or median of every gene's wells, found by comparing names."""
    return np.stack([middle(values[genes == gene], axis=0) for gene in np.unique(genes)])


def pairs(values: np.ndarray, design: BatchDesign, genes: np.ndarray) -> dict[str, tuple[Work, Work]]:
    """Returns, for each method, ours and the transcription."""
    every, n_genes = np.ones(len(values), dtype=bool), int(genes.max()) + 1
    batch, controls = design.batch_index, design.is_control

    def plain_principal_components() -> np.ndarray:
        return plain_pca(plain_scale(values, every, batch), every, 128)

    return {
        "efaar_centre_scale": (
            lambda: EfaarCentreScale().apply(values, design),
            lambda: plain_scale(values, controls, batch),
        ),
        "efaar_pca": (lambda: EfaarPrincipalComponents().apply(values, design), plain_principal_components),
        "efaar_tvn": (lambda: EfaarTypicalVariation().apply(values, design), lambda: plain_tvn(values, design)),
        "robust_z": (lambda: RobustZ(scope="batch").apply(values, design), lambda: plain_robust_z(values, batch)),
        "sphering": (lambda: Sphering().apply(values, design), lambda: plain_sphering(values, controls)),
        "mean": (lambda: group_mean(values, genes, n_genes), lambda: plain_aggregate(values, genes, np.mean)),
        "median": (lambda: group_median(values, genes, n_genes), lambda: plain_aggregate(values, genes, np.median)),
    }


def timed(work: Work) -> tuple[float, np.ndarray]:
    """Returns the processor time of one call, and what it returned."""
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def peak_ratio(work: Work, n_bytes: int) -> float:
    """Returns the most memory that a call holds beyond its input, as a multiple of the input (result included)."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return round(peak / n_bytes, 2)


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference as a share of the largest value, signs of axes made equal."""
    signs = np.sign(np.einsum("ij,ij->j", found, expected))
    return float(np.abs(found * signs - expected).max() / np.abs(expected).max())


def compared(ours: Work, plain: Work, n_bytes: int) -> dict[str, float]:
    """Returns times, their ratio, and how far the results lie apart."""
    is_small = n_bytes < SMALL_BYTES
    best, found = min((timed(ours) for _ in range(7 if is_small else 2)), key=lambda run: run[0])
    taken, expected = min((timed(plain) for _ in range(7 if is_small else 1)), key=lambda run: run[0])
    return {
        "ours_s": round(best, 5 if is_small else 3),
        "transcription_s": round(taken, 5 if is_small else 3),
        "ratio": round(taken / best, 2 if is_small else 1),
        "difference": difference(found, expected),
        "peak_to_input": peak_ratio(ours, n_bytes),
        **({"transcription_peak_to_input": peak_ratio(plain, n_bytes)} if is_small else {}),
    }


def reference_tvn_s(values: np.ndarray, design: BatchDesign) -> float | None:
    """Returns the time of EFAAR_benchmarking's own TVN, or None with a line where it cannot be run."""
    path = os.environ.get("EFAAR_PATH")
    if path is None:
        print("EFAAR_PATH is not set: the reference itself is left out", file=sys.stderr)
        return None
    try:
        import pandas as pd

        sys.modules.setdefault("scvi", types.ModuleType("scvi"))
        sys.modules.setdefault("scvi.model", types.SimpleNamespace(SCVI=None))  # imported there, not used by TVN
        spec = importlib.util.spec_from_file_location("efaar", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError as error:
        print(f"the reference is left out: {error}", file=sys.stderr)
        return None
    metadata = pd.DataFrame({"batch": design.batch_index, "name": np.where(design.is_control, "control", "other")})
    return timed(lambda: module.tvn_on_controls(values, metadata, "name", "control", "batch"))[0]


def reference_sphering_s(values: np.ndarray, design: BatchDesign) -> float | None:
    """Returns the time of pycytominer's own sphering, or None with a line where there is no such Python."""
    python = os.environ.get("PYCYTOMINER_PYTHON")
    if python is None:
        print("PYCYTOMINER_PYTHON is not set: pycytominer is left out", file=sys.stderr)
        return None
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "wells.npy"), values)
        np.save(Path(folder, "is_control.npy"), design.is_control)
        script = Path(__file__).parent / "references" / "sphering.py"
        done = subprocess.run([python, str(script), folder], stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def limits(values: np.ndarray) -> dict[str, float]:
    """Returns what no method can do without: reading all values once, a covariance of all wells, one linear map."""
    square = np.eye(values.shape[1])
    works = {
        "read_s": values.sum,
        "covariance_s": lambda: values.T @ values,
        "linear_map_s": lambda: values @ square,
    }
    return {name: round(min(timed(work)[0] for _ in range(2)), 3) for name, work in works.items()}


def measure(n_wells: int, n_features: int, methods: Sequence[str]) -> dict[str, object]:
    """Returns these methods at one width."""
    values, design, genes = screen(n_wells, n_features)
    found: dict[str, object] = {}
    for name, (ours, plain) in pairs(values, design, genes).items():
        if name in methods:
            found[name] = compared(ours, plain, values.nbytes)
            print(n_features, name, found[name], file=sys.stderr, flush=True)
    if "tvn" in methods:
        found["tvn_s"] = round(timed(lambda: TypicalVariation().apply(values, design))[0], 3)
    if "limits" in methods:
        found["limits"] = limits(values)
    if "reference" in methods:
        references = {
            "efaar_tvn_reference_s": reference_tvn_s(values, design),
            "pycytominer_sphering_s": reference_sphering_s(values, design),
        }
        found |= {name: round(seconds, 5) for name, seconds in references.items() if seconds is not None}
    return found


def main() -> None:
    """Measures, prints and keeps the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--wells", type=int, default=N_WELLS)
    parser.add_argument("--note", help="what else ran on the machine; kept with the results")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, help="the others keep their figures")
    asked = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        parser.exit(1, "set OMP_NUM_THREADS=1: waiting threads would count as work\n")
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result = {**kept, "n_wells": N_WELLS, "n_batches": N_BATCHES, "n_threads": 1, "goal_tvn_ratio": 50.0}
    note = {"note": asked.note} if asked.note else {}
    for n in asked.features:
        name = f"features_{n}" + (f"_wells_{asked.wells}" if asked.wells != N_WELLS else "")
        result[name] = {**result.get(name, {}), **note, **measure(asked.wells, n, asked.methods)}
    text = json.dumps(result, indent=1)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
