"""Paths that come from metadata never leave the folder that they belong to."""

from upath import UPath

from cellassets.errors import PartitionKeyError


def resolve_below(root: UPath, relative: str) -> UPath:
    """Returns `root / relative` where that stays below `root`.

    Raises:
        PartitionKeyError: `relative` is absolute or climbs out, as a path from a metadata table might.
    """
    parts = relative.replace("\\", "/").split("/")
    if relative.startswith("/") or ".." in parts or "://" in relative or "\x00" in relative:
        message = f"{relative!r} leaves {root}: expected a path relative to it without '..'"
        raise PartitionKeyError(message)
    return root / relative
