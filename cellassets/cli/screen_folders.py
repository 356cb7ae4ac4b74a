"""The folders that the commands of `cellassets screen` are given: one experiment, or a landing zone of several."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from upath import UPath

ScreenPath = Annotated[str, typer.Argument(help="A landing zone, or the folder of one experiment in it; also a URL.")]


def folder_at(path: str) -> "UPath":
    """Returns the folder that a path means."""
    from upath import UPath

    from cellassets.errors import LayoutError

    place = UPath(path if "://" in path else os.path.abspath(path))  # noqa: PTH100  a link stays a link
    if not place.is_dir():
        message = f"{place}: no such folder"
        raise LayoutError(message)
    return place


def experiments_in(place: "UPath") -> tuple[list[tuple["UPath", str]], dict[str, str]]:
    """Returns landing zone and name of each experiment that a folder means, and the folders that would be ignored.

    A folder means itself if it is an experiment, or else the experiments in it. What is ignored has its reason.
    """
    from cellassets.fingerprint import KEY_PATTERN
    from cellassets.screens.landing import BAD_NAME, DOUBLED_NAME, MARKER, doubled_names, scan_landing

    zone = scan_landing(place)
    if not zone.experiments or (place / MARKER).exists() or _is_readable(place):
        return [(place.parent, place.name)], {} if KEY_PATTERN.fullmatch(place.name) else {place.name: BAD_NAME}
    names = [landed.experiment_id for landed in zone.experiments]
    twins = doubled_names(names, lambda _: False)
    ignored = {entry.name: entry.reason for entry in zone.ignored if (place / entry.name).is_dir()}
    ignored |= {name: DOUBLED_NAME.format(other) for name, other in twins.items()}
    return [(place, name) for name in names if name not in twins], ignored


def _is_readable(place: "UPath") -> bool:
    """Returns true if a folder can be read as an experiment, since the folders of plates look like experiments."""
    from cellassets.errors import CellAssetsError
    from cellassets.screens.layouts.choose import choose_layout

    try:
        choose_layout(place.parent, place.name).read(place.parent, place.name)
    except CellAssetsError:
        return False
    return True
