"""Which part of an annotation source each dataset can be judged by, from the manifests of its experiments."""

from typing import TYPE_CHECKING

from cellassets.errors import CellAssetsError
from cellassets.stages.datasets import dataset_experiments, dataset_named, dataset_names
from cellassets.stages.snapshot import Snapshot

if TYPE_CHECKING:
    from cellassets.knowledge.annotation_files import Source
    from cellassets.knowledge.coverage import Coverage


def coverage_of_datasets(snapshot: Snapshot, source: "Source") -> "dict[str, Coverage]":
    """Returns the coverage of each dataset that can be used, by name; none before the first experiment is stored."""
    from cellassets.knowledge.coverage import coverage

    found = {}
    for dataset_id in dataset_names(snapshot):
        try:
            genes, compounds = _names(snapshot, dataset_id)
        except CellAssetsError:  # a dataset that cannot be used: `cellassets dataset list` says why
            continue
        found[dataset_id] = coverage(source, genes, compounds)
    return found


def _names(snapshot: Snapshot, dataset_id: str) -> tuple[set[str], set[str]]:
    """Genes and compounds of the dataset's wells, without controls."""
    import polars as pl

    from cellassets.screens.well_selection import selected_wells
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import WELLS

    dataset = dataset_named(snapshot, dataset_id)
    genes: set[str] = set()
    compounds: set[str] = set()
    for experiment_id in dataset_experiments(snapshot, dataset_id):
        manifest = snapshot.deployment.lake.open(snapshot.need("raw_plates", experiment_id))
        wells = read_table(manifest.file("wells.parquet"), WELLS).filter(pl.col("control_kind").is_null())
        wells = selected_wells(wells, dataset.cell_types, dataset.perturbation_kinds)
        genes.update(wells["gene_symbol"].drop_nulls().to_list())
        compounds.update(wells["compound_id"].drop_nulls().to_list())
    return genes, compounds
