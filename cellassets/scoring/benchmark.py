"""The catalogue: importing this module registers every benchmark. A new one is a module and an import here."""

from cellassets.scoring import consistency, magnitude, relationships
from cellassets.scoring.definition import BENCHMARKS, Benchmark

__all__ = ["BENCHMARKS", "Benchmark", "consistency", "magnitude", "relationships"]
