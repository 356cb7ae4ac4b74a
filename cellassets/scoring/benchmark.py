"""The catalogue: importing this module registers every benchmark. A new one is a module named here."""

from cellassets.scoring.catalogue import compounds, confounders, relationships, replicates, transfer
from cellassets.scoring.definition import BENCHMARKS, Benchmark

__all__ = ["BENCHMARKS", "Benchmark", "compounds", "confounders", "relationships", "replicates", "transfer"]
