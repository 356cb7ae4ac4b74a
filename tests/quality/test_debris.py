"""Debris: large bright areas are measured and hold no nuclei; crowded nuclei are not debris; empty sites are empty."""

import numpy as np
import polars as pl
import pytest
from scipy.ndimage import gaussian_filter

from cellassets.quality.grey_scale import EIGHT_BITS
from cellassets.quality.measures import flag_sites, measure_site, quality_row
from cellassets.quality.nuclei import find_nuclei, segment_nuclei
from cellassets.quality.parameters import QualityParameters

SIDE, DIAMETER_PX = 320, 20.0
Y, X = np.mgrid[:SIDE, :SIDE]


def nuclei(pitch, *, until=SIDE, seed=0):
    """Returns the light of round nuclei on a jittered grid of the left part of the field."""
    rng = np.random.default_rng(seed)
    light = np.zeros((SIDE, SIDE))
    for row in range(pitch // 2, SIDE, pitch):
        for column in range(pitch // 2, until, pitch):
            off = (Y - row - rng.uniform(-2, 2)) ** 2 + (X - column - rng.uniform(-2, 2)) ** 2
            light = np.maximum(light, 100 * np.exp(-((off / 100) ** 4)))
    return gaussian_filter(light, 1)


def taken(light, seed=0):
    noise = np.random.default_rng(seed).normal(0, 3, light.shape)
    return np.clip(10 + light + noise, 0, 255).astype(np.uint8)


def disc(radius, level=200.0):
    return np.where(np.hypot(Y - SIDE / 2, X - SIDE / 2) < radius, level, 0.0)


BLOB = 200 * np.exp(-((Y - SIDE / 2) ** 2 + (X - SIDE / 2) ** 2) / (2 * 45**2))


@pytest.mark.parametrize("lump", [disc(50), disc(50, 400.0), BLOB], ids=["disc", "saturated disc", "blurred lump"])
def test_a_lump_is_debris_and_holds_no_nuclei(lump):
    found = find_nuclei(taken(lump), DIAMETER_PX)
    assert len(found.centres) == 0
    assert found.debris.mean() == pytest.approx((taken(lump) > 80).mean(), rel=0.25)


def test_nuclei_beside_a_lump_are_found():
    alone, beside = (find_nuclei(taken(nuclei(40) + lump), DIAMETER_PX) for lump in (0, disc(50)))
    assert len(alone.centres) == 64
    assert not alone.debris.any()
    assert len(beside.centres) == pytest.approx(64 - np.pi * 50**2 / 40**2, abs=4)
    labels = segment_nuclei(taken(nuclei(40) + disc(50)), DIAMETER_PX)
    assert labels[SIDE // 2, SIDE // 2] == 0
    assert np.bincount(labels.ravel())[1:].max() < np.pi * DIAMETER_PX**2  # the lump has 6 times that


@pytest.mark.parametrize("pitch", [20, 22])
def test_crowded_nuclei_are_not_debris(pitch):
    found = find_nuclei(taken(nuclei(pitch, until=SIDE // 2)), DIAMETER_PX)
    assert found.is_bright.mean() > 0.35
    assert not found.debris.any()
    assert len(found.centres) == pytest.approx(SIDE / pitch * SIDE / 2 / pitch, rel=0.1)


def test_debris_and_empty_sites_are_flagged_by_different_names():
    sites = {number: nuclei(40, seed=number) for number in range(12)}
    sites |= {12: nuclei(40) + disc(60), 13: disc(60), 14: np.zeros((SIDE, SIDE))}
    rows = [
        {"plate_id": "Plate1"}
        | quality_row(
            measure_site(taken(light, seed)[None], nucleus_channel=0, nucleus_diameter_px=DIAMETER_PX, scale=EIGHT_BITS)
        )
        for seed, light in sites.items()
    ]
    flagged = flag_sites(pl.DataFrame(rows), QualityParameters())
    named = [set((reason or "").split(";")) & {"debris", "no cells"} for reason in flagged["flag_reason"]]
    assert named == [set()] * 12 + [{"debris"}, {"debris", "no cells"}, {"no cells"}]
