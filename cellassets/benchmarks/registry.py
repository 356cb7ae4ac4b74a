"""The catalogue: all benchmarks by name, those of other packages too.

A new benchmark of this package is declared in the `benchmarks.py` of its family. Importing this module imports neither
numpy nor polars, unless another package does.
"""

from cellassets.benchmarks.batches.benchmarks import BATCHES
from cellassets.benchmarks.compounds.benchmarks import COMPOUNDS
from cellassets.benchmarks.confounders.benchmarks import CONFOUNDERS
from cellassets.benchmarks.definition import Benchmark
from cellassets.benchmarks.jump.benchmarks import JUMP
from cellassets.benchmarks.known_measures.benchmarks import KNOWN_MEASURES
from cellassets.benchmarks.plugins import load_plugins
from cellassets.benchmarks.relationships.benchmarks import RELATIONSHIPS
from cellassets.benchmarks.replicates.benchmarks import REPLICATES
from cellassets.benchmarks.retrieval.benchmarks import RETRIEVAL
from cellassets.benchmarks.rxrx3.benchmarks import RXRX3
from cellassets.benchmarks.transfer.benchmarks import TRANSFER
from cellassets.errors import BenchmarkError

OWN = {
    one.name: one
    for family in (
        BATCHES,
        COMPOUNDS,
        CONFOUNDERS,
        JUMP,
        KNOWN_MEASURES,
        RELATIONSHIPS,
        REPLICATES,
        RETRIEVAL,
        RXRX3,
        TRANSFER,
    )
    for one in family
}
_PLUGINS, FAILED_PLUGINS = load_plugins(OWN)
BENCHMARKS: dict[str, Benchmark] = {**OWN, **_PLUGINS}


def find_benchmark(benchmark_name: str) -> Benchmark:
    """Returns the benchmark of this name.

    Raises:
        BenchmarkError: there is none.
    """
    if benchmark_name not in BENCHMARKS:
        message = f"no benchmark {benchmark_name!r}; there are {', '.join(sorted(BENCHMARKS))}"
        raise BenchmarkError(message)
    return BENCHMARKS[benchmark_name]


__all__ = ["BENCHMARKS", "FAILED_PLUGINS", "OWN", "Benchmark", "find_benchmark"]
