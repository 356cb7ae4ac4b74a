"""Fixtures: small stores of random images, packed from PNG files: `make_store(size=(33, 47), dtype="uint16")`."""

from dataclasses import dataclass, field
from zlib import crc32

import google_crc32c
import imagecodecs
import numpy as np
import polars as pl
import pytest
from upath import UPath

from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.images.store_spec import StoreSpec
from cellassets.screens.imaging import Imaging

CHANNELS = ("ConA", "Hoechst", "Phalloidin", "Syto14", "WGA", "MitoTracker", "Brightfield")


@dataclass(frozen=True)
class Screen:
    """One experiment with two plates, E-1; `missing` are the sites (plate, well, site) that were never stored."""

    size: tuple[int, int] = (16, 24)
    dtype: str = "uint8"
    n_channels: int = 3
    wells: tuple[str, ...] = ("A01", "B02", "B10")
    n_sites: int = 2
    missing: frozenset = field(default_factory=frozenset)
    pixel_size_um: float | None = 0.65
    top_grey_level: int | None = None

    def pixels(self, plate, well, site, channel):
        seed = crc32(f"{plate}/{well}/{site}/{channel}".encode())
        return np.random.default_rng(seed).integers(0, np.iinfo(self.dtype).max, self.size, self.dtype, endpoint=True)

    def site(self, plate, well, site):
        return np.stack([self.pixels(plate, well, site, channel) for channel in range(1, self.n_channels + 1)])

    def places(self):
        every = [(p, w, s) for p in ("Plate1", "Plate2") for w in self.wells for s in range(1, self.n_sites + 1)]
        return [place for place in every if place not in self.missing]

    def write(self, folder):
        """Returns the IMAGES table of the PNG files that are written."""
        rows = []
        for plate, well, site in self.places():
            for channel in range(1, self.n_channels + 1):
                content = imagecodecs.png_encode(self.pixels(plate, well, site, channel))
                path = f"{plate}/{well}_s{site}_w{channel}.png"
                (folder / plate).mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
                size = {"height": self.size[0], "width": self.size[1], "dtype": self.dtype}
                named = {"experiment_id": "E-1", "plate_id": plate, "well_id": well, "site_index": site}
                written = {
                    "z_index": None,
                    "path": path,
                    "part": None,
                    "n_bytes": len(content),
                    "crc32c": google_crc32c.value(content),
                }
                rows.append({**named, "channel_index": channel, **written, **size, "is_usable": True})
        return pl.DataFrame(rows, schema_overrides={"z_index": pl.Int32, "part": pl.String})

    def wells_table(self):
        rows = [
            {
                "experiment_id": "E-1", "plate_id": plate, "well_id": well, "cell_type": "HUVEC",
                "perturbation_id": f"gene_{well}", "perturbation_kind": "gene", "gene_symbol": well, "guide_id": None,
                "compound_id": None, "concentration_um": None, "control_kind": None,
            }
            for plate in ("Plate1", "Plate2")
            for well in self.wells
        ]  # fmt: skip
        return pl.DataFrame(rows)

    @property
    def imaging(self):
        return Imaging(
            channel_names=CHANNELS[: self.n_channels],
            pixel_size_um=self.pixel_size_um,
            top_grey_level=self.top_grey_level,
        )


@pytest.fixture
def make_store(tmp_path):
    """Returns a screen and its store: `screen, store = make_store(dtype="uint16")`."""

    def make_store(**options):
        screen, folder = Screen(**options), UPath(tmp_path / "packed")
        images = screen.write(tmp_path / "images")
        packing = Packing(UPath(tmp_path / "images"), folder, screen.imaging, StoreSpec(shard_sites=4))
        packed = pack_plates(images, screen.wells_table(), packing)
        return screen, ExperimentStore.open(folder, packed.files, "E-1")

    return make_store
