"""Derives `parity.json`: what each published step makes of 24 wells, from the published formulas, well by well.

Nothing of cellassets is used: loops over batches and features, the singular value decomposition, and scipy's general
power of a matrix. The numbers were compared once with the reference implementations themselves (EFAAR_benchmarking of
October 2024, pycytominer 1.7.1, proxbias 0.11.0): see `CHECKED`.

    python tests/mapping/data/derive_parity.py    writes parity.json again
"""

import json
from pathlib import Path

import numpy as np
from scipy.linalg import fractional_matrix_power

PATH = Path(__file__).with_name("parity.json")
CHECKED = "equal to the reference implementations to 1e-9, principal axes up to their sign"


def inputs():
    """24 wells of 3 features in 3 batches with 4 controls each; every batch is shifted, scaled and has 2 plates."""
    rng = np.random.default_rng(2024)
    mixing = np.array([[1.0, 0.4, 0.0], [0.0, 0.8, -0.5], [0.0, 0.0, 1.5]])
    parts = [rng.standard_normal((8, 3)) @ mixing * scale + shift for scale, shift in ((1, 0), (2, 5), (0.5, -3))]
    return {
        "values": np.round(np.concatenate(parts), 3).tolist(),
        "batch": [0] * 8 + [1] * 8 + [2] * 8,
        "plate": [well // 4 for well in range(24)],
        "is_control": [well % 8 in (0, 2, 4, 5) for well in range(24)],
        "gene": [f"G{well % 4}" for well in range(24)],
        "arm": {"G0": "1p", "G1": "1p", "G2": "1p", "G3": "2q"},
    }


def centre_scale(values, fitted, groups, *, is_scaled=True):
    out = np.empty_like(values)
    for group in sorted(set(groups)):
        for j in range(values.shape[1]):
            rows = [i for i in range(len(values)) if groups[i] == group]
            learnt = [values[i, j] for i in rows if fitted[i]]
            mean = sum(learnt) / len(learnt)
            deviation = (sum((x - mean) ** 2 for x in learnt) / len(learnt)) ** 0.5
            for i in rows:
                out[i, j] = (values[i, j] - mean) / (deviation if is_scaled else 1.0)
    return out


def pca(values, fitted):
    mean = values[fitted].mean(axis=0)
    axes = np.linalg.svd(values[fitted] - mean)[2]
    return (values - mean) @ axes.T


def tvn(values, is_control, batch, *, is_recoloured=False):
    whole = [0] * len(values)
    white = centre_scale(pca(centre_scale(values, is_control, whole), is_control), is_control, whole)
    identity = np.eye(white.shape[1])
    colour = fractional_matrix_power(np.cov(white[is_control].T) + 0.5 * identity, 0.5) if is_recoloured else identity
    out = np.empty_like(white)
    for b in sorted(set(batch)):
        rows = np.array([x == b for x in batch])
        own = np.cov(white[rows & is_control].T) + 0.5 * identity
        out[rows] = white[rows] @ fractional_matrix_power(own, -0.5) @ colour
    return out


def robust_z(values, fitted, groups):
    out = np.empty_like(values)
    for group in sorted(set(groups)):
        rows = [i for i in range(len(values)) if groups[i] == group]
        for j in range(values.shape[1]):
            learnt = sorted(values[i, j] for i in rows if fitted[i])
            median = middle(learnt)
            deviation = 1.4826 * middle(sorted(abs(x - median) for x in learnt))
            for i in rows:
                out[i, j] = (values[i, j] - median) / (deviation + 1e-18)
    return out


def middle(ordered):
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def sphering(values, is_control, method):
    mean = values[is_control].mean(axis=0)
    deviation = values[is_control].std(axis=0) if method.endswith("_cor") else 1.0
    standard = (values - mean) / deviation
    _, singular, axes = np.linalg.svd(standard[is_control], full_matrices=False)
    matrix = axes.T @ np.diag(np.sqrt(is_control.sum() - 1) / (singular + 1e-6))
    return standard @ (matrix @ axes if method.startswith("zca") else matrix)


def chromosome_arm(values, genes, arm_of_gene, min_genes):
    profiles = {g: values[[i for i, x in enumerate(genes) if x == g]].mean(axis=0) for g in sorted(set(genes))}
    out = {}
    for gene, profile in profiles.items():
        mates = [profiles[g] for g in profiles if arm_of_gene[g] == arm_of_gene[gene]]
        out[gene] = (profile - sum(mates) / len(mates) if len(mates) > min_genes else profile).tolist()
    return out


def expected(given):
    """Returns what every step makes of the wells."""
    values, is_control = np.array(given["values"]), np.array(given["is_control"])
    every, batch, plate, whole = np.ones(24, dtype=bool), given["batch"], given["plate"], [0] * 24
    by_group = [values[[i for i in range(24) if given["gene"][i] == g]] for g in ("G0", "G1", "G2", "G3")]
    found = {
        "centre_all": centre_scale(values, every, batch, is_scaled=False),
        "centre_controls": centre_scale(values, is_control, batch, is_scaled=False),
        "centre_scale_all": centre_scale(values, every, batch),
        "centre_scale_controls": centre_scale(values, is_control, batch),
        "centre_scale_controls_dataset": centre_scale(values, is_control, whole),
        "centre_scale_all_dataset": centre_scale(values, every, whole),
        "pca": pca(values, every),
        "pca_scaled_first": pca(centre_scale(values, every, batch), every),
        "tvn": tvn(values, is_control, batch),
        "tvn_recoloured": tvn(values, is_control, batch, is_recoloured=True),
        "robust_z_all": robust_z(values, every, plate),
        "robust_z_controls": robust_z(values, is_control, batch),
        **{f"sphering_{m}": sphering(values, is_control, m) for m in ("zca", "zca_cor", "pca", "pca_cor")},
        "mean": np.array([rows.mean(axis=0) for rows in by_group]),
        "median": np.array([[middle(sorted(rows[:, j])) for j in range(3)] for rows in by_group]),
    }
    tables = {name: np.round(table, 12).tolist() for name, table in found.items()}
    return {**tables, "chromosome_arm": chromosome_arm(values, given["gene"], given["arm"], 2)}


if __name__ == "__main__":
    made = inputs()
    PATH.write_text(json.dumps({"checked": CHECKED, "inputs": made, "expected": expected(made)}) + "\n")
