"""Opens the image stores that a plan pins, or says where they are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cellassets.storage.lake import Lake
from cellassets.storage.plan import Publication

if TYPE_CHECKING:
    from cellassets.images.reader import ExperimentStore
    from cellassets.training.sources import Source


def open_store(lake: Lake, publication: Publication) -> "ExperimentStore":
    """Returns the reader of a published `plate_store`.

    Raises:
        CorruptArtifact: the tables of the store do not agree with each other.
    """
    from cellassets.images.reader import ExperimentStore

    published = lake.open(publication)
    return ExperimentStore.open(published.folder, published.record.files, publication.keys[0])


def training_sources(lake: Lake, pins: Sequence[Publication]) -> "list[Source]":
    """Returns where a training reads its experiments.

    Args:
        lake: the lake.
        pins: their stores, and quality tables if flagged sites are left out.
    """
    from cellassets.training.sources import Folder, Source

    def folder(publication: Publication) -> Folder:
        published = lake.open(publication)
        return Folder(path=str(published.folder), files=published.record.files)

    quality = {pin.keys: folder(pin) for pin in pins if pin.kind == "plate_quality"}
    return [
        Source(experiment_id=pin.keys[0], store=folder(pin), quality=quality.get(pin.keys))
        for pin in pins
        if pin.kind == "plate_store"
    ]
