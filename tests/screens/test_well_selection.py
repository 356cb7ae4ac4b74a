"""Fingerprints of selected wells: stored ones equal those that are computed from the table."""

import polars as pl
import pytest

from cellassets.screens.well_selection import (
    FINGERPRINT_COLUMNS,
    find_fingerprint,
    reduced_cell_types,
    selected_wells,
    selection_fingerprints,
    selection_key,
)
from cellassets.tables.content import frame_fingerprint
from cellassets.tables.schemas import WELLS

TYPES = ("HEPG2", "HUVEC", "RPE", "U2OS")


def wells_of(cell_types):
    rows = []
    for number, cell_type in enumerate(cell_types * 5):
        kind = ["gene", "compound", "control", "gene", "control"][number % 5]
        rows.append(
            {
                "experiment_id": "E-1",
                "plate_id": "Plate1",
                "well_id": f"B{number + 1:02d}",
                "cell_type": cell_type,
                "perturbation_id": f"P{number}",
                "perturbation_kind": kind,
                "gene_symbol": f"G{number}" if kind == "gene" else None,
                "guide_id": None,
                "compound_id": f"C{number}" if kind == "compound" else None,
                "concentration_um": 0.1 * number if kind == "compound" else None,
                # the fourth well of five is a treatment that is called a control
                "control_kind": "negative" if number % 5 == 2 else None,
            }
        )
    return WELLS.conform(pl.DataFrame(rows, infer_schema_length=None), source="test")


def fingerprint_from_the_table(wells, cell_types, kinds):
    """The rows by plain Python, apart from the code under test."""
    kept = [
        row
        for row in wells.iter_rows(named=True)
        if (cell_types is None or row["cell_type"] in cell_types)
        and (kinds is None or row["perturbation_kind"] in kinds or row["control_kind"] is not None)
    ]
    return frame_fingerprint(pl.DataFrame(kept, schema=wells.schema).select(FINGERPRINT_COLUMNS))


@pytest.mark.parametrize("n_types", [1, 2, 3, 4])
@pytest.mark.parametrize("kinds", [None, ("gene",), ("compound",), ("gene", "compound"), ("compound", "gene")])
@pytest.mark.parametrize(
    "cell_types", [None, ("HUVEC",), ("HEPG2", "HUVEC"), ("RPE", "HEPG2", "HUVEC"), TYPES, ("HEPG2", "other")]
)
def test_a_stored_fingerprint_is_that_of_the_selected_wells(n_types, kinds, cell_types):
    own = TYPES[:n_types]
    wells = wells_of(own)
    stored = selection_fingerprints(wells)
    found = find_fingerprint(stored, own, cell_types=cell_types, perturbation_kinds=kinds)
    kept = None if cell_types is None else set(cell_types) & set(own)
    is_stored = n_types <= 3 or kept is None or len(kept) in (1, n_types)
    if kept == set():
        assert found is None
    elif is_stored:
        assert found == fingerprint_from_the_table(wells, cell_types, kinds)
    else:
        assert found is None


def test_every_subset_is_stored_up_to_three_cell_types_and_single_ones_beyond():
    assert len(selection_fingerprints(wells_of(TYPES[:3]))) == 7 * 4
    assert len(selection_fingerprints(wells_of(TYPES))) == (4 + 1) * 4


def test_controls_are_kept_whatever_the_kind_of_perturbation():
    kept = selected_wells(wells_of(("HUVEC",)), None, ("gene",))
    assert kept["well_id"].to_list() == ["B01", "B03", "B04"]


def test_a_key_does_not_depend_on_order_or_repetition():
    assert selection_key(("U2OS", "HUVEC", "U2OS"), ("gene", "compound")) == "HUVEC+U2OS|compound+gene"
    assert selection_key(None, None) == "*|*"


def test_a_selection_is_reduced_to_the_cell_types_of_the_experiment():
    assert reduced_cell_types(("U2OS", "RPE", "x"), ("HUVEC", "RPE", "U2OS")) == ("RPE", "U2OS")
    assert reduced_cell_types(("U2OS", "RPE"), ("RPE",)) is None
    assert reduced_cell_types(None, ("RPE",)) is None
