"""The catalogue: importing this module registers every benchmark. A new one is a module named here."""

from cellassets.scoring.catalogue import batches, relationships, replicates, retrieval
from cellassets.scoring.definition import BENCHMARKS, Benchmark

__all__ = ["BENCHMARKS", "Benchmark", "batches", "relationships", "replicates", "retrieval"]
