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
    boxes = {name for row in script.layers() for name in row}
    folder = SCRIPT.parents[1] / "cellassets"
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert packages <= boxes


def test_every_arrow_points_down(script):
    rows = script.layers()
    depth = {name: number for number, row in enumerate(rows) for name in row}
    arrows = script.imports(list(depth))
    assert arrows
    assert all(depth[importer] < depth[imported] for importer, imported in arrows)


def test_a_new_import_changes_the_picture(script):
    rows, arrows = [["above"], ["below"]], [("above", "below")]
    assert script.draw(rows, []) != script.draw(rows, arrows)
