"""Benchmarks of other packages: modules, or decorated functions, under the entry point group `cellassets.benchmarks`.

A package that cannot be loaded is named in the log and left out, so that its fault does not stop every other asset.
"""

import logging
from collections.abc import Mapping
from importlib.metadata import entry_points

from cellassets.benchmarks.definition import Benchmark
from cellassets.errors import ConfigError

GROUP = "cellassets.benchmarks"
logger = logging.getLogger(__name__)


def load_plugins(known: Mapping[str, Benchmark]) -> tuple[dict[str, Benchmark], dict[str, str]]:
    """Returns the benchmarks of other packages by name, and the reason for every entry point that was left out.

    Args:
        known: the benchmarks of this package, whose names are taken.
    """
    found: dict[str, Benchmark] = {}
    failed: dict[str, str] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            found |= new_benchmarks(entry.load(), {**known, **found})
        except Exception as error:  # noqa: BLE001 - the import of another package may raise anything
            failed[entry.name] = f"{type(error).__name__}: {error}"
            logger.error("benchmarks of %s (%s) are left out: %s", entry.name, entry.value, failed[entry.name])  # noqa: TRY400
    return found, failed


def new_benchmarks(loaded: object, known: Mapping[str, Benchmark]) -> dict[str, Benchmark]:
    """Returns the benchmarks that a module defines, by name; or a benchmark itself.

    Args:
        loaded: a module, or a benchmark.
        known: benchmarks whose names are taken; a module may import them.

    Raises:
        ConfigError: there is no benchmark, or one has the name of another.
    """
    declared = [loaded] if isinstance(loaded, Benchmark) else list(vars(loaded).values())
    found: dict[str, Benchmark] = {}
    for one in declared:
        if not isinstance(one, Benchmark) or known.get(one.name) is one:
            continue
        other = known.get(one.name) or found.get(one.name, one)
        if other is not one:
            message = f"there is already a benchmark {one.name} ({other.function}); choose another name"
            raise ConfigError(message)
        found[one.name] = one
    if not found:
        message = f"{loaded} holds no benchmark; name the module, or the function, that @benchmark decorates"
        raise ConfigError(message)
    return found
