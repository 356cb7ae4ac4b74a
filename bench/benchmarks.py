"""Speed of the published statistics compared with their reference implementations, on the same arrays.

70,000 wells: 1,000 genes x 4 guides x 16 batches and 6,000 controls, vectors of `--dim` dimensions; `--genes 170` makes
11,900 wells. Each family runs
here, and in `--reference-python` (bench/references/benchmarks.py lists the packages of that environment); the goal is
at least 10 times as fast. copairs would list 384 million pairs of wells and controls, so both sides of `activity` get
6,400 wells and 600 controls, and ours is also timed on all 70,000. Ours is the median of 3 calls after a first one; the
reference runs once. `load` is the load of the machine after it, including the work of others, and affects the ratios.
Peak memory is what a later call allocated in addition to the given arrays, as tracemalloc counts it on both sides;
tensors of torch, in which the reference of magnitude computes, are not counted. Prints JSON, and adds it to
bench/results/benchmarks.json.

Both sides use one thread, because threads of small matrix products wait for each other on a busy machine:

    OMP_NUM_THREADS=1 python bench/benchmarks.py --dim 128 --reference-python /path/to/python
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cellassets.benchmarks.published.copairs import phenotypic_activity, phenotypic_consistency
from cellassets.benchmarks.published.copairs_null import mean_average_precision
from cellassets.benchmarks.published.efaar_map import cluster_separation, relationship_recall
from cellassets.benchmarks.published.efaar_wells import perturbation_consistency, perturbation_magnitude
from cellassets.benchmarks.published.proxbias import proximity_bias
from cellassets.benchmarks.published.rxrx import compound_gene_retrieval

RESULT = Path(__file__).parent / "results" / "benchmarks.json"
N_GENES, N_GUIDES, N_BATCHES, N_CONTROLS_PER_GENE = 1000, 4, 16, 6
N_ROUNDS = 3
Arrays = dict[str, Any]


def make_wells(n_genes: int, dim: int, rng: np.random.Generator) -> Arrays:
    """Returns wells with effects of genes and guides, and their labels."""
    n_controls = N_CONTROLS_PER_GENE * n_genes
    genes = np.array([f"G{number:04d}" for number in range(n_genes)])
    effects = 0.3 * rng.standard_normal((n_genes, dim))
    guide_effects = np.repeat(effects, N_GUIDES, axis=0) + 0.2 * rng.standard_normal((n_genes * N_GUIDES, dim))
    guides = np.array([f"{gene}-{number}" for gene in genes for number in range(N_GUIDES)])
    wells = rng.standard_normal((len(guides) * N_BATCHES + n_controls, dim))
    wells[:-n_controls] += np.repeat(guide_effects, N_BATCHES, axis=0)
    guide = np.concatenate([np.repeat(guides, N_BATCHES), np.full(n_controls, "NTC")])
    gene = np.array([name.split("-")[0] for name in guide])
    control_number = np.cumsum(guide == "NTC")
    is_control = guide == "NTC"
    return {
        "wells": wells,
        "guide": guide,
        "gene": gene,
        "unexpressed": genes[-100:],
        "is_compared": ~is_control | (control_number <= 1000),
        "is_subset": np.isin(gene, genes[:100]) | (is_control & (control_number <= 600)),
        "guides": guides,
        "guide_genes": np.repeat(genes, N_GUIDES),
        "guide_vectors": wells[:-n_controls].reshape(len(guides), N_BATCHES, dim).mean(axis=1),
        "genes": genes,
        "gene_vectors": wells[:-n_controls].reshape(n_genes, -1, dim).mean(axis=1),
    }


def make_annotations(arrays: Arrays, rng: np.random.Generator) -> Arrays:
    """Returns five sources of 10,000 pairs, 200 clusters, arms, and compounds with activities."""
    genes, dim = arrays["genes"], arrays["wells"].shape[1]
    first, second = np.triu_indices(len(genes), 1)
    chosen = np.stack([rng.choice(len(first), 10_000, replace=False) for _ in range(5)])
    n_compounds, n_concentrations, n_known = 1674, 8, 6
    compounds = np.array([f"K{number:04d}" for number in range(n_compounds)])
    known = np.stack([rng.choice(len(genes), n_known, replace=False) for _ in compounds])
    return {
        "pairs": np.stack([genes[first[chosen]], genes[second[chosen]]], axis=2),
        "clusters": np.stack([rng.choice(genes, 20, replace=False) for _ in range(200)]),
        "arm": np.array([f"{number:02d}" for number in range(40)])[rng.integers(40, size=len(genes))],
        "compound_id": np.repeat(compounds, n_concentrations),
        "concentration": np.tile(10.0 ** np.arange(-2.0, n_concentrations - 2.0), n_compounds),
        "compound_vectors": rng.standard_normal((n_compounds * n_concentrations, dim)),
        "act_compound": np.repeat(compounds, n_known),
        "act_gene": genes[known.ravel()],
        "act_nm": rng.choice([50.0, 800.0, 5000.0, 30_000.0], known.size),
    }


def named_annotations(arrays: Arrays) -> dict[str, Any]:
    """Returns pairs and clusters as our functions take them."""
    return {
        "pairs_by_source": {
            f"S{number}": pl.DataFrame(pairs, schema=["entity1", "entity2"])
            for number, pairs in enumerate(arrays["pairs"])
        },
        "members_by_cluster": {f"K{number}": members.tolist() for number, members in enumerate(arrays["clusters"])},
    }


def consistency(a: Arrays) -> dict[str, float]:
    """Returns the mean cosine of each gene."""
    n_treated = int((a["gene"] != "NTC").sum())  # controls come last
    wells, gene = a["wells"][:n_treated], a["gene"][:n_treated]
    return _values(perturbation_consistency(wells, gene, unexpressed=a["unexpressed"].tolist()))


def magnitude(a: Arrays) -> dict[str, float]:
    """Returns the energy distance of each gene."""
    kept, unexpressed = a["is_compared"], a["unexpressed"].tolist()
    return _values(perturbation_magnitude(a["wells"][kept], a["gene"][kept], control="NTC", unexpressed=unexpressed))


def _values(table: pl.DataFrame) -> dict[str, float]:
    return dict(table.select("perturbation_id", "value").rows())


def recall(a: Arrays) -> dict[str, float]:
    """Returns the recall of five sources."""
    table = relationship_recall(a["gene_vectors"], a["genes"].tolist(), a["pairs_by_source"], thresholds=[(0.05, 0.95)])
    return dict(table.select("source", "recall").rows())


def clusters(a: Arrays) -> dict[str, float]:
    """Returns the Kolmogorov-Smirnov statistic of each cluster."""
    table = cluster_separation(a["gene_vectors"], a["genes"].tolist(), a["members_by_cluster"])
    return dict(table.select("cluster", "ks_statistic").rows())


def activity(a: Arrays) -> dict[str, float]:
    """Returns the mean average precision of each guide's wells against controls, of a part of the wells."""
    return _activity(a["wells"][a["is_subset"]], a["guide"][a["is_subset"]])


def activity_of_all(a: Arrays) -> dict[str, float]:
    """Returns the same of all wells and controls."""
    return _activity(a["wells"], a["guide"])


def _activity(wells: np.ndarray, guide: np.ndarray) -> dict[str, float]:
    table = mean_average_precision(phenotypic_activity(wells, guide, guide == "NTC"), guide)
    return dict(table.select("group", "value").rows())


def label_consistency(a: Arrays) -> dict[str, float]:
    """Returns the mean average precision of each gene's guides against those of other genes."""
    scores = phenotypic_consistency(a["guide_vectors"], a["guide_genes"], a["guides"])
    return dict(mean_average_precision(scores, a["guide_genes"]).select("group", "value").rows())


def proximity(a: Arrays) -> dict[str, float]:
    """Returns the probability of each arm and of the whole genome."""
    genome, arms = proximity_bias(a["gene_vectors"], a["arm"])
    return dict(arms.select("arm", "probability").rows()) | {"genome": genome.probability}


def retrieval(a: Arrays) -> dict[str, float]:
    """Returns the average precision of each compound at its largest cosine."""
    labels = pl.DataFrame({"compound_id": a["compound_id"], "concentration_um": a["concentration"]})
    known = {"compound_id": a["act_compound"], "gene_symbol": a["act_gene"], "activity_nm": a["act_nm"]}
    compounds, genes = (a["compound_vectors"], labels), (a["gene_vectors"], a["genes"].tolist())
    table = compound_gene_retrieval(compounds, genes, pl.DataFrame(known))
    best = table.filter(pl.col("concentration_um").is_null())
    return dict(best.select("compound_id", "average_precision").rows())


FAMILIES: tuple[Callable[[Arrays], dict[str, float]], ...] = (
    consistency,
    magnitude,
    recall,
    clusters,
    activity,
    label_consistency,
    proximity,
    retrieval,
)


def measure(work: Callable[[Arrays], dict[str, float]], arrays: Arrays) -> tuple[dict[str, Any], dict[str, float]]:
    """Returns seconds and peak memory of ours, and its values."""
    work(arrays)  # what imports and caches take is left out
    tracemalloc.start()
    values = work(arrays)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    times = []
    for _ in range(N_ROUNDS):
        started = time.perf_counter()
        work(arrays)
        times.append(time.perf_counter() - started)
    return {"ours_s": round(statistics.median(times), 4), "ours_peak_mib": round(peak / 2**20, 1)}, values


def against_reference(
    python: str, folder: Path, family: str, *, ours: dict[str, float], limit_s: int
) -> dict[str, Any]:
    """Returns seconds of the reference and the largest difference from it, or why there is none."""
    script = Path(__file__).parent / "references" / "benchmarks.py"
    command = [python, str(script), str(folder), family]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=True)
    except subprocess.TimeoutExpired:
        return {"reference": f"not done in {limit_s} s"}
    except subprocess.CalledProcessError as error:
        return {"reference": f"failed: {error.stderr.strip().splitlines()[-1]}"}
    answer = json.loads(done.stdout)
    theirs = answer["values"]
    if theirs.keys() != ours.keys():
        return {"reference": f"scored {len(theirs)} units, ours {len(ours)}"}
    difference = max(abs(theirs[name] - ours[name]) for name in ours)
    peak = round(answer["peak_bytes"] / 2**20, 1)
    shared = {"largest_difference": difference, "n_values": len(ours)}
    return {"reference_s": round(answer["seconds"], 3), "reference_peak_mib": peak, **shared}


def main() -> None:
    """Measures every family at one number of dimensions, prints and keeps it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument(
        "--genes", type=int, default=N_GENES, help="70 wells each; results are kept by the wells' number"
    )
    parser.add_argument("--note", help="what else ran on the machine; kept with the results")
    parser.add_argument("--reference-python", help="of an environment with the references; without it ours alone")
    parser.add_argument("--families", nargs="*", help="these alone; the others' results stay")
    parser.add_argument("--limit-s", type=int, default=600, help="longest that one reference may take")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    arrays = make_wells(arguments.genes, arguments.dim, rng)
    arrays |= make_annotations(arrays, rng)
    name_of_run = f"dim_{arguments.dim}" + (f"_genes_{arguments.genes}" if arguments.genes != N_GENES else "")
    about = {"n_wells": len(arrays["wells"])} | ({"note": arguments.note} if arguments.note else {})
    with tempfile.TemporaryDirectory() as name:
        for key, array in arrays.items():
            np.save(Path(name, f"{key}.npy"), array)
        arrays |= named_annotations(arrays)
        for work in FAMILIES:
            if arguments.families and work.__name__ not in arguments.families:
                continue
            row, values = measure(work, arrays)
            if arguments.reference_python:
                row |= against_reference(
                    arguments.reference_python, Path(name), work.__name__, ours=values, limit_s=arguments.limit_s
                )
            if "reference_s" in row:
                row["ratio"] = round(row["reference_s"] / row["ours_s"], 1)
                row["memory_ratio"] = round(row["reference_peak_mib"] / row["ours_peak_mib"], 2)
            if arguments.reference_python:  # or the ratios that were measured would be lost
                keep(name_of_run, about | {work.__name__: row | {"load": round(os.getloadavg()[0], 1)}})
            print(work.__name__, row, flush=True)
    if not arguments.families:
        print("activity_of_all", measure(activity_of_all, arrays)[0], flush=True)


def keep(name: str, rows: dict[str, Any]) -> None:
    """Adds results to those of other families and dimensions."""
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {"goal_at_least": 10}
    kept[name] = kept.get(name, {}) | {"n_threads": os.environ.get("OMP_NUM_THREADS", "all")} | rows
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
