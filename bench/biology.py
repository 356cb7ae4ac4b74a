"""Speed of the benchmarks of biology compared with the published formulas written as loops, at the size of RxRx3-core.

1,000 genes and 1,674 compounds at 8 doses, 128 dimensions, 70,000 wells. A loop computes one evaluation of a statistic
(on some of the units, scaled to all: `loop_units`). The benchmark computes its whole null distribution; the time of one
draw is compared. Prints JSON, and writes it to bench/results/biology.json.
"""

import json
import statistics
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import brunnermunzel

from cellassets.benchmarks.effect_size import effect_sizes
from cellassets.benchmarks.judged import JudgedMap, judged_map
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.knowledge.annotations import Annotations
from cellassets.studies.simulated import SIMULATED_MAP
from cellassets.tables.parquet import vectors, with_vectors
from cellassets.tables.schemas import PERTURBATION_COLUMNS

RESULT = Path(__file__).parent / "results" / "biology.json"
N_GENES, N_COMPOUNDS, N_DOSES, N_COMBINATIONS, N_FEATURES, N_ARMS = 1000, 1674, 8, 200, 128, 40
GENE_BATCHES, COMPOUND_BATCHES = 15, 4
N_NEIGHBOURS, PERSISTENCE = 5, 0.9
LOOP_UNITS = 20

Loop = Callable[[JudgedMap, int], object]


def screened() -> list[dict[str, Any]]:
    """Returns the perturbation columns of every perturbation."""
    genes = [f"GENE{number:04d}" for number in range(N_GENES)]
    pairs = [f"{genes[number]}+{genes[number + N_GENES // 2]}" for number in range(N_COMBINATIONS)]
    found: list[dict[str, Any]] = [
        {"perturbation_id": name, "perturbation_kind": "gene", "gene_symbol": name} for name in (*genes, *pairs)
    ]
    for number in range(N_COMPOUNDS):
        for dose in range(N_DOSES):
            name, concentration = f"CMPD{number:04d}", 0.01 * 10 ** (dose / 2)
            columns = {"perturbation_kind": "compound", "compound_id": name, "concentration_um": concentration}
            found.append({"perturbation_id": f"{name}@{dose}", **columns})
    return found


def noise_wells() -> pl.DataFrame:
    """Returns wells of noise with controls; one plate for every 1,400 perturbations of a batch."""
    rng = np.random.default_rng(0)
    schema = {column.name: column.dtype for column in PERTURBATION_COLUMNS}
    table, control = pl.DataFrame(screened(), schema=schema), {"perturbation_id": "EMPTY", "control_kind": "negative"}
    controls = pl.DataFrame([{**control, "perturbation_kind": "control"}] * 40, schema=schema)
    tables = []
    for batch in range(GENE_BATCHES):
        is_here = (pl.col("perturbation_kind") == "gene") | pl.lit(batch < COMPOUND_BATCHES)
        for plate, rows in enumerate(table.filter(is_here).iter_slices(1400)):
            label = pl.lit(f"B{batch:02d}").alias("batch_id"), pl.lit(f"P{plate:02d}").alias("plate_id")
            tables.append(pl.concat([rows, controls]).with_row_index("number").with_columns(*label))
    wells = pl.concat(tables).with_columns(
        experiment_id=pl.col("batch_id"), well_id=pl.format("W{}", "number"), cell_type=pl.lit("SIM"), n_sites=pl.lit(1)
    )
    return with_vectors(wells, rng.standard_normal((wells.height, N_FEATURES)))


def map_of(wells: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Returns a map of noise with one row per perturbation of the wells."""
    columns = [column.name for column in PERTURBATION_COLUMNS]
    rows = wells.group_by(columns).agg(n_wells=pl.len().cast(pl.Int32)).sort("perturbation_id")
    return with_vectors(rows, np.random.default_rng(seed).standard_normal((rows.height, N_FEATURES)))


def screen() -> JudgedMap:
    """Returns the map, its wells, and its annotations."""
    wells = noise_wells()
    gene = [f"GENE{number:04d}" for number in range(N_GENES)]
    targets = [
        (f"CMPD{number:04d}", gene[(number * step) % N_GENES]) for number in range(N_COMPOUNDS) for step in (1, 3)
    ]
    arms = [(name, str(number % N_ARMS)) for number, name in enumerate(gene)]
    known = Annotations(
        targets={"planted": pl.DataFrame(targets, schema=["compound_id", "gene_symbol"], orient="row").unique()},
        gene_arms={"planted": pl.DataFrame(arms, schema=["gene_symbol", "chromosome_arm"], orient="row")},
    )
    other = {"OTHER": map_of(wells, 2)}
    return judged_map(wells, map_of(wells, 1), parameters=SIMULATED_MAP, annotations=known, other_maps=other)


def unit_vectors(table: pl.DataFrame) -> dict[str, np.ndarray]:
    """Returns each row's vector of length 1 by its name."""
    values = vectors(table).astype(np.float64)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return dict(zip(table["perturbation_id"].to_list(), values, strict=True))


def target_loop(judged: JudgedMap, n_units: int) -> object:
    """Average precision of some compounds, gene by gene."""
    unit, known = unit_vectors(judged.map_table), judged.annotations.targets["planted"]
    genes, found = sorted(known["gene_symbol"].unique().to_list()), []
    for compound in known["compound_id"].unique().sort().to_list()[:n_units]:
        targets = set(known.filter(pl.col("compound_id") == compound)["gene_symbol"].to_list())
        score = {gene: max(abs(unit[f"{compound}@{d}"] @ unit[gene]) for d in range(N_DOSES)) for gene in genes}
        n_hits, precisions = 0, []
        for rank, gene in enumerate(sorted(genes, key=lambda name: -score[name]), start=1):
            if gene in targets:
                n_hits += 1
                precisions.append(n_hits / rank)
        found.append(np.mean(precisions))
    return found


def dose_loop(judged: JudgedMap, n_units: int) -> object:
    """Pairs of wells of some compounds, plate by plate."""
    table = judged.wells.with_columns(effect=effect_sizes(judged), plate=judged.plate_index)
    table = table.filter(pl.col("compound_id").is_not_null()).select(
        "compound_id", "plate", "concentration_um", "effect"
    )
    found = []
    for compound in sorted(table["compound_id"].unique().to_list())[:n_units]:
        total = n_pairs = 0
        for _, wells in table.filter(pl.col("compound_id") == compound).group_by("plate"):
            rows = wells.select("concentration_um", "effect").rows()
            for (dose, effect), (other_dose, other_effect) in combinations(rows, 2):
                if dose != other_dose:
                    n_pairs += 1
                    total += 1 if (dose < other_dose) == (effect < other_effect) else -1
        found.append(total / n_pairs)
    return found


def proximity_loop(judged: JudgedMap, n_units: int) -> object:
    """Brunner and Munzel's test of some genes' cosines, by scipy."""
    unit, found = unit_vectors(judged.map_table), []
    arm = dict(judged.annotations.gene_arms["planted"].rows())
    for gene in sorted(arm)[:n_units]:
        cosines = {other: unit[gene] @ unit[other] for other in arm if other != gene}
        within = [value for other, value in cosines.items() if arm[other] == arm[gene]]
        between = [value for other, value in cosines.items() if arm[other] != arm[gene]]
        found.append(brunnermunzel(within, between).pvalue)
    return found


def neighbour_loop(judged: JudgedMap, n_units: int) -> object:
    """Jaccard index and rank-biased overlap of some perturbations, depth by depth."""
    maps = [unit_vectors(table.filter(pl.col("control_kind").is_null())) for table in
            (judged.map_table, judged.other_maps["OTHER"])]  # fmt: skip
    found = []
    for name in sorted(maps[0])[:n_units]:
        lists = []
        for unit in maps:
            cosines = {other: vector @ unit[name] for other, vector in unit.items() if other != name}
            lists.append(sorted(cosines, key=lambda other, cosines=cosines: -cosines[other]))
        first, second = (set(ranked[:N_NEIGHBOURS]) for ranked in lists)
        overlap = 0.0
        for depth in range(1, 67):
            share = len(set(lists[0][:depth]) & set(lists[1][:depth])) / depth
            overlap += (1 - PERSISTENCE) / PERSISTENCE * share * PERSISTENCE**depth
        found.append((len(first & second) / len(first | second), overlap + share * PERSISTENCE**66))
    return found


def analogy_loop(judged: JudgedMap, n_units: int) -> object:
    """Ranks of some combinations, candidate by candidate."""
    table = judged.map_table.filter(pl.col("control_kind").is_null())
    whole = dict(zip(table["perturbation_id"].to_list(), vectors(table).astype(np.float64), strict=True))
    found = []
    for name in sorted(name for name in whole if "+" in name)[:n_units]:
        parts = name.split("+")
        total = whole[parts[0]] + whole[parts[1]]
        cosines = {
            other: total @ vector / np.linalg.norm(total) / np.linalg.norm(vector)
            for other, vector in whole.items()
            if other not in parts
        }
        found.append(1 / sum(value >= cosines[name] for value in cosines.values()))
    return found


def seconds(work: Callable[[], object]) -> float:
    """Returns the processor time of one call; run it with one thread (OMP_NUM_THREADS=1)."""
    started = time.process_time()
    work()
    return time.process_time() - started


def measure(judged: JudgedMap, name: str, n_units: int, loop: Loop) -> dict[str, float]:
    """Returns the times of one benchmark and of its loop, and how many times faster a draw is."""
    chosen = BENCHMARKS[name]
    parameters = chosen.parameters()
    taken = seconds(lambda: chosen.score(judged, parameters))
    looped = statistics.median(seconds(lambda: loop(judged, LOOP_UNITS)) for _ in range(3))
    bare = statistics.median(seconds(lambda: loop(judged, 0)) for _ in range(3))
    a_draw = taken / (1 + parameters.n_permutations)
    whole = (looped - bare) / LOOP_UNITS * n_units
    return {
        "benchmark_s": round(taken, 2),
        "benchmark_s_a_draw": round(a_draw, 5),
        "loop_units": LOOP_UNITS,
        "loop_s_a_draw": round(whole, 3),
        "ratio": round(whole / a_draw, 1),
    }


def main() -> None:
    """Measures every benchmark of biology, prints and keeps the ratios."""
    judged = screen()
    n_all = N_GENES + N_COMBINATIONS + N_COMPOUNDS * N_DOSES
    loops: dict[str, tuple[int, Loop]] = {
        "compound_targets": (N_COMPOUNDS, target_loop),
        "dose_response": (N_COMPOUNDS, dose_loop),
        "proximity_bias": (N_GENES, proximity_loop),
        "cell_type_generalisation": (n_all, neighbour_loop),
        "analogies": (N_COMBINATIONS, analogy_loop),
    }
    result: dict[str, Any] = {"n_wells": judged.wells.height, "n_features": N_FEATURES, "n_perturbations": n_all}
    for name, (n_units, loop) in loops.items():
        result[name] = measure(judged, name, n_units, loop)
    text = json.dumps(result, indent=1)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
