"""Where an export is written: beside its final name first, so that nothing incomplete is ever seen under that name."""

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cellassets.errors import ExportError


def local_target(name: str, suffixes: Sequence[str] = ()) -> Path:
    """Returns the path of an export that does not exist yet.

    Args:
        name: file or folder on this machine.
        suffixes: accepted ends of the name; any where empty.

    Raises:
        ExportError: the name is a URL or has another end, its folder does not exist, or something is there already.
    """
    if "://" in name:
        message = f"{name}: exports are written to a folder of this machine; export to one, then copy the result"
        raise ExportError(message)
    target = Path(name)
    if suffixes and not name.endswith(tuple(suffixes)):
        message = f"{name}: expected a name that ends in {' or '.join(suffixes)}"
        raise ExportError(message)
    if not target.absolute().parent.is_dir():
        message = f"{target}: the folder {target.absolute().parent} does not exist; create it first"
        raise ExportError(message)
    _refuse_existing(target)
    return target


@contextmanager
def complete_or_absent(target: Path) -> Iterator[Path]:
    """Yields a temporary path in the folder of `target`; what was written there becomes `target` at the end.

    Any error inside the block removes what was written. A process that is killed leaves a hidden file or folder named
    `.<name>.<number>.partial`, which can be deleted.

    Raises:
        ExportError: something has appeared at `target` meanwhile.
    """
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
        os.sync()  # a chunk that did not reach the disk before a power failure would read as zeros
        _refuse_existing(target)
        partial.rename(target)
    finally:
        _remove(partial)


def _refuse_existing(target: Path) -> None:
    if target.exists() or target.is_symlink():
        message = f"{target}: exists already, and exports replace nothing; delete it, or choose another name"
        raise ExportError(message)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
