"""Draws the packages of cellassets and their imports: docs/images/package_graph.svg.

    .venv/bin/python scripts/package_graph.py            writes the picture
    .venv/bin/python scripts/package_graph.py --check    fails if it is out of date

Packages stand in the order of the layers in pyproject.toml, the highest first. A line is an import; it goes down. An
import that is also reached through another package is not drawn.
"""

import sys
import tomllib
from pathlib import Path

import grimp

REPOSITORY = Path(__file__).parents[1]
PICTURE = REPOSITORY / "docs" / "images" / "package_graph.svg"
CONTRACT = "Layers inside the library"
BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 120, 26, 26, 46, 24
PER_ROW = 4
STYLE = (
    "text { font: 12px sans-serif; fill: #1f2933 } rect { fill: #eef4fb; stroke: #0072b2 } "
    "path { fill: none; stroke: #8a94a0; stroke-width: 0.8; opacity: 0.65 }"
)


def layers() -> list[list[str]]:
    """Returns the packages of each layer, the highest layer first."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    found = next(contract["layers"] for contract in contracts if contract["name"] == CONTRACT)
    return [[name.strip() for name in layer.split("|")] for layer in found]


def imports(names: list[str]) -> list[tuple[str, str]]:
    """Returns importer and imported, without those that follow from others, sorted."""
    graph = grimp.build_graph("cellassets")
    found = set()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            ends = tuple(module.split(".")[1] for module in (importer, imported) if "." in module)
            if len(ends) == 2 and ends[0] != ends[1] and set(ends) <= set(names):
                found.add((ends[0], ends[1]))
    return sorted(edge for edge in found if not _is_implied(edge, found))


def _is_implied(edge: tuple[str, str], edges: set[tuple[str, str]]) -> bool:
    """True where the imported package is reached through another package too."""
    start, end = edge
    seen: set[str] = set()
    pending = [imported for importer, imported in edges if importer == start and imported != end]
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending += [imported for importer, imported in edges if importer == name]
    return end in seen


def rows_of(ordered: list[list[str]]) -> list[list[str]]:
    """Returns the packages of each row of the picture: neighbouring layers share a row."""
    names = [name for layer in ordered for name in layer if name != "definitions"]  # it only joins Dagster's parts
    return [names[start : start + PER_ROW] for start in range(0, len(names), PER_ROW)]


def picture() -> str:
    """Returns the picture as SVG."""
    rows = rows_of(layers())
    places = {
        name: (MARGIN + column * (BOX_WIDTH + GAP_X) + (row % 2) * GAP_X, MARGIN + row * (BOX_HEIGHT + GAP_Y))
        for row, names in enumerate(rows)
        for column, name in enumerate(names)
    }
    width = 2 * MARGIN + PER_ROW * (BOX_WIDTH + GAP_X)
    height = 2 * MARGIN + len(rows) * (BOX_HEIGHT + GAP_Y) - GAP_Y
    lines = [_line(places[importer], places[imported]) for importer, imported in imports(list(places))]
    boxes = [
        f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="4"/>'
        f'<text x="{x + BOX_WIDTH / 2:g}" y="{y + 17}" text-anchor="middle">{name}</text>'
        for name, (x, y) in places.items()
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">'
        f"<title>Packages of cellassets and their imports</title><style>{STYLE}</style>"
        f'<rect x="0" y="0" width="{width}" height="{height}" style="fill:#fff;stroke:none"/>'
    )
    return "\n".join([head, *lines, *boxes, "</svg>"]) + "\n"


def _line(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1 = start[0] + BOX_WIDTH / 2, start[1] + BOX_HEIGHT
    x2, y2 = end[0] + BOX_WIDTH / 2, end[1]
    if start[1] == end[1]:  # the same row: below the boxes from one to the other
        return f'<path d="M{x1:g},{y1:g} C{x1:g},{y1 + 22:g} {x2:g},{y1 + 22:g} {x2:g},{y1:g}"/>'
    middle = (y1 + y2) / 2
    return f'<path d="M{x1:g},{y1:g} C{x1:g},{middle:g} {x2:g},{middle:g} {x2:g},{y2:g}"/>'


def main() -> None:
    """Writes the picture, or compares it."""
    found = picture()
    if "--check" not in sys.argv:
        PICTURE.write_text(found)
    elif not PICTURE.is_file() or PICTURE.read_text() != found:
        sys.exit(f"{PICTURE.relative_to(REPOSITORY)} is out of date: run scripts/package_graph.py and commit it")


if __name__ == "__main__":
    main()
