"""Writing the planted truth of a simulated screen as tables that benchmarks and people can read.

`gene_pairs.csv` has the two columns of an annotation table (entity1, entity2). `screen.py` writes the screen itself;
no image is read here.
"""

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl
from upath import UPath

from cellassets.storage.artifact import write_bytes
from cellassets.synthetic.axes import AXES, AXIS_NAMES
from cellassets.synthetic.biology import Biology, Perturbation, plant_biology
from cellassets.synthetic.design import ScreenDesign
from cellassets.synthetic.nuisances import Conditions, batch_conditions, plate_conditions

PAIRS_SCHEMA = {"entity1": pl.String, "entity2": pl.String}


def write_truth(design: ScreenDesign, folder: Path) -> None:
    """Writes the truth tables of `design` into `folder`.

    The files are `gene_pairs.csv` (pairs of genes of one complex), `opposite_pairs.csv` (pairs of genes of two opposite
    complexes), `complexes.csv`, `perturbations.csv` (one row per perturbation, one column per axis),
    `compound_targets.csv`, `nuisances.csv`, and `truth.json` (the design, the axes, the genes without an effect).
    """
    biology = plant_biology(design)
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "gene_pairs": pl.DataFrame(gene_pairs(biology), schema=PAIRS_SCHEMA, orient="row"),
        "opposite_pairs": pl.DataFrame(opposite_pairs(biology), schema=PAIRS_SCHEMA, orient="row"),
        "complexes": _complexes_table(biology),
        "perturbations": perturbations_table(biology),
        "compound_targets": _targets_table(biology),
        "nuisances": nuisances_table(design),
    }
    for name, table in tables.items():
        table.write_csv(folder / f"{name}.csv")
    truth = {
        "design": design.model_dump(mode="json"),
        "axes": {axis.name: axis.meaning for axis in AXES},
        "experiments": design.experiments,
        "inert_genes": biology.inert_genes,
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=1))


def write_truth_and_annotation(design: ScreenDesign, folder: Path, annotations: UPath) -> None:
    """Writes the truth tables of `design`, and its pairs of genes as the annotation `planted_complexes.csv`.

    Args:
        design: the simulated screen.
        folder: for the truth tables.
        annotations: the folder of annotations of a lake, where benchmarks find the pairs.
    """
    write_truth(design, folder)
    write_bytes(annotations / "planted_complexes.csv", (folder / "gene_pairs.csv").read_bytes())


def gene_pairs(biology: Biology) -> list[tuple[str, str]]:
    """Returns the pairs of genes of one complex; they act in the same direction."""
    return [pair for group in biology.complexes for pair in combinations(group.gene_symbols, 2)]


def opposite_pairs(biology: Biology) -> list[tuple[str, str]]:
    """Returns the pairs of genes of two opposite complexes; they act in opposite directions."""
    groups = {group.name: group for group in biology.complexes}
    return [
        (gene, other)
        for group in biology.complexes
        if group.opposite_of is not None
        for gene in groups[group.opposite_of].gene_symbols
        for other in group.gene_symbols
    ]


def perturbations_table(biology: Biology) -> pl.DataFrame:
    """Returns one row per perturbation: its identity, its strength, and its effect along every axis in axis units."""
    identity = {
        "perturbation_id": pl.String,
        "well_type": pl.String,
        "perturbation_kind": pl.String,
        "gene_symbol": pl.String,
        "guide_id": pl.String,
        "compound_id": pl.String,
        "concentration_um": pl.Float64,
        "complex": pl.String,
        "strength": pl.Float64,
    }
    schema = identity | dict.fromkeys(AXIS_NAMES, pl.Float64)
    return pl.DataFrame([_perturbation_row(p) for p in biology.perturbations], schema=schema, orient="row")


def nuisances_table(design: ScreenDesign) -> pl.DataFrame:
    """Returns one row per number of a batch's or plate's nuisance; `plate_id` is null for a batch."""
    schema = {
        "experiment_id": pl.String,
        "plate_id": pl.String,
        "nuisance_kind": pl.String,
        "name": pl.String,
        "value": pl.Float64,
    }
    return pl.DataFrame(list(_nuisance_rows(design)), schema=schema, orient="row")


def _perturbation_row(perturbation: Perturbation) -> tuple[Any, ...]:
    identity = (
        perturbation.perturbation_id,
        perturbation.well_type,
        perturbation.perturbation_kind,
        perturbation.gene_symbol,
        perturbation.guide_id,
        perturbation.compound_id,
        perturbation.concentration_um,
        perturbation.complex_name,
        perturbation.strength,
    )
    return (*identity, *perturbation.effect.tolist())


def _nuisance_rows(design: ScreenDesign) -> Iterator[tuple[str, str | None, str, str, float]]:
    for experiment_id in design.experiments:
        found: list[tuple[str | None, str, Conditions]] = [(None, "batch", batch_conditions(design, experiment_id))]
        found += [(plate, "plate", plate_conditions(design, experiment_id, plate)) for plate in design.plate_ids]
        for plate_id, kind, conditions in found:
            for name, value in conditions.values().items():
                yield experiment_id, plate_id, kind, name, value


def _complexes_table(biology: Biology) -> pl.DataFrame:
    rows = [(group.name, gene, group.sign) for group in biology.complexes for gene in group.gene_symbols]
    return pl.DataFrame(rows, schema={"complex": pl.String, "gene_symbol": pl.String, "sign": pl.Int64}, orient="row")


def _targets_table(biology: Biology) -> pl.DataFrame:
    genes = {group.name: group.gene_symbols for group in biology.complexes}
    rows = [
        (compound.compound_id, gene, compound.target, compound.ec50_um, compound.hill)
        for compound in biology.compounds
        if compound.target is not None
        for gene in genes[compound.target]
    ]
    schema = {
        "compound_id": pl.String,
        "gene_symbol": pl.String,
        "complex": pl.String,
        "ec50_um": pl.Float64,
        "hill": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
