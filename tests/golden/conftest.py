"""Golden values found again: computed once a session and set by write_golden.py, compared cell by cell."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("write_golden.py")
_spec = importlib.util.spec_from_file_location("write_golden", SCRIPT)
write_golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(write_golden)
N_SHOWN = 20
WORDING = ("message", "verdict", "line")  # sentences for people may be written better


def _place(row):
    """Where a row of scores belongs: influences are a table of their own since the values were stored."""
    return [str(row.get(name)) for name in ("model_key", "level", "metric", "perturbation_id")]


def pytest_generate_tests(metafunc):
    """Makes a test a stored table of the test module's set."""
    if "table_name" in metafunc.fixturenames:
        metafunc.parametrize("table_name", stored_names(metafunc.module.SET))


def stored_names(set_name):
    return sorted(
        path.name.removeprefix(f"{set_name}.").removesuffix(".json")
        for path in write_golden.DATA.glob(f"{set_name}.*.json")
    )


@pytest.fixture(scope="module")
def found_folder(request, tmp_path_factory):
    """The folder of the values that the code of now gives, in the form that they are stored in."""
    folder = tmp_path_factory.mktemp("golden")
    command = [sys.executable, str(SCRIPT), "--into", str(folder), "--sets", request.module.SET]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return folder


@pytest.fixture
def differences(request, found_folder):
    """Returns the function that lists where a table is not what was stored."""

    def differences(table_name):
        name = f"{request.module.SET}.{table_name}.json"
        assert (found_folder / name).is_file(), f"{table_name}: stored, and the driver makes no such table now"
        return differences_of(table_name, (write_golden.DATA / name).read_text(), (found_folder / name).read_text())

    return differences


@pytest.fixture
def table_names(request, found_folder):
    """Names of the tables that are stored, and of those that are made now."""
    set_name = request.module.SET
    found = sorted(path.name.removeprefix(f"{set_name}.").removesuffix(".json") for path in found_folder.iterdir())
    return stored_names(set_name), found


def differences_of(table_name, stored, found):
    """A line a cell that differs: table, column, row, both values (and floats as decimals), the row's first cells."""
    if stored == found:
        return []
    (stored_types, stored_rows), (found_types, found_rows) = (write_golden.decode(text) for text in (stored, found))
    if "level" in stored_types:
        stored_rows, found_rows = sorted(stored_rows, key=_place), sorted(found_rows, key=_place)
    if stored_types != found_types:
        return [f"{table_name}: columns were {stored_types}, are {found_types}"]
    if len(stored_rows) != len(found_rows):
        return [f"{table_name}: had {len(stored_rows)} rows, has {len(found_rows)}"]
    lines = [
        f"{table_name}, column {column}, row {number} ({_label(before)}): stored {_told(before[column])}, "
        f"found {_told(after[column])}"
        for number, (before, after) in enumerate(zip(stored_rows, found_rows, strict=True))
        for column in stored_types
        if column not in WORDING
        if _told(before[column]) != _told(after[column]) and not _is_rounding(table_name, before[column], after[column])
    ]
    return [*lines[:N_SHOWN], *([f"{len(lines) - N_SHOWN} more"] if len(lines) > N_SHOWN else [])]


def _is_rounding(table_name, before, after):
    """True for the last bits of classical features: they are computed in another order since the values were stored."""
    if table_name != "classical_features" or "0x" not in str(before) or "0x" not in str(after):
        return False
    return float.fromhex(after) == pytest.approx(float.fromhex(before), rel=1e-9, abs=1e-9)


def _label(row):
    return ", ".join(str(value) for value in row.values() if isinstance(value, str) and "0x" not in value)[:120]


def _told(cell):
    """A cell in words; a float in hexadecimal and as a decimal."""
    if isinstance(cell, str) and cell.lstrip("-").startswith("0x") and " " not in cell:
        return f"{cell} ({float.fromhex(cell)!r})"
    return repr(cell)
