"""Stores of a tiny simulated experiment, as it is or with changed images."""

from pathlib import Path

import imagecodecs
import pytest
from upath import UPath

from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.screens.codecs import decode_image
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen


@pytest.fixture(scope="session")
def tiny_landing(tmp_path_factory) -> Path:
    """Folder of one experiment of the tiny screen: one plate or more, with their images and metadata."""
    root, design = tmp_path_factory.mktemp("quality"), tiny_design()
    write_screen(design, root, experiment_ids=[min(design.experiments)])
    return root / min(design.experiments)


@pytest.fixture(scope="session")
def stored(tiny_landing, tmp_path_factory):
    """Stores the tiny experiment with changed images: `stored(lambda image: image.astype(np.uint16) * 257)`."""

    def stored(change) -> ExperimentStore:
        root = tmp_path_factory.mktemp("changed")
        for path in sorted(tiny_landing.rglob("*")):
            copy = root / "landing" / tiny_landing.name / path.relative_to(tiny_landing)
            if path.is_file():
                copy.parent.mkdir(parents=True, exist_ok=True)
                content = path.read_bytes()
                if path.suffix == ".png":
                    content = imagecodecs.png_encode(change(decode_image(content, source=path.name)))
                copy.write_bytes(content)
        manifest = check_experiment(UPath(root / "landing"), tiny_landing.name, policy=IngestPolicy())
        packing = Packing(UPath(root / "landing" / tiny_landing.name), UPath(root / "packed"), manifest.imaging)
        packed = pack_plates(manifest.images, manifest.wells, packing)
        return ExperimentStore.open(packing.target, packed.files, tiny_landing.name)

    return stored
