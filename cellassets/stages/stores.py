"""Opens the image stores that a plan pins."""

from typing import TYPE_CHECKING

from cellassets.storage.lake import Lake
from cellassets.storage.plan import Publication

if TYPE_CHECKING:
    from cellassets.images.reader import ExperimentStore


def open_store(lake: Lake, publication: Publication) -> "ExperimentStore":
    """Returns the reader of a published `plate_store`.

    Raises:
        CorruptArtifact: the tables of the store do not agree with each other.
    """
    from cellassets.images.reader import ExperimentStore

    published = lake.open(publication)
    return ExperimentStore.open(published.folder, published.record.files, publication.keys[0])
