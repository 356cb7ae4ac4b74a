"""Benchmarks of other packages: modules that these name under the entry point group `cellassets.benchmarks`.

Importing such a module registers its benchmarks, as the catalogue's own modules do. A package that cannot be loaded is
named in the log and left out: its fault must not take every other asset down with it.
"""

import logging
from importlib.metadata import entry_points

from cellassets.benchmarks.definition import BENCHMARKS

GROUP = "cellassets.benchmarks"
logger = logging.getLogger(__name__)


def load_plugins() -> dict[str, str]:
    """Returns what could not be loaded: entry point to reason. Benchmarks of the others are registered."""
    failed = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        known = dict(BENCHMARKS)
        try:
            entry.load()
        except Exception as error:  # noqa: BLE001 - whatever a stranger's module does when it is imported
            BENCHMARKS.clear()
            BENCHMARKS.update(known)  # nothing half-registered
            failed[entry.name] = f"{type(error).__name__}: {error}"
            logger.error("benchmarks of %s (%s) are left out: %s", entry.name, entry.value, failed[entry.name])  # noqa: TRY400
    return failed
