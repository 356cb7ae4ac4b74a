"""The catalogue: importing this module registers every benchmark, those of other packages too.

A new one of this package is a module of `cellassets.scoring.catalogue` that is named here.
"""

from cellassets.scoring.catalogue import (
    batches,
    compounds,
    confounders,
    relationships,
    replicates,
    retrieval,
    transfer,
)
from cellassets.scoring.definition import BENCHMARKS, Benchmark
from cellassets.scoring.plugins import load_plugins

OWN = (batches, compounds, confounders, relationships, replicates, retrieval, transfer)
FAILED_PLUGINS = load_plugins()

__all__ = ["BENCHMARKS", "FAILED_PLUGINS", "OWN", "Benchmark"]
