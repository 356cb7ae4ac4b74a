"""Fixtures: a lake with the manifest of a landed experiment, and a function that packs it."""

import pytest
from upath import UPath

from cellassets.images.pack import pack_experiment
from cellassets.images.spec import StoreSpec
from cellassets.screens.ingest import ingest_plates
from cellassets.storage.lake import Lake

SPEC = StoreSpec(shard_sites=4)


@pytest.fixture
def lake(tmp_path):
    return Lake(UPath(tmp_path / "lake"))


@pytest.fixture
def landed(zone, lake, policy):
    zone.land()
    ingest_plates(lake, UPath(zone.root), "E-1", policy=policy)
    return zone


@pytest.fixture
def pack(lake, landed):
    def pack(**options):
        return pack_experiment(lake, "E-1", landing=UPath(landed.root), spec=SPEC, **options)

    return pack
