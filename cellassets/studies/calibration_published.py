"""p-values of published statistics on the screens of the calibration study, shown beside the calibrated ones.

Each function takes a simulated map and a seed, and returns one p-value as the reference computes it: of one gene or of
the whole map. The statistics are in `cellassets.benchmarks.published`.
"""

from collections.abc import Callable

import numpy as np

from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.map_genes import map_genes
from cellassets.benchmarks.published import copairs, copairs_null, efaar_map, efaar_wells, proxbias
from cellassets.benchmarks.published.beside_wells import guide_profiles
from cellassets.mapping.relate import is_combination

CONTROL = "control"
N_CLUSTER_GENES = 10
N_DRAWS = 999


def consistency(judged: JudgedMap, seed: int) -> float:
    """EFAAR's consistency of one gene against all others, which have no effect here, like unexpressed genes."""
    wells, names, chosen = _genes(judged, seed)
    others = sorted(set(names) - {chosen})
    return float(efaar_wells.perturbation_consistency(wells, names, unexpressed=others)["p_value"][0])


def magnitude(judged: JudgedMap, seed: int) -> float:
    """EFAAR's magnitude of one gene against all others, by the held-out controls."""
    wells, names, chosen = _genes(judged, seed)
    controls = judged.vectors[judged.is_held_out_control]
    found = efaar_wells.perturbation_magnitude(
        np.concatenate([wells, controls]),
        np.concatenate([names, np.full(len(controls), CONTROL)]),
        control=CONTROL,
        unexpressed=sorted(set(names) - {chosen}),
    )
    return float(found["p_value"][0])


def clusters(judged: JudgedMap, seed: int) -> float:
    """EFAAR's Kolmogorov-Smirnov test of a cluster of random genes."""
    genes = map_genes(judged, "clusters")
    cluster = np.random.default_rng(seed).choice(genes.names, N_CLUSTER_GENES, replace=False).tolist()
    return float(efaar_map.cluster_separation(genes.vectors, genes.names, {"random": cluster})["p_value"][0])


def activity(judged: JudgedMap, seed: int) -> float:
    """The p-value by copairs of one perturbation's mean average precision against the held-out controls."""
    is_looked_at = judged.is_treatment | judged.is_held_out_control
    names, is_control = np.array(judged.units)[is_looked_at], judged.is_held_out_control[is_looked_at]
    scores = copairs.phenotypic_activity(judged.vectors[is_looked_at], names, is_control)
    return _of_one(scores, names, seed)


def label_consistency(judged: JudgedMap, seed: int) -> float:
    """The p-value by copairs of one gene's mean average precision: its guides before those of other genes."""
    is_kept = judged.wells["perturbation_kind"].eq("gene").to_numpy() & judged.is_treatment
    profiles, guides, genes = guide_profiles(judged, is_kept)
    return _of_one(copairs.phenotypic_consistency(profiles, genes, guides), genes, seed)


def arms(judged: JudgedMap, _seed: int) -> float:
    """The p-value by proxbias of the whole genome."""
    genes = map_genes(judged, "proximity_bias")
    arm_of = judged.annotations.arm_of_gene()
    on_arm = np.array([name in arm_of for name in genes.names])
    arm = np.array([arm_of[name] for name in genes.names if name in arm_of])
    return proxbias.proximity_bias(genes.vectors[on_arm], arm)[0].p_value


# by benchmark: the publication and unit of the statistic beside it, and the function of its p-value
PUBLISHED: dict[str, tuple[str, Callable[[JudgedMap, int], float]]] = {
    "perturbation_consistency": ("EFAAR, one gene", consistency),
    "perturbation_magnitude": ("EFAAR, one gene", magnitude),
    "known_relationships": ("EFAAR, one cluster", clusters),
    "phenotypic_activity": ("copairs, one unit", activity),
    "phenotypic_consistency": ("copairs, one gene", label_consistency),
    "proximity_bias": ("proxbias, whole genome", arms),
}


def _genes(judged: JudgedMap, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Wells of single genes, the gene of each well, and the gene that is tested."""
    names = np.array(judged.units)
    is_gene = judged.wells["perturbation_kind"].eq("gene").to_numpy() & judged.is_treatment
    is_gene &= np.array([not is_combination(name) for name in judged.units])
    known = np.unique(names[is_gene])
    return judged.vectors[is_gene], names[is_gene], str(known[seed % len(known)])


def _of_one(scores: copairs.AveragePrecision, group: np.ndarray, seed: int) -> float:
    found = copairs_null.mean_average_precision(scores, group, n_draws=N_DRAWS, seed=seed)
    return float(found["p_value"][seed % found.height])
