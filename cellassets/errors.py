"""Every error that cellassets raises on purpose.

    CellAssetsError
    ├── ConfigError (ValueError)            a YAML file or a parameter is not what its model says
    ├── PartitionKeyError (ValueError)      an id that cannot be a partition key
    ├── LayoutError (ValueError)            a landing folder or its metadata is not in a known layout
    ├── ImageError (OSError)                an image file is missing, truncated or of the wrong kind
    ├── PlateRefused (ValueError)           policy refuses an experiment because of what was found in it
    ├── SchemaError (ValueError)            a table lacks columns or has other types
    ├── ArtifactMissing (FileNotFoundError) nothing published at that place yet
    ├── StaleArtifact (RuntimeError)        published from other inputs than those asked for
    ├── CorruptArtifact (OSError)           published files differ from their commit record
    ├── StorageRefused (PermissionError)    an object store does not let us read or write
    ├── StorageUnwritable (OSError)          a file cannot be written: the disk is full, or read-only
    ├── RecipeError (ValueError)            a recipe cannot be trained on what is there
    ├── TrainingError (RuntimeError)        training went wrong (loss not finite, no data)
    ├── ProcessLost (RuntimeError)          a process or a node of a training in several was lost
    ├── RegistryError (LookupError)         a model is not in the registry, or not in a known form
    ├── OutOfMemory (MemoryError)           the work needs more memory than its pod or GPU has
    ├── EncoderError (RuntimeError)         an encoder cannot embed these images
    ├── ProfilesError (ValueError)          a table of profiles is not what its declaration says
    ├── DatasetError (ValueError)           a dataset names what is not there
    ├── AlignmentError (ValueError)         a map cannot be aligned (no controls in a batch, too few wells)
    ├── StatisticsError (ValueError)        numbers that a statistic cannot be computed from (NaN, infinite)
    ├── AnnotationError (ValueError)        an annotation table is not a table of known relationships
    ├── ExportError (ValueError)            an export names what is not there, or cannot be written at its target
    ├── PackageMissing (ImportError)        an optional package is not installed
    └── BenchmarkError (ValueError)         a benchmark cannot be computed on this map
        └── NotApplicable                   on this dataset: it lacks what the benchmark measures

Each class is also the built-in error that a caller without cellassets in mind would catch. Messages say which
experiment, plate, well or file, what was found, what was expected and what to do.

`is_refusal` distinguishes refused data, which stays refused, from causes that pass, such as a full disk.
"""

import errno
from collections.abc import Iterator
from typing import Any


class CellAssetsError(Exception):
    """Base of every error that cellassets raises on purpose."""


class ConfigError(CellAssetsError, ValueError):
    """A YAML file or a parameter is not what its model says."""


class PartitionKeyError(CellAssetsError, ValueError):
    """An id that cannot be a partition key."""


class LayoutError(CellAssetsError, ValueError):
    """A landing folder or its metadata is not in a known layout."""


class ImageError(CellAssetsError, OSError):
    """An image file is missing, truncated or of the wrong kind."""


class PlateRefused(CellAssetsError, ValueError):
    """Policy refuses an experiment because of what was found in it.

    Attributes:
        findings: all that was found, a FINDINGS table.
    """

    def __init__(self, message: str, findings: Any) -> None:
        super().__init__(message)
        self.findings = findings


class SchemaError(CellAssetsError, ValueError):
    """A table lacks columns or has other types."""


class ArtifactMissing(CellAssetsError, FileNotFoundError):
    """Nothing has been published at that place yet."""


class StaleArtifact(CellAssetsError, RuntimeError):
    """An artefact was published from other inputs than those asked for."""


class CorruptArtifact(CellAssetsError, OSError):
    """Published files differ from their commit record."""


class StorageRefused(CellAssetsError, PermissionError):
    """An object store does not let us read or write."""


class StorageUnwritable(CellAssetsError, OSError):
    """A file cannot be written: the disk or the quota is full, or the folder is read-only."""


class RecipeError(CellAssetsError, ValueError):
    """A recipe cannot be trained on what is there."""


class TrainingError(CellAssetsError, RuntimeError):
    """Training went wrong."""


class ProcessLost(CellAssetsError, RuntimeError):
    """A process or a node of a training was lost; the next attempt goes on from the last complete state."""


class RegistryError(CellAssetsError, LookupError):
    """A model is not in the registry, or not in a known form."""


class OutOfMemory(CellAssetsError, MemoryError):
    """The work needs more memory than its pod or GPU has; the same work would run out of it again."""


class EncoderError(CellAssetsError, RuntimeError):
    """An encoder cannot embed these images."""


class ProfilesError(CellAssetsError, ValueError):
    """A table of profiles is not what its declaration says, or lacks wells of an experiment."""


class DatasetError(CellAssetsError, ValueError):
    """A dataset names what is not there."""


class AlignmentError(CellAssetsError, ValueError):
    """A map cannot be aligned."""


class StatisticsError(CellAssetsError, ValueError):
    """Numbers that a statistic cannot be computed from."""


class AnnotationError(CellAssetsError, ValueError):
    """An annotation table is not a table of known relationships."""


class ExportError(CellAssetsError, ValueError):
    """An export names what is not there, or cannot be written at its target."""


class PackageMissing(CellAssetsError, ImportError):
    """An optional package is not installed."""


class BenchmarkError(CellAssetsError, ValueError):
    """A benchmark cannot be computed on this map."""


class NotApplicable(BenchmarkError):
    """A dataset lacks what a benchmark measures: compounds, combinations, or annotations of the kind that it needs.

    This does not count as a failure: the benchmark is published without scores and with this reason.
    """


PASSING = (
    *(StaleArtifact, ArtifactMissing, RegistryError, StorageRefused, StorageUnwritable, ProcessLost),
    *(ConnectionError, TimeoutError),
)
PASSING_NAMES = frozenset({"OperationalError", "InterfaceError"})  # of every database driver: locked, restarted
PASSING_ERRNO = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EBUSY, errno.EAGAIN, errno.EINTR),
        *(errno.EMFILE, errno.ENFILE, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH),
    }
)


def is_refusal(error: BaseException) -> bool:
    """Returns true if the same inputs would be refused again.

    False for errors that cellassets did not raise on purpose, for inputs that were replaced or are missing, for a
    registry that does not answer, and for refusals whose cause goes away, such as a full disk.
    """
    return isinstance(error, CellAssetsError) and not any(_passes(one) for one in _with_causes(error))


def _passes(error: BaseException) -> bool:
    is_passing = isinstance(error, PASSING) or type(error).__name__ in PASSING_NAMES
    return is_passing or (isinstance(error, OSError) and error.errno in PASSING_ERRNO)


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and the errors that it was raised from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
