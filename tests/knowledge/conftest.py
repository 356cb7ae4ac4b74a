"""A pack of three pairs of genes, and its file."""

import hashlib

import pytest

from cellassets.knowledge.packs import Licence, Pack

PAIRS = b"entity1,entity2\nTP53,MDM2\nMYC,MAX\nMDM2,TP53\nMYC,TP53\n"  # three different pairs


@pytest.fixture
def pairs():
    """The bytes of the pack's file."""
    return PAIRS


@pytest.fixture
def pack():
    """The pack; tests change parts of it by `pack.model_copy(update=...)`."""
    return Pack(
        name="PAIRS",
        title="Three pairs",
        kind="pairs",
        url="https://127.0.0.1/PAIRS.txt",
        version="1.0",
        sha256=hashlib.sha256(PAIRS).hexdigest(),
        n_bytes=len(PAIRS),
        n_rows=3,
        licence=Licence(name="Non-commercial", spdx="CC-BY-NC-4.0", url="https://127.0.0.1/nc", is_non_commercial=True),
        citation="Nobody (2026)",
    )
