"""Draws docs/images/package_graph.svg: the packages of cellassets and which imports which.

    .venv/bin/python scripts/package_graph.py            # writes the picture
    .venv/bin/python scripts/package_graph.py --check    # exit status 1 if the picture is not up to date

The rows are the layers of the import contract in pyproject.toml. The imports are read from the source by grimp, which
import-linter installs. An arrow goes from a package down to one that it imports. Arrows that follow from others are
left out: if A imports B and B imports C, the arrow from A to C is not drawn. Modules with little content of their own
that nearly all packages import are in the last rows, without arrows.
"""

import argparse
import sys
import tomllib
from pathlib import Path

import grimp

REPOSITORY = Path(__file__).parents[1]
PICTURE = REPOSITORY / "docs" / "images" / "package_graph.svg"
CONTRACT = "Layers inside the library"
WITHOUT_ARROWS = {"configuration", "incremental", "fingerprint", "progress", "errors"}
FACES = {"science": "#dcebf7", "stages": "#fbe3c8", "outside": "#e6e6e6"}
STAGES = {"stages", "reconcile", "cli", "definitions"}
BASE = {"storage", "registry", "tables"} | WITHOUT_ARROWS
WIDTH, ROW, BOX_HEIGHT, GAP = 760, 62, 30, 70
Box = tuple[float, float, float]  # centre x, top y, width


def layers() -> list[list[str]]:
    """Returns the packages of every layer, from top to bottom."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    contract = next(one for one in settings["tool"]["importlinter"]["contracts"] if one["name"] == CONTRACT)
    return [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]


def imports(packages: set[str]) -> set[tuple[str, str]]:
    """Returns importer and imported package of every import between two packages of the library."""
    graph = grimp.build_graph("cellassets", cache_dir=None)
    found = set()
    for module in graph.modules:
        for target in graph.find_modules_directly_imported_by(module):
            pair = tuple(name.split(".")[1] if "." in name else "" for name in (module, target))
            if pair[0] != pair[1] and set(pair) <= packages:
                found.add(pair)
    return found


def needed(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Returns the arrows that do not follow from others."""
    below: dict[str, set[str]] = {}
    for start, end in arrows:
        below.setdefault(start, set()).add(end)

    def reached(start: str) -> set[str]:
        return {name for end in below.get(start, ()) for name in (end, *reached(end))}

    return {(a, b) for a, b in arrows if not any(b in reached(other) for other in below[a] - {b})}


def places(rows: list[list[str]]) -> dict[str, Box]:
    """Returns where each package is drawn; rows of one package alternate from left to right so that arrows are seen."""
    shifts = (0, -190, 190, -80, 80)
    found: dict[str, Box] = {}
    for number, row in enumerate(rows):
        widths = [9.0 * len(name) + 24 for name in row]
        left = (WIDTH - sum(widths) - GAP * (len(row) - 1)) / 2 + (shifts[number % 5] if len(row) == 1 else 0)
        for name, width in zip(row, widths, strict=True):
            found[name] = (left + width / 2, 20 + number * ROW, width)
            left += width + GAP
    return found


def _arrow(start: Box, end: Box) -> str:
    (x1, y1, _), (x2, y2, _) = start, end
    top, bottom = y1 + BOX_HEIGHT, y2 - 5
    bend = (bottom - top) * 0.5
    return (
        f'<path d="M{x1:.0f},{top} C{x1:.0f},{top + bend:.0f} {x2:.0f},{bottom - bend:.0f} {x2:.0f},{bottom}" '
        'fill="none" stroke="#7a8794" stroke-width="1.3" marker-end="url(#head)"/>'
    )


def _box(name: str, box: Box) -> str:
    x, y, width = box
    face = FACES["stages" if name in STAGES else "outside" if name in BASE else "science"]
    return (
        f'<rect x="{x - width / 2:.0f}" y="{y}" width="{width:.0f}" height="{BOX_HEIGHT}" rx="6" fill="{face}" '
        f'stroke="#5b6773"/><text x="{x:.0f}" y="{y + 20}" text-anchor="middle">{name}</text>'
    )


def picture() -> str:
    """Returns the SVG."""
    rows = layers()
    boxes = places(rows)
    drawn = needed(imports(set(boxes) - WITHOUT_ARROWS))
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {20 + len(rows) * ROW}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="15" fill="#1d2730">',
        "<title>Packages of cellassets and their imports</title>",
        '<defs><marker id="head" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L10,5 L0,10 z" fill="#7a8794"/></marker></defs>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *(_arrow(boxes[start], boxes[end]) for start, end in sorted(drawn)),
        *(_box(name, box) for name, box in boxes.items()),
        "</svg>\n",
    ])  # fmt: skip


def main() -> None:
    """Writes the picture, or checks that it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if it is out of date")
    if not parser.parse_args().check:
        PICTURE.write_text(picture())
    elif not PICTURE.exists() or PICTURE.read_text() != picture():
        sys.exit(f"{PICTURE.relative_to(REPOSITORY)} is out of date: run scripts/package_graph.py and commit it")


if __name__ == "__main__":
    main()
