"""The table of genes and chromosome arms that alignment reads: `gene_arms.csv` in the folder of annotations.

Benchmarks read chromosome arms from any annotation source (`annotations.py`). The step `chromosome_arm` reads this one
file, with its column `is_expressed` where there is one.
"""

import polars as pl
from upath import UPath

from cellassets.errors import AlignmentError

GENE_ARMS_NAME = "gene_arms.csv"


def gene_arms_path(annotations: UPath) -> UPath:
    """Returns the path of the table in a folder of annotations.

    Raises:
        AlignmentError: there is no such file.
    """
    path = annotations / GENE_ARMS_NAME
    if not path.is_file():
        message = (
            f"{path}: no such file; the step chromosome_arm reads it: a CSV with gene_symbol and chromosome_arm, one "
            "row per gene"
        )
        raise AlignmentError(message)
    return path


def read_gene_arms(annotations: UPath) -> pl.DataFrame:
    """Returns gene_symbol, chromosome_arm and the other columns of the table, as the file has them.

    Raises:
        AlignmentError: there is no such file.
    """
    return pl.read_csv(gene_arms_path(annotations).read_bytes())
