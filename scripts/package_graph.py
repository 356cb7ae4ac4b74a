"""Writes docs/images/package_graph.svg: the packages of the library in their layers, with an arrow for each import.

    .venv/bin/python scripts/package_graph.py            # writes the picture
    .venv/bin/python scripts/package_graph.py --check    # exit status 1 if the picture is not up to date

The layers are those of the contract in pyproject.toml. The imports are read by grimp, which import-linter installs.
Arrows between neighbouring layers are straight; all others are curves beside the boxes. The module `errors`, which
almost everything imports, has no arrows.
"""

import argparse
import sys
import tomllib
from pathlib import Path

import grimp

REPOSITORY = Path(__file__).parents[1]
PICTURE = REPOSITORY / "docs" / "images" / "package_graph.svg"
CONTRACT = "Layers inside the library"
WITHOUT_ARROWS = {"errors"}
BOX_WIDTH, BOX_HEIGHT, ROW, GAP = 130, 26, 44, 24  # pixels
WIDTH, TOP, BEND = 900, 16, 18
COLOURS = ("#4c78a8", "#b8620e", "#54803f", "#8a5a8f", "#a0443f", "#3d7f7a")
Place = tuple[float, float]


def layers() -> list[list[str]]:
    """Returns the packages of each layer, from the top."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    found = next(contract for contract in contracts if contract["name"] == CONTRACT)
    return [[name.strip() for name in layer.split("|")] for layer in found["layers"]]


def imports(names: list[str]) -> list[tuple[str, str]]:
    """Returns importer and imported package of every import between packages."""
    graph = grimp.build_graph("cellassets", cache_dir=None)
    return [
        (importer, imported)
        for importer in names
        for imported in names
        if imported not in {importer, *WITHOUT_ARROWS}
        and graph.direct_import_exists(
            importer=f"cellassets.{importer}", imported=f"cellassets.{imported}", as_packages=True
        )
    ]


def places(rows: list[list[str]]) -> dict[str, Place]:
    """Returns the centre of each package's box in pixels."""
    return {
        name: (
            WIDTH / 2 + (column - (len(row) - 1) / 2) * (BOX_WIDTH + GAP),
            TOP + BOX_HEIGHT / 2 + number * ROW,
        )
        for number, row in enumerate(rows)
        for column, name in enumerate(row)
    }


def arrow(start: Place, end: Place, *, colour: str, number: int) -> str:
    """Returns an arrow between two boxes as SVG; a long one is on the side of a box that is not in the middle."""
    n_rows = round((end[1] - start[1]) / ROW)
    if n_rows == 1:
        path = f"M{start[0]:.0f},{start[1] + BOX_HEIGHT / 2:.0f} L{end[0]:.0f},{end[1] - BOX_HEIGHT / 2 - 2:.0f}"
    else:
        offset = start[0] + end[0] - WIDTH
        side = (1 if offset > 0 else -1) if offset else (1 if number % 2 else -1)
        x1, x2 = start[0] + side * BOX_WIDTH / 2, end[0] + side * (BOX_WIDTH / 2 + 2)
        reach = WIDTH / 2 + side * (BOX_WIDTH / 2 + GAP + n_rows * BEND)
        path = f"M{x1:.0f},{start[1]:.0f} C{reach:.0f},{start[1]:.0f} {reach:.0f},{end[1]:.0f} {x2:.0f},{end[1]:.0f}"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-opacity="0.6" marker-end="url(#head)"/>'


def draw(rows: list[list[str]], arrows: list[tuple[str, str]]) -> str:
    """Returns the picture as SVG."""
    at, height = places(rows), 2 * TOP + (len(rows) - 1) * ROW + BOX_HEIGHT
    order = list(at)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        "<title>Packages of cellassets and their imports</title>",
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '<path d="M0,0 L8,4 L0,8 z" fill="#444"/></marker>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for importer, imported in arrows:
        number = order.index(importer)
        lines.append(arrow(at[importer], at[imported], colour=COLOURS[number % len(COLOURS)], number=number))
    for number, (name, (x, y)) in enumerate(at.items()):
        colour = COLOURS[number % len(COLOURS)]
        lines.append(
            f'<rect x="{x - BOX_WIDTH / 2:.0f}" y="{y - BOX_HEIGHT / 2:.0f}" width="{BOX_WIDTH}" '
            f'height="{BOX_HEIGHT}" rx="5" fill="#f7f7f7" stroke="{colour}"/>'
        )
        lines.append(f'<text x="{x:.0f}" y="{y + 4.5:.1f}" text-anchor="middle" font-size="13">{name}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def picture() -> str:
    """Returns the picture of the code in its present state."""
    rows = layers()
    return draw(rows, imports([name for row in rows for name in row]))


def main() -> int:
    """Returns 1 where the picture was to be checked and is not up to date, otherwise 0."""
    parser = argparse.ArgumentParser(description="Writes docs/images/package_graph.svg from the imports of the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if it is not up to date")
    if not parser.parse_args().check:
        PICTURE.write_text(picture())
    elif not PICTURE.is_file() or PICTURE.read_text() != picture():
        sys.stderr.write("docs/images/package_graph.svg is not up to date; run scripts/package_graph.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
