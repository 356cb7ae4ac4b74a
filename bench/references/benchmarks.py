"""The reference implementations on the arrays that bench/benchmarks.py wrote: seconds, memory and values, as JSON.

Runs in an environment of its own, with efaar_benchmarking 1.0, copairs 0.5.5, proxbias 0.11.0 and pandas, none of which
cellassets needs:

    python bench/references/benchmarks.py FOLDER FAMILY

RxRx3-core's retrieval has no release; it is a straight transcription of the published rules here.
"""

import contextlib
import io
import json
import sys
import tempfile
import time
import tracemalloc
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.utils import Bunch

Arrays = dict[str, np.ndarray]


def consistency(a: Arrays) -> dict[str, Any]:
    """Returns the mean cosine of each gene."""
    from efaar_benchmarking.benchmarking import pert_signal_consistency_benchmark

    n_treated = int((a["gene"] != "NTC").sum())  # controls come last
    metadata = pd.DataFrame({"gene": a["gene"][:n_treated]})
    found = pert_signal_consistency_benchmark(
        a["wells"][:n_treated], metadata, "gene", a["unexpressed"].tolist(), n_jobs=1
    )
    return dict(zip(found["pert"], found["avgcossim"], strict=True))


def magnitude(a: Arrays) -> dict[str, Any]:
    """Returns the energy distance of each gene."""
    from efaar_benchmarking.benchmarking import pert_signal_magnitude_benchmark

    kept = a["is_compared"]
    metadata = pd.DataFrame({"gene": a["gene"][kept]})
    found = pert_signal_magnitude_benchmark(
        a["wells"][kept], metadata, "gene", a["unexpressed"].tolist(), "NTC", n_jobs=1
    )
    return {name: value for name, value in zip(found["pert"], found["edist"], strict=True) if name != "NTC"}


def recall(a: Arrays) -> dict[str, Any]:
    """Returns the recall of five sources."""
    from efaar_benchmarking.benchmarking import known_relationship_benchmark

    with tempfile.TemporaryDirectory() as folder:
        for number, pairs in enumerate(a["pairs"]):
            pd.DataFrame(pairs, columns=["entity1", "entity2"]).to_csv(f"{folder}/S{number}.txt", index=False)
        sources = [f"S{number}" for number in range(len(a["pairs"]))]
        found = known_relationship_benchmark(
            _map(a), "gene", benchmark_sources=sources, benchmark_data_dir=folder, recall_thr_pairs=[(0.05, 0.95)]
        )
    return dict(zip(found["source"], found["recall_0.05_0.95"], strict=True))


def clusters(a: Arrays) -> dict[str, Any]:
    """Returns the Kolmogorov-Smirnov statistic of each cluster."""
    from efaar_benchmarking.benchmarking import cluster_benchmark

    with tempfile.TemporaryDirectory() as folder:
        lines = [f"K{number}\t{' '.join(members)}" for number, members in enumerate(a["clusters"])]
        Path(folder, "CORUM_clusters.tsv").write_text("\n".join(lines) + "\n")
        found = cluster_benchmark(_map(a), "gene", benchmark_data_dir=folder)
    return dict(zip(found["cluster"], found["ks_stat"], strict=True))


def _map(a: Arrays) -> Bunch:
    return Bunch(metadata=pd.DataFrame({"gene": a["genes"]}), features=pd.DataFrame(a["gene_vectors"]))


def activity(a: Arrays) -> dict[str, Any]:
    """Returns the mean average precision of each guide's wells against controls."""
    kept = a["is_subset"]
    guide = a["guide"][kept]
    reference_index = np.where(guide == "NTC", np.arange(len(guide)), -1)
    rules = {"pos_sameby": ["guide", "row"], "pos_diffby": [], "neg_sameby": [], "neg_diffby": ["guide", "row"]}
    return _mean_average_precision(pd.DataFrame({"guide": guide, "row": reference_index}), a["wells"][kept], rules)


def label_consistency(a: Arrays) -> dict[str, Any]:
    """Returns the mean average precision of each gene's guides against those of other genes."""
    rules = {"pos_sameby": ["gene"], "pos_diffby": ["guide"], "neg_sameby": [], "neg_diffby": ["gene"]}
    metadata = pd.DataFrame({"gene": a["guide_genes"], "guide": a["guides"]})
    return _mean_average_precision(metadata, a["guide_vectors"], rules)


def _mean_average_precision(metadata: pd.DataFrame, vectors: np.ndarray, rules: dict[str, list[str]]) -> dict[str, Any]:
    from copairs.map import average_precision, mean_average_precision

    by = rules["pos_sameby"][0]
    scores = average_precision(metadata, vectors, progress_bar=False, **rules)
    with tempfile.TemporaryDirectory() as cache:
        found = mean_average_precision(
            scores, [by], null_size=10_000, threshold=0.05, seed=0, progress_bar=False, cache_dir=cache
        )
    return dict(zip(found[by], found["mean_average_precision"], strict=True))


def proximity(a: Arrays) -> dict[str, Any]:
    """Returns the probability of each arm and of the whole genome."""
    from efaar_benchmarking import constants

    # proxbias 0.11 names functions and constants of an older efaar_benchmarking, which these statistics never call
    older = types.ModuleType("efaar_benchmarking.utils")
    for name in ("generate_null_cossims", "generate_query_cossims", "get_benchmark_data", "get_feats_w_indices"):
        setattr(older, name, None)
    sys.modules["efaar_benchmarking.utils"] = older
    for name in ("N_NULL_SAMPLES", "RANDOM_SEED"):
        vars(constants).setdefault(name, 42)
    from proxbias.metrics import bm_metrics

    index = pd.MultiIndex.from_arrays([a["genes"], a["arm"]], names=["gene", "chromosome_arm"])
    started = time.perf_counter()
    cosines = pd.DataFrame(cosine_similarity(a["gene_vectors"]), index=index, columns=index)
    genome, arms = bm_metrics(cosines, arms_ord=sorted(set(a["arm"])))
    values = arms["prob"].to_dict() | {"genome": float(genome["prob"].iloc[0])}
    return values | {"seconds": time.perf_counter() - started}  # without the import, which compiles


def retrieval(a: Arrays) -> dict[str, Any]:
    """Returns the average precision of each compound at its largest cosine."""
    activities = pd.DataFrame({"compound": a["act_compound"], "gene": a["act_gene"], "nm": a["act_nm"]})
    place = {gene: number for number, gene in enumerate(a["genes"])}
    pool = set(activities["gene"])
    cosines = np.abs(cosine_similarity(a["compound_vectors"], a["gene_vectors"]))
    result = {}
    for compound in activities["compound"].unique():
        own = activities[activities["compound"] == compound]
        active = own.loc[own["nm"] <= 1000, "gene"].unique()
        others = sorted(pool - set(own.loc[own["nm"] <= 10_000, "gene"]))
        n_negatives = max(2 * len(active), 20)
        if len(active) == 0 or len(others) < n_negatives:
            continue
        items = [*active, *np.random.default_rng(42).choice(others, n_negatives, replace=False)]
        labels = np.isin(items, active).astype(int)
        rows = cosines[a["compound_id"] == compound][:, [place[item] for item in items]]
        values = [_metrics(row, labels)[0] for row in [*rows, rows.max(axis=0)]]
        result[compound] = values[-1]
    return result


def _metrics(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    ordered = labels[np.argsort(scores)[::-1]]
    precision = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    return float((precision * ordered).sum() / ordered.sum()), float(roc_auc_score(labels, scores))


FAMILIES: dict[str, Callable[[Arrays], dict[str, Any]]] = {
    work.__name__: work
    for work in (consistency, magnitude, recall, clusters, activity, label_consistency, proximity, retrieval)
}


def main() -> None:
    """Times one family on the arrays of a folder, without the imports."""
    folder, family = Path(sys.argv[1]), sys.argv[2]
    arrays = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    with contextlib.redirect_stdout(io.StringIO()):
        import efaar_benchmarking.benchmarking  # noqa: F401  its imports take seconds

        started = time.perf_counter()
        values = FAMILIES[family](arrays)
        seconds = values.pop("seconds", time.perf_counter() - started)
        tracemalloc.start()
        FAMILIES[family](arrays)
        peak = tracemalloc.get_traced_memory()[1]
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, "values": values}, default=float))


if __name__ == "__main__":
    main()
