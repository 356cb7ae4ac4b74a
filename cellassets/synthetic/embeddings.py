"""Simulated wells: embeddings with planted biology and nuisances, without images, for tests of the statistics.

A screen of a thousand wells takes milliseconds, so p-values can be checked over hundreds of seeds. The planted truth is
returned with the wells: complexes, targets of compounds, chromosome arms.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from pydantic import Field

from cellassets.configuration import Parameters
from cellassets.synthetic.treatments import Treatment, positive_controls, treatments
from cellassets.synthetic.well_places import Layout, places_of_slots, smooth_field, steady_effects, well_name
from cellassets.tables.parquet import with_vectors
from cellassets.tables.schemas import PERTURBATION_COLUMNS, WELL_EMBEDDINGS


class SimulatedWells(Parameters):
    """Design of simulated wells. By default every plate holds every treatment once, and negative controls.

    Effects are lengths in standard deviations of a well's noise.

    Attributes:
        gene_effect: effect of a gene, along a direction that it mostly shares with its complex.
        guide_effect: effect that every guide of one gene has of its own; guides of combinations have none.
        compound_effect: effect of a compound at an infinite dose, along the direction of its target.
        n_positive_controls: positive controls, one well each on every plate; the length of their effects is
            `compound_effect`, each along its own direction.
        n_annotated_compounds: compounds with an annotated target that are not in the screen; number i targets gene i.
        arm_effect: effect that all genes of one chromosome arm share.
        common_effect: mean effect along one direction that all genes share to different extents (poor cell growth).
        batch_effect: shift of all wells of a batch; a batch with a shift also has its own scale.
        plate_effect: shift of all wells of a plate.
        position_effect: differences between rows, columns and the outer ring, the same on every plate.
        field_effect: smooth differences between places, other ones on every plate.
        n_wells_per_plate: wells of a treatment on a plate; they are neighbours in a row.
        layout: `in_order`: treatments follow each other, then controls, on every plate. `fixed`: at random places,
            the same on every plate where every treatment is on every plate. `new`: at other random places on every
            plate.
        plate_share: lowest and highest fraction of plates that a treatment is on; replicate numbers then differ.
        n_batches_per_treatment: number of batches that each treatment is in; None for all.
        own_share: fraction of the effects' variance that only this `cell_type` has, in designs with one
            `biology_seed`; the rest is the same in all of them.
        is_shuffled: permutes all labels within plates, controls included, so that no effect can be found.
        biology_seed: seed of the effects; None to draw them from `seed`.
    """

    n_batches: int = Field(default=3, ge=1)
    n_plates_per_batch: int = Field(default=2, ge=1)
    n_complexes: int = Field(default=8, ge=0)
    genes_per_complex: int = Field(default=3, ge=2)
    n_lone_genes: int = Field(default=12, ge=0)
    n_guides_per_gene: int = Field(default=1, ge=1)
    n_combinations: int = Field(default=0, ge=0)
    n_compounds: int = Field(default=0, ge=0)
    n_doses: int = Field(default=6, ge=2)
    n_arms: int = Field(default=6, ge=2)
    n_controls_per_plate: int = Field(default=12, ge=2)
    n_positive_controls: int = Field(default=0, ge=0)
    n_annotated_compounds: int = Field(default=0, ge=0)
    n_features: int = Field(default=24, ge=2)
    gene_effect: float = Field(default=2.0, ge=0)
    guide_effect: float = Field(default=0.0, ge=0)
    compound_effect: float = Field(default=3.0, ge=0)
    arm_effect: float = Field(default=0.0, ge=0)
    common_effect: float = Field(default=0.0, ge=0)
    batch_effect: float = Field(default=3.0, ge=0)
    plate_effect: float = Field(default=1.0, ge=0)
    position_effect: float = Field(default=0.0, ge=0)
    field_effect: float = Field(default=0.0, ge=0)
    n_wells_per_plate: int = Field(default=1, ge=1)
    layout: Layout = "in_order"
    plate_share: tuple[float, float] = (1.0, 1.0)
    n_batches_per_treatment: int | None = Field(default=None, ge=1)
    own_share: float = Field(default=0.0, ge=0, le=1)
    cell_type: str = "SIM"
    is_shuffled: bool = False
    biology_seed: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Known:
    """The planted truth: pairs and sets of genes of one complex, targets of compounds, chromosome arms of genes."""

    pairs: pl.DataFrame
    sets: pl.DataFrame
    targets: pl.DataFrame
    gene_arms: pl.DataFrame


def simulate_wells(design: SimulatedWells) -> tuple[pl.DataFrame, Known]:
    """Returns a WELL_EMBEDDINGS table before alignment, and the planted truth."""
    rng = np.random.default_rng(design.seed)
    genes = _genes(design)
    screened = treatments(
        genes,
        n_guides=design.n_guides_per_gene,
        n_combinations=design.n_combinations,
        n_compounds=design.n_compounds,
        n_doses=design.n_doses,
    )
    effects = _treatment_effects(design, genes, screened, rng)
    is_present = _presence(design, len(screened), rng)
    if design.n_positive_controls:
        screened += positive_controls(design.n_positive_controls)
        own = _directions(design.n_positive_controls, design, np.random.default_rng((design.seed, 2)))
        effects = np.concatenate([effects, design.compound_effect * own])
        on_every_plate = np.ones((design.n_positive_controls, is_present.shape[1]), dtype=bool)
        is_present = np.concatenate([is_present, on_every_plate])
    nowhere = np.zeros((1, design.n_features))
    place_effects = (
        steady_effects(design.position_effect * _directions(3, design, rng)) if design.position_effect else nowhere
    )
    tables, values = [], []
    for batch in range(design.n_batches):
        batch_shift = _shift(design.batch_effect, design, rng)
        drawn_scale = rng.uniform(0.8, 1.25, design.n_features)
        batch_scale = drawn_scale if design.batch_effect else np.ones(design.n_features)
        for plate in range(design.n_plates_per_batch):
            shift = batch_shift + _shift(design.plate_effect, design, rng)
            here = np.flatnonzero(is_present[:, batch * design.n_plates_per_batch + plate])
            here = np.repeat(here, design.n_wells_per_plate)
            rows = [*(screened[number] for number in here), *[None] * design.n_controls_per_plate]
            place = _places(design, here, len(screened), (batch, plate))
            truth = np.concatenate([effects[here], np.zeros((design.n_controls_per_plate, design.n_features))])
            noise = rng.standard_normal((len(rows), design.n_features))
            if design.field_effect:
                noise += smooth_field(design.field_effect, design.n_features, rng)[place]
            values.append((truth + noise + place_effects[place % len(place_effects)]) * batch_scale + shift)
            order = rng.permutation(len(rows)) if design.is_shuffled else np.arange(len(rows))
            tables.append(_plate(design, (batch, plate), [rows[number] for number in order], place))
    wells = with_vectors(pl.concat(tables), np.concatenate(values))
    return WELL_EMBEDDINGS.conform(wells, source="simulated wells"), _known(design, genes, screened)


def another_cell_type(design: SimulatedWells) -> SimulatedWells:
    """Returns the design of the same screen in another cell type: the same biology, but other noise and shifts."""
    biology_seed = design.seed if design.biology_seed is None else design.biology_seed
    changes = {"cell_type": f"{design.cell_type}2", "seed": design.seed + 500_000, "biology_seed": biology_seed}
    return design.model_copy(update=changes)


def _genes(design: SimulatedWells) -> list[str]:
    n_genes = design.n_complexes * design.genes_per_complex + design.n_lone_genes
    return [f"GENE{number:03d}" for number in range(n_genes)]


def _treatment_effects(
    design: SimulatedWells, genes: list[str], screened: list[Treatment], rng: np.random.Generator
) -> Float[np.ndarray, "treatment feature"]:
    """Returns the effect of each treatment.

    A guide has the effect of its gene, a combination the sum of its genes, a compound that of its target by dose.
    """
    biology = rng if design.biology_seed is None else np.random.default_rng(design.biology_seed)
    of_gene = _gene_effects(design, len(genes), biology)
    if design.own_share:
        own = _gene_effects(design, len(genes), np.random.default_rng((design.seed, 1)))
        of_gene = np.sqrt(1 - design.own_share) * of_gene + np.sqrt(design.own_share) * own
    number = {gene: place for place, gene in enumerate(genes)}
    of_compound = design.compound_effect / (design.gene_effect or np.inf)
    effects = np.zeros((len(screened), design.n_features))
    for row, treatment in enumerate(screened):
        strength = 1.0 if treatment.compound_id is None else of_compound * treatment.response
        effects[row] = strength * of_gene[[number[gene] for gene in treatment.genes]].sum(axis=0)
    if design.guide_effect:
        is_guide = np.array([treatment.compound_id is None and len(treatment.genes) == 1 for treatment in screened])
        effects[is_guide] += design.guide_effect * _directions(int(is_guide.sum()), design, biology)
    return effects


def _gene_effects(design: SimulatedWells, n_genes: int, rng: np.random.Generator) -> Float[np.ndarray, "gene feature"]:
    """Returns the effect of each gene; genes of a complex share four fifths of the variance of their direction."""
    own = _directions(n_genes, design, rng)
    shared = np.repeat(_directions(design.n_complexes, design, rng), design.genes_per_complex, axis=0)
    effects = own.copy()
    effects[: len(shared)] = np.sqrt(0.8) * shared + np.sqrt(0.2) * own[: len(shared)]
    effects = design.gene_effect * effects
    if design.arm_effect:
        effects += design.arm_effect * _directions(design.n_arms, design, rng)[np.arange(n_genes) % design.n_arms]
    if design.common_effect:
        effects += design.common_effect * rng.exponential(size=(n_genes, 1)) * _directions(1, design, rng)
    return effects


def _presence(design: SimulatedWells, n_treatments: int, rng: np.random.Generator) -> np.ndarray:
    """Returns which treatment is on which plate (treatments x plates); each is on at least two if there are two."""
    n_plates = design.n_batches * design.n_plates_per_batch
    is_present = np.ones((n_treatments, n_plates), dtype=bool)
    if design.plate_share != (1.0, 1.0):
        n_kept = np.maximum(min(2, n_plates), np.round(rng.uniform(*design.plate_share, n_treatments) * n_plates))
        is_present = rng.random((n_treatments, n_plates)).argsort(axis=1).argsort(axis=1) < n_kept[:, None]
    if design.n_batches_per_treatment is not None:
        ranks = rng.random((n_treatments, design.n_batches)).argsort(axis=1).argsort(axis=1)
        is_present &= np.repeat(ranks < design.n_batches_per_treatment, design.n_plates_per_batch, axis=1)
    return is_present


def _places(
    design: SimulatedWells, here: Int[np.ndarray, "well"], n_treatments: int, plate: tuple[int, int]
) -> Int[np.ndarray, "well_or_control"]:
    """The places of the treated wells and the controls of a plate; each treatment has neighbouring wells."""
    width, n_controls = design.n_wells_per_plate, design.n_controls_per_plate
    if design.layout == "in_order":
        first = here * width + np.arange(len(here)) % width
        return np.concatenate([first, n_treatments * width + np.arange(n_controls)])
    rng = np.random.default_rng((design.seed, 3, *(plate if design.layout == "new" else ())))
    sizes = [width] * (len(here) // width) + [1] * n_controls
    return places_of_slots(sizes, width, rng)


def _directions(n: int, design: SimulatedWells, rng: np.random.Generator) -> np.ndarray:
    drawn = rng.standard_normal((n, design.n_features))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def _shift(length: float, design: SimulatedWells, rng: np.random.Generator) -> np.ndarray:
    return length * _directions(1, design, rng)[0]


def _plate(
    design: SimulatedWells, numbers: tuple[int, int], rows: list[Treatment | None], place: np.ndarray
) -> pl.DataFrame:
    """Returns the wells of one plate; None in `rows` is a negative control."""
    columns = [column.name for column in PERTURBATION_COLUMNS]
    control = {"perturbation_id": "EMPTY", "perturbation_kind": "control", "control_kind": "negative"}
    labels = [control if row is None else row.columns() for row in rows]
    experiment_id = f"{design.cell_type}-{numbers[0] + 1}"
    schema = {column.name: column.dtype for column in PERTURBATION_COLUMNS}
    return pl.DataFrame([{name: row.get(name) for name in columns} for row in labels], schema=schema).with_columns(
        pl.lit(experiment_id).alias("experiment_id"),
        pl.lit(f"Plate{numbers[1] + 1}").alias("plate_id"),
        pl.Series("well_id", [well_name(int(number)) for number in place]),
        pl.lit(experiment_id).alias("batch_id"),
        pl.lit(design.cell_type).alias("cell_type"),
        pl.lit(1).alias("n_sites"),
    )


def _known(design: SimulatedWells, genes: list[str], screened: list[Treatment]) -> Known:
    size, n_arms = design.genes_per_complex, design.n_arms
    complexes = [genes[start : start + size] for start in range(0, design.n_complexes * size, size)]
    screened_targets = {(row.compound_id, row.genes[0]) for row in screened if row.compound_id and row.genes}
    others = {(f"ELSEWHERE{number:03d}", genes[number]) for number in range(design.n_annotated_compounds)}
    return Known(
        _table("entity1", "entity2", [pair for members in complexes for pair in combinations(members, 2)]),
        _table("set_id", "member", [(f"complex{n:02d}", g) for n, members in enumerate(complexes) for g in members]),
        _table("compound_id", "gene_symbol", sorted(screened_targets | others)),
        _table("gene_symbol", "chromosome_arm", [(gene, _arm(n % n_arms)) for n, gene in enumerate(genes)]),
    )


def _arm(number: int) -> str:
    return f"{1 + number // 2}{'pq'[number % 2]}"


def _table(first: str, second: str, rows: list[tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={first: pl.String, second: pl.String}, orient="row")
