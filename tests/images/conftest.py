"""Fixtures: the manifest of a landed experiment, and a function that packs it into a folder."""

import pytest
from upath import UPath

from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.images.store_spec import StoreSpec
from cellassets.screens.ingest import check_experiment


@pytest.fixture
def landed(zone, policy):
    """The manifest of the landed experiment."""
    zone.land()
    return check_experiment(UPath(zone.root), "E-1", policy=policy)


@pytest.fixture
def folder(tmp_path):
    """Where the store is packed to."""
    return UPath(tmp_path / "packed")


@pytest.fixture
def pack(zone, landed, folder):
    def pack(**options):
        packing = Packing(UPath(zone.root / "E-1"), folder, landed.imaging, StoreSpec(shard_sites=4))
        return pack_plates(landed.images, landed.wells, packing, **options)

    return pack


@pytest.fixture
def store(pack, folder):
    return ExperimentStore.open(folder, pack().files, "E-1")
