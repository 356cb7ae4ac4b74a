"""Resolves paths from metadata and refuses those that leave their folder."""

from upath import UPath

from cellassets.errors import PartitionKeyError


def resolve_below(root: UPath, relative: str) -> UPath:
    """Returns `root / relative`, which is always below `root`.

    Raises:
        PartitionKeyError: `relative` is absolute or leaves `root`.
    """
    parts = relative.replace("\\", "/").split("/")
    if relative.startswith("/") or ".." in parts or "://" in relative or "\x00" in relative:
        message = f"{relative!r} leaves {root}: expected a path relative to it without '..'"
        raise PartitionKeyError(message)
    return root / relative
