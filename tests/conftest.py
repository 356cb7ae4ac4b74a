"""Fixtures for all tests: a landing zone of small random images, which are a function of their file name."""

import csv
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import imagecodecs
import numpy as np
import pytest

from cellassets.images.reader import ExperimentStore
from cellassets.screens.policy import IngestPolicy

CHANNELS = ("Hoechst", "ConA", "Phalloidin")
COLUMNS = ("site_id", "well_id", "cell_type", "dataset", "experiment", "plate", "well", "site", "well_type", "sirna")


@dataclass(frozen=True)
class LandingZone:
    """Writes experiments in RxRx1's layout: by default two sites per well, three channels, 16 x 24 pixels."""

    root: Path
    n_sites: int = 2
    size: tuple[int, int] = (16, 24)

    def land(self, experiment_id="E-1", *, plates=(1, 2), wells=("A01", "B02", "C03"), is_complete=True) -> Path:
        folder = self.root / experiment_id
        rows = [
            self._row(experiment_id, plate, well, site)
            for plate in plates
            for well in wells
            for site in range(1, self.n_sites + 1)
        ]
        for row in rows:
            for channel in range(1, len(CHANNELS) + 1):
                self.write_image(folder, f"Plate{row['plate']}/{row['well']}_s{row['site']}_w{channel}.png")
        self.write_metadata(folder, rows)
        if is_complete:
            (folder / "_COMPLETE").touch()
        return folder

    def pixels(self, folder: Path, name: str) -> np.ndarray:
        rng = np.random.default_rng(crc32(f"{folder.name}/{name}".encode()))
        return rng.integers(0, 256, self.size, dtype=np.uint8)

    def write_image(self, folder: Path, name: str) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(imagecodecs.png_encode(self.pixels(folder, name)))

    def read_metadata(self, folder: Path) -> list[dict[str, str]]:
        with (folder / "metadata.csv").open() as stream:
            return list(csv.DictReader(stream))

    def write_metadata(self, folder: Path, rows: list[dict[str, str]]) -> None:
        with (folder / "metadata.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def _row(self, experiment_id, plate, well, site):
        is_control = well == "A01"
        well_id = f"{experiment_id}_{plate}_{well}"
        values = (
            f"{well_id}_{site}", well_id, "HUVEC", "train", experiment_id, str(plate), well, str(site),
            "negative_control" if is_control else "treatment", "EMPTY" if is_control else f"s{well}",
        )  # fmt: skip
        return dict(zip(COLUMNS, values, strict=True))


def pytest_addoption(parser):
    parser.addoption(
        "--write-golden", action="store_true", help="Write golden values anew where a code version was raised."
    )


def opened(lake, experiment_id):
    """Returns the reader of an experiment's published store."""
    artifact = lake.plate_store(experiment_id)
    record = artifact.record()
    return ExperimentStore.open(artifact.folder(record.fingerprint), record.files, experiment_id)


@pytest.fixture(scope="session")
def open_store():
    """Opens the published store of an experiment: `open_store(lake, experiment_id)`."""
    return opened


@pytest.fixture
def zone(tmp_path) -> LandingZone:
    return LandingZone(tmp_path / "landing")


@pytest.fixture
def policy() -> IngestPolicy:
    """The policy that the folders of `zone` meet."""
    return IngestPolicy(channel_names=CHANNELS, max_dropped_frac=0.5)
