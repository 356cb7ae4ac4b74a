"""No two files of a package import each other, neither directly nor through others.

Imports inside functions count. Imports under `if TYPE_CHECKING` do not: they are never executed.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("cellassets", "assets", "resources", "sensors")


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below `node` that can be executed."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from [other, *executed(other)]
        else:
            yield from [child, *executed(child)]


def imports_of(source: str, module: str, modules: set[str]) -> set[str]:
    """The modules among `modules` that a file imports, itself left out; a package only where nothing in it is named."""
    found = set()
    for node in executed(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= names & modules
            if not names <= modules:
                found.add(base)
    return (found & modules) - {module}


def graph_of(root: Path, packages: tuple[str, ...]) -> dict[str, set[str]]:
    """Every module below `root`, and the modules of the same packages that it imports."""
    files = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {module: imports_of(path.read_text(), module, set(files)) for module, path in files.items()}


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that can all be reached from each other."""
    reached = {module: reachable(graph, module) for module in graph}
    groups = {frozenset(other for other in reached[module] if module in reached[other]) for module in graph}
    return sorted(sorted(group) for group in groups if group)


def reachable(graph: dict[str, set[str]], module: str) -> set[str]:
    """The modules that a module imports, directly or through others; itself only if it is in a cycle."""
    found: set[str] = set()
    waiting = list(graph[module])
    while waiting:
        imported = waiting.pop()
        if imported not in found:
            found.add(imported)
            waiting += graph[imported]
    return found


def test_no_files_import_each_other():
    found = cycles(graph_of(REPOSITORY, PACKAGES))
    assert found == [], "\n".join(" <-> ".join(group) for group in found)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a": "import p.b", "b": "from p.a import x"}, [["p.a", "p.b"]]),
        ({"a": "from p import b", "b": "def f():\n    from .a import x"}, [["p.a", "p.b"]]),
        ({"a": "from .b import x", "b": "import p.c", "c": "from p.a import y"}, [["p.a", "p.b", "p.c"]]),
        ({"a": "import p.b", "b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import p.a"}, []),
        ({"a": "import p.b\nimport p.c", "b": "import p.c", "c": "import os"}, []),
    ],
)
def test_a_cycle_is_found(tmp_path, files, expected):
    (tmp_path / "p").mkdir()
    (tmp_path / "p/__init__.py").touch()
    for name, source in files.items():
        (tmp_path / f"p/{name}.py").write_text(source)
    assert cycles(graph_of(tmp_path, ("p",))) == expected
