"""Speed of the benchmarks of wells on 70,000 wells: compared with plain formulas, with copairs, and as a whole.

1,000 genes, 4 guides each, in each of 16 batches of 12 plates; 31 controls per plate, 15 held out; 128 features.
- Average precision of some perturbations, observed and with labels permuted as often as the benchmark does: ours
  against the published formula written out for each profile and draw. Where `--reference-python` names an interpreter
  that has copairs, one evaluation of all by copairs beside one of our draws. All on one plate of every batch.
- Nearest neighbour in other batches, and the linear probe: ours on all wells against a loop over `N_LOOP_WELLS` wells.
- Consistency, magnitude and recall: one draw of the benchmark's null distribution against one evaluation of the
  published statistic written out; on `N_LOOP_GENES` genes, scaled to all.
- Each benchmark as a whole, with its default parameters, and the peak memory of the process until then.
Values must agree. Prints JSON, and writes it to bench/results/retrieval.json.
"""

import argparse
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.spatial.distance import cdist, pdist, squareform

from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.knowledge.annotations import Annotations
from cellassets.mapping.aggregate import group_mean
from cellassets.mapping.moments import group_sums, source_moments
from cellassets.mapping.neighbours import nearest_elsewhere
from cellassets.mapping.relate import unit_rows
from cellassets.mapping.source import ArrayWells
from cellassets.statistics.average_precision import average_precisions, grouped_queries, ranks_of_others
from cellassets.statistics.linear_probe import metric_of, nearest_class, summed_fourth_powers
from cellassets.tables.parquet import vectors as tables_vectors
from cellassets.tables.parquet import with_vectors

RESULT = Path(__file__).parent / "results" / "retrieval.json"
N_GENES, N_GUIDES, N_BATCHES, N_PLATES, N_CONTROLS = 1000, 4, 16, 12, 31
N_LOOP_WELLS, N_LOOP_GENES, N_KNOWN_PAIRS = 500, 100, 10_000
N_DRAWS, N_DRAWN_UNITS = 1000, 40
NAMES = (
    "perturbation_consistency",
    "perturbation_magnitude",
    "known_relationships",
    "phenotypic_activity",
    "phenotypic_consistency",
    "held_out_batch_classification",
    "leftover_batch_effect",
)
COPAIRS = """
import sys, time
import numpy as np, pandas as pd
from copairs.map import average_precision
data = np.load(sys.argv[1])
meta = pd.DataFrame({"unit": data["unit"], "is_control": data["is_control"]})
started = time.perf_counter()
found = average_precision(meta, data["wells"], ["unit"], [], [], ["unit", "is_control"], progress_bar=False)
elapsed = time.perf_counter() - started
np.savez(sys.argv[2], ap=found["average_precision"].to_numpy()[~data["is_control"]], seconds=elapsed)
"""


def screen(n_features: int) -> JudgedMap:
    """Returns a screen of 70,000 wells as input of benchmarks."""
    rng = np.random.default_rng(0)
    guide = np.arange(N_GENES * N_GUIDES)
    on_plate = [
        np.concatenate([guide[guide % N_PLATES == plate], np.full(N_CONTROLS, -1)]) for plate in range(N_PLATES)
    ]
    one_batch, plate = np.concatenate(on_plate), np.repeat(np.arange(N_PLATES), [len(rows) for rows in on_plate])
    treatment = np.tile(one_batch, N_BATCHES)
    batch = np.repeat(np.arange(N_BATCHES), len(one_batch))
    gene = treatment // N_GUIDES
    is_control = treatment < 0
    effects = rng.standard_normal((N_GENES + 1, n_features)).astype(np.float32) * 0.4
    effects[-1] = 0
    vectors = rng.standard_normal((len(treatment), n_features), dtype=np.float32) + effects[gene]
    names = np.array([f"GENE{number:04d}" for number in range(N_GENES)] + ["EMPTY"])[gene]
    wells = pl.DataFrame(
        {
            "experiment_id": [f"SIM-{number + 1:02d}" for number in batch],
            "plate_id": [f"Plate{number + 1:02d}" for number in np.tile(plate, N_BATCHES)],
            "well_id": [f"W{number:05d}" for number in range(len(treatment))],
            "batch_id": [f"SIM-{number + 1:02d}" for number in batch],
            "perturbation_id": [f"{n}_g{t % N_GUIDES}" for n, t in zip(names, treatment, strict=True)],
            "perturbation_kind": np.where(is_control, "control", "gene"),
            "gene_symbol": [None if empty else name for name, empty in zip(names, is_control, strict=True)],
            "compound_id": pl.Series([None] * len(names), dtype=pl.String),
            "concentration_um": pl.Series([None] * len(names), dtype=pl.Float64),
        }
    )
    genes = [f"GENE{number:04d}" for number in range(N_GENES)]
    pairs = np.stack(np.triu_indices(N_GENES, 1), axis=1)
    pairs = pairs[rng.choice(len(pairs), N_KNOWN_PAIRS, replace=False)]
    known = pl.DataFrame({"entity1": [genes[a] for a in pairs[:, 0]], "entity2": [genes[b] for b in pairs[:, 1]]})
    rows = pl.DataFrame({"perturbation_id": genes, "gene_symbol": genes}).with_columns(
        pl.lit("gene").alias("perturbation_kind"),
        pl.lit(None, pl.String).alias("control_kind"),
        pl.lit(N_BATCHES * N_GUIDES, pl.Int32).alias("n_wells"),
    )
    means = group_mean(vectors[~is_control], gene[~is_control], N_GENES)
    return JudgedMap(
        wells=wells,
        vectors=vectors,
        units=tuple(names.tolist()),
        is_treatment=~is_control,
        is_held_out_control=is_control & (np.arange(len(names)) % 2 == 0),
        plate_index=batch * N_PLATES + np.tile(plate, N_BATCHES),
        map_table=with_vectors(rows, means),
        annotations=Annotations(pairs={"known": known}),
    )


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Returns the result of a call, and its wall time."""
    started = time.perf_counter()
    found = work()
    return found, time.perf_counter() - started


@dataclass(frozen=True)
class Pools:
    """The ranked wells and controls of one perturbation, and its places in each draw."""

    wells: np.ndarray
    n_own: int
    placed: np.ndarray


def pools(wells: np.ndarray, unit: np.ndarray, controls: np.ndarray) -> list[Pools]:
    """Returns one pool per perturbation; row 0 of `placed` is as observed."""
    rng, found = np.random.default_rng(2), []
    for number in np.unique(unit):
        own = wells[unit == number]
        pool = np.concatenate([own, controls])
        drawn = [rng.permutation(len(pool))[: len(own)] for _ in range(N_DRAWS)]
        found.append(Pools(pool, len(own), np.stack([np.arange(len(own)), *drawn])))
    return found


def transcribed(pool: Pools) -> np.ndarray:
    """Average precision per profile and draw: rank the others by cosine, mean precision at the positives."""
    found = np.empty(pool.placed.shape)
    for draw, placed in enumerate(pool.placed):
        own, rest = pool.wells[placed], np.delete(pool.wells, placed, axis=0)
        for number, well in enumerate(own):
            listed = np.concatenate([np.delete(own, number, axis=0), rest])
            cosines = listed @ well / np.linalg.norm(listed, axis=1) / np.linalg.norm(well)
            is_positive = (np.arange(len(listed)) < len(own) - 1)[np.argsort(-cosines)]
            precision = np.cumsum(is_positive) / np.arange(1, len(listed) + 1)
            found[draw, number] = precision[is_positive].mean()
    return found


def ours(pool: Pools) -> np.ndarray:
    """The same as the benchmark does it: ranks once, then all draws."""
    ranks = ranks_of_others(unit_rows(pool.wells))
    partners = [np.delete(np.arange(pool.n_own), place) for place in range(pool.n_own)]
    flags = [np.ones(pool.n_own - 1, dtype=bool)] * pool.n_own
    (group,) = grouped_queries(range(pool.n_own), partners, flags)
    return average_precisions(group, ranks, pool.placed, are_others_negatives=True)


def measure_average_precision(judged: JudgedMap, reference_python: str | None) -> dict[str, Any]:
    """Returns times on the guides of the first plate of every batch: they share all their plates."""
    here = judged.plate_index % N_PLATES == 0
    is_treated, is_control = here & judged.is_treatment, here & judged.is_held_out_control
    wells, controls = judged.vectors[is_treated], judged.vectors[is_control]
    names = judged.wells["perturbation_id"].to_numpy()[is_treated]
    unit = np.unique(names, return_inverse=True)[1]
    looked_at = pools(wells, unit, controls)
    mine, own_s = timed(lambda: [ours(pool) for pool in looked_at])
    plain, plain_s = timed(lambda: [transcribed(pool) for pool in looked_at[:N_DRAWN_UNITS]])
    difference = max(float(np.abs(one - other).max()) for one, other in zip(mine, plain, strict=False))
    plain_s *= len(looked_at) / N_DRAWN_UNITS
    result = {"n_profiles": len(wells), "n_controls": len(controls), "n_draws": N_DRAWS, "ours_s": own_s}
    result |= {"n_transcribed_units": N_DRAWN_UNITS, "n_units": len(looked_at)}
    result |= {"transcribed_s": plain_s, "transcribed_to_ours": plain_s / own_s, "largest_difference": difference}
    if reference_python is None:
        return result
    theirs, seconds = run_copairs(reference_python, wells, unit, controls)
    observed = np.empty(len(wells))
    for number, pool in enumerate(mine):
        observed[unit == number] = pool[0]
    per_draw_s = own_s / (1 + N_DRAWS)
    result |= {"copairs_s": seconds, "ours_per_draw_s": per_draw_s, "copairs_to_ours": seconds / per_draw_s}
    return result | {"largest_difference_copairs": float(np.abs(observed - theirs).max())}


def run_copairs(python: str, wells: np.ndarray, unit: np.ndarray, controls: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns copairs' average precisions and their seconds, without the start of the process."""
    with tempfile.TemporaryDirectory() as folder:
        data, found = Path(folder) / "data.npz", Path(folder) / "found.npz"
        is_control = np.arange(len(wells) + len(controls)) >= len(wells)
        # every control a unit of its own: copairs would otherwise rank controls for controls too
        units = np.concatenate([unit, unit.max() + 1 + np.arange(len(controls))])
        np.savez(data, wells=np.concatenate([wells, controls]), unit=units, is_control=is_control)
        subprocess.run([python, "-W", "ignore", "-c", COPAIRS, str(data), str(found)], check=True)
        with np.load(found) as values:
            return values["ap"], float(values["seconds"])


def measure_neighbours(judged: JudgedMap) -> dict[str, Any]:
    """Returns the seconds per thousand wells of the nearest neighbour in other batches."""
    wells = unit_rows(judged.vectors[judged.is_treatment]).astype(np.float32)
    batch = judged.wells["batch_id"].to_numpy()[judged.is_treatment]
    group = np.unique(batch, return_inverse=True)[1]
    found, own_s = timed(lambda: nearest_elsewhere(wells, np.arange(len(wells)), group)[:, 0])
    asked = np.random.default_rng(1).choice(len(wells), N_LOOP_WELLS, replace=False)

    def loop() -> list[int]:
        nearest = []
        for well in asked:
            elsewhere = np.flatnonzero(group != group[well])
            nearest.append(elsewhere[np.argmax(wells[elsewhere] @ wells[well])])
        return nearest

    plain, plain_s = timed(loop)
    per_own, per_plain = 1000 * own_s / len(wells), 1000 * plain_s / N_LOOP_WELLS
    return {
        "n_wells": len(wells),
        "n_loop_wells": N_LOOP_WELLS,
        "ours_s": own_s,
        "ours_s_per_1000": per_own,
        "loop_s_per_1000": per_plain,
        "loop_to_ours": per_plain / per_own,
        "agree_frac": float((found[asked] == np.array(plain)).mean()),
    }


def measure_probe(judged: JudgedMap) -> dict[str, Any]:
    """Returns seconds of the linear probe on one held-out batch: fit once, then a permutation, against a refit."""
    wells = judged.vectors[judged.is_treatment]
    label = np.unique(np.array(judged.units)[judged.is_treatment], return_inverse=True)[1]
    is_here = judged.wells["batch_id"].to_numpy()[judged.is_treatment] == "SIM-01"
    train, test, test_label = wells[~is_here], wells[is_here], label[is_here]

    def fit() -> Any:
        source = ArrayWells(wells)
        every, here = (
            source_moments(source, rows, has_products=True) for rows in (np.arange(len(wells)), np.flatnonzero(is_here))
        )
        training = every.less(here)
        metric = metric_of(training, summed_fourth_powers(wells, np.flatnonzero(~is_here), training.mean))
        return metric, metric.apply(test)

    def answer() -> np.ndarray:
        counts = np.bincount(label[~is_here])
        means = metric.apply(group_sums(train, label[~is_here], N_GENES) / counts[:, None])
        return nearest_class(rows, means, test_label, counts > 0)[0]

    def loop() -> list[bool]:
        centred = (train - train.mean(axis=0)).astype(np.float64)
        inverse = np.linalg.inv(np.cov(centred, rowvar=False, bias=True))
        means = np.stack([train[label[~is_here] == gene].mean(axis=0) for gene in range(N_GENES)])
        rights = []
        for well, own in zip(test[:N_LOOP_WELLS], test_label, strict=False):
            distances = [(well - mean) @ inverse @ (well - mean) for mean in means]
            rights.append(bool(np.argmin(distances) == own))
        return rights

    (metric, rows), fit_s = timed(fit)
    found, own_s = timed(answer)
    plain, plain_s = timed(loop)
    per_plain = plain_s / min(N_LOOP_WELLS, len(test)) * len(test)
    return {
        "n_test_wells": len(test),
        "n_loop_wells": N_LOOP_WELLS,
        "fit_s": fit_s,
        "permutation_s": own_s,
        "loop_s": per_plain,
        "loop_to_ours": per_plain / (fit_s + own_s),
        "agree_frac": float((found[:N_LOOP_WELLS] == np.array(plain)).mean()),
    }


def measure_evaluations(judged: JudgedMap) -> dict[str, float]:
    """Returns seconds of one evaluation of the published statistics, written out, of all genes."""
    names = np.array(judged.units)
    groups = [np.flatnonzero(names == f"GENE{number:04d}") for number in range(N_LOOP_GENES)]
    controls = judged.is_held_out_control

    def consistency() -> list[float]:
        found = []
        for rows in groups:
            cosines = 1 - pdist(judged.vectors[rows], "cosine")
            found.append(float(cosines.mean()))
        return found

    def magnitude() -> list[float]:
        found = []
        for rows in groups:
            here = controls & np.isin(judged.plate_index, judged.plate_index[rows])
            x, y = judged.vectors[rows], judged.vectors[here]
            found.append(float(2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()))
        return found

    def recall() -> float:
        cosines = 1 - pdist(tables_vectors(judged.map_table), "cosine")
        low, high = np.quantile(cosines, [0.05, 0.95])
        place = {name: number for number, name in enumerate(judged.map_table["gene_symbol"])}
        matrix = squareform(cosines)
        found = [matrix[place[a], place[b]] for a, b in judged.annotations.pairs["known"].rows()]
        return float(np.mean([value <= low or value >= high for value in found]))

    scale = N_GENES / N_LOOP_GENES
    return {
        "perturbation_consistency": timed(consistency)[1] * scale,
        "perturbation_magnitude": timed(magnitude)[1] * scale,
        "known_relationships": timed(recall)[1],
    }


def measure_benchmarks(judged: JudgedMap) -> dict[str, Any]:
    """Returns seconds and the most memory so far, in GiB, of each benchmark with its default parameters."""
    found, written_out = {}, measure_evaluations(judged)
    for name in NAMES:
        chosen = BENCHMARKS[name]
        rows, seconds = timed(lambda chosen=chosen: chosen.score(judged, chosen.parameters()))
        headline = next(row for row in rows if row.level == "summary" and row.metric == chosen.headline_metric)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        found[name] = {"seconds": seconds, "value": headline.value, "p_value": headline.p_value, "peak_gib": peak}
        if name in written_out:
            draw_s = seconds / (1 + chosen.parameters().n_permutations)
            evaluation = {"evaluation_s": written_out[name], "draw_s": draw_s, "ratio": written_out[name] / draw_s}
            found[name] |= evaluation
    return found


def rounded(value: Any) -> Any:
    """Returns nested numbers with four digits."""
    if isinstance(value, dict):
        return {name: rounded(entry) for name, entry in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    """Measures everything, prints it and writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference-python", help="an interpreter that has copairs")
    parser.add_argument("--n-features", type=int, default=128)
    arguments = parser.parse_args()
    judged = screen(arguments.n_features)
    result = {
        "n_wells": len(judged.units),
        "n_features": arguments.n_features,
        "average_precision": measure_average_precision(judged, arguments.reference_python),
        "nearest_neighbour": measure_neighbours(judged),
        "linear_probe": measure_probe(judged),
        "benchmarks": measure_benchmarks(judged),
    }
    text = json.dumps(rounded(result), indent=1)
    if arguments.n_features == 128:
        RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
