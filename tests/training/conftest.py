import pytest


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """Every test here trains or computes a tiny network."""
