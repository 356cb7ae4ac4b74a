"""Paths that come from tables: they are joined to a root only where they stay below it."""

from upath import UPath

from cellassets.errors import PartitionKeyError


def resolve_below(root: UPath, relative: str) -> UPath:
    """Returns `root / relative`, which is below `root`.

    Raises:
        PartitionKeyError: `relative` is absolute or contains '..', as a path in a metadata table might.
    """
    parts = relative.replace("\\", "/").split("/")
    if relative.startswith("/") or ".." in parts or "://" in relative or "\x00" in relative:
        message = f"{relative!r} leaves {root}: expected a path relative to it without '..'"
        raise PartitionKeyError(message)
    return root / relative
