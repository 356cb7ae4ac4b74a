"""The catalogue: importing this module registers every benchmark, those of other packages too.

A new one of this package is a module of the family's folder, `declared.py`, that is named here.
"""

from cellassets.benchmarks.batches import declared as batches
from cellassets.benchmarks.compounds import declared as compounds
from cellassets.benchmarks.confounders import declared as confounders
from cellassets.benchmarks.definition import BENCHMARKS, Benchmark
from cellassets.benchmarks.plugins import load_plugins
from cellassets.benchmarks.relationships import declared as relationships
from cellassets.benchmarks.replicates import declared as replicates
from cellassets.benchmarks.retrieval import declared as retrieval
from cellassets.benchmarks.transfer import declared as transfer

OWN = (batches, compounds, confounders, relationships, replicates, retrieval, transfer)
FAILED_PLUGINS = load_plugins()

__all__ = ["BENCHMARKS", "FAILED_PLUGINS", "OWN", "Benchmark"]
