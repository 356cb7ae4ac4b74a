"""Simulated wells: embeddings with planted complexes and nuisances, without images, for tests of the statistics.

A screen of a thousand wells takes milliseconds, so that p-values can be checked over hundreds of seeds.
"""

import numpy as np
import polars as pl
from pydantic import Field

from cellassets.configuration import Parameters
from cellassets.tables.parquet import with_vectors
from cellassets.tables.schemas import WELL_EMBEDDINGS


class SimulatedWells(Parameters):
    """What is simulated. Every plate holds every gene once, and its negative controls.

    Effects are in standard deviations of the noise of a well: `gene_effect` the length of a gene's own direction and
    of its complex's, `batch_effect` and `plate_effect` the shift of all wells of a batch or plate. In `shuffled` wells
    the labels, controls' included, are permuted within plates: nothing is left to find.
    """

    n_batches: int = Field(default=3, ge=1)
    n_plates_per_batch: int = Field(default=2, ge=1)
    n_complexes: int = Field(default=8, ge=0)
    genes_per_complex: int = Field(default=3, ge=2)
    n_lone_genes: int = Field(default=12, ge=0)
    n_controls_per_plate: int = Field(default=12, ge=2)
    n_features: int = Field(default=24, ge=2)
    gene_effect: float = Field(default=2.0, ge=0)
    batch_effect: float = Field(default=3.0, ge=0)
    plate_effect: float = Field(default=1.0, ge=0)
    is_shuffled: bool = False
    seed: int = 0


def simulate_wells(design: SimulatedWells) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns a WELL_EMBEDDINGS table before alignment, and the pairs of genes of one complex (entity1, entity2)."""
    rng = np.random.default_rng(design.seed)
    genes = _genes(design)
    effects = _effects(design, len(genes), rng)
    names = [*genes, *["EMPTY"] * design.n_controls_per_plate]
    tables, values = [], []
    for batch in range(design.n_batches):
        batch_shift = _shift(design.batch_effect, design, rng)
        batch_scale = rng.uniform(0.8, 1.25, design.n_features)
        for plate in range(design.n_plates_per_batch):
            shift = batch_shift + _shift(design.plate_effect, design, rng)
            noise = rng.standard_normal((len(names), design.n_features))
            values.append((effects + noise) * batch_scale + shift)
            order = rng.permutation(len(names)) if design.is_shuffled else np.arange(len(names))
            tables.append(_plate(f"SIM-{batch + 1}", f"Plate{plate + 1}", [names[place] for place in order]))
    wells = with_vectors(pl.concat(tables), np.concatenate(values))
    return WELL_EMBEDDINGS.conform(wells, source="simulated wells"), complex_pairs(design)


def complex_pairs(design: SimulatedWells) -> pl.DataFrame:
    """Returns all pairs of genes of one complex: entity1, entity2."""
    genes, size = _genes(design), design.genes_per_complex
    pairs = [
        (genes[first], genes[second])
        for start in range(0, design.n_complexes * size, size)
        for first in range(start, start + size)
        for second in range(first + 1, start + size)
    ]
    return pl.DataFrame(pairs, schema={"entity1": pl.String, "entity2": pl.String}, orient="row")


def _genes(design: SimulatedWells) -> list[str]:
    n_genes = design.n_complexes * design.genes_per_complex + design.n_lone_genes
    return [f"GENE{number:03d}" for number in range(n_genes)]


def _effects(design: SimulatedWells, n_genes: int, rng: np.random.Generator) -> np.ndarray:
    """Genes of a complex share four fifths of their direction's variance; controls do nothing."""
    own = _directions(n_genes, design, rng)
    shared = np.repeat(_directions(design.n_complexes, design, rng), design.genes_per_complex, axis=0)
    effects = own.copy()
    effects[: len(shared)] = np.sqrt(0.8) * shared + np.sqrt(0.2) * own[: len(shared)]
    controls = np.zeros((design.n_controls_per_plate, design.n_features))
    return np.concatenate([design.gene_effect * effects, controls])


def _directions(n: int, design: SimulatedWells, rng: np.random.Generator) -> np.ndarray:
    drawn = rng.standard_normal((n, design.n_features))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def _shift(length: float, design: SimulatedWells, rng: np.random.Generator) -> np.ndarray:
    return length * _directions(1, design, rng)[0]


def _plate(experiment_id: str, plate_id: str, names: list[str]) -> pl.DataFrame:
    is_control = [name == "EMPTY" for name in names]
    return pl.DataFrame(
        {
            "experiment_id": experiment_id,
            "plate_id": plate_id,
            "well_id": [f"{chr(ord('A') + place // 24)}{place % 24 + 1:02d}" for place in range(len(names))],
            "batch_id": experiment_id,
            "cell_type": "SIM",
            "perturbation_id": [
                name if control else f"{name}_g1" for name, control in zip(names, is_control, strict=True)
            ],
            "perturbation_kind": ["control" if control else "gene" for control in is_control],
            "gene_symbol": [None if control else name for name, control in zip(names, is_control, strict=True)],
            "guide_id": [None if control else f"{name}_g1" for name, control in zip(names, is_control, strict=True)],
            "compound_id": None,
            "concentration_um": None,
            "control_kind": ["negative" if control else None for control in is_control],
            "n_sites": 1,
        }
    )
