"""Selections of wells under the name by which datasets use them.

The functions are in `cellassets.screens.well_selection`: the manifest stores the fingerprints, and `screens` must not
import `mapping`.
"""

from cellassets.screens.well_selection import (
    FINGERPRINT_COLUMNS,
    find_fingerprint,
    reduced_cell_types,
    selected_wells,
    selection_fingerprints,
    selection_key,
    wells_fingerprint_of,
)

__all__ = [
    "FINGERPRINT_COLUMNS",
    "find_fingerprint",
    "reduced_cell_types",
    "selected_wells",
    "selection_fingerprints",
    "selection_key",
    "wells_fingerprint_of",
]
