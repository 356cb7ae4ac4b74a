"""A disk that is full or cannot be written: which errors say so, and what to do about each."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from cellassets.errors import CellAssetsError, StorageUnwritable

FREE = "free space there (`cellassets lake prune` lists superseded files), then ask for the work again"
GRANT = "mount it for writing or let this user write there, then ask for the work again"
WRITE_ADVICE = {errno.ENOSPC: FREE, errno.EDQUOT: FREE, errno.EROFS: GRANT, errno.EACCES: GRANT, errno.EPERM: GRANT}


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turns the operating system's refusal to write into an error that names the place and says what to do.

    Args:
        place: what is written, for the message.

    Raises:
        StorageUnwritable: the disk or the quota is full, or the folder cannot be written.
    """
    try:
        yield
    except CellAssetsError:
        raise
    except OSError as error:
        advice = WRITE_ADVICE.get(error.errno or 0)
        if advice is None:
            raise
        message = f"{place}: {os.strerror(error.errno or 0)}; {advice}; what was published before is unchanged"
        raise StorageUnwritable(message) from error
