"""The picture of the package graph shows the imports of the code in its present state."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "package_graph.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("package_graph", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_up_to_date(script):
    assert script.PICTURE.read_text() == script.picture(), "run scripts/package_graph.py"


def test_every_package_has_a_box(script):
    boxes = {name for row in script.rows_of(script.layers()) for name in row}
    folder = SCRIPT.parents[1] / "cellassets"
    assert {path.parent.name for path in folder.glob("*/__init__.py")} <= boxes


def test_every_import_goes_down(script):
    depth = {name: number for number, layer in enumerate(script.layers()) for name in layer}
    found = script.imports(list(depth))
    assert found
    assert all(depth[importer] < depth[imported] for importer, imported in found)
