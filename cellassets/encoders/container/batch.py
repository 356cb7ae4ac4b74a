"""Writes a batch of sites for a container encoder: `images.npy` with the pixels and `manifest.json` with the rest.

docs/container_encoders.md describes both files for people who write encoders.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Integer

from cellassets.encoders.container.declaration import ContainerSpec
from cellassets.images.reader import ExperimentStore
from cellassets.training.normalisation import min_std

MANIFEST_NAME, IMAGES_NAME = "manifest.json", "images.npy"
SITES_PER_BLOCK = 16
SITE = ("plate_id", "well_id", "site_index")


def write_batch(
    folder: Path,
    store: ExperimentStore,
    indices: Integer[np.ndarray, "site"],
    moments: tuple[Float32[np.ndarray, "site channel"], Float32[np.ndarray, "site channel"]],
    spec: ContainerSpec,
    model_key: str,
) -> None:
    """Writes some sites of a store into `folder`, block by block.

    Args:
        folder: an existing folder.
        store: the experiment's sites.
        indices: rows of `store.sites`; the order of the batch.
        moments: mean and standard deviation of each channel of these sites, in grey levels.
        spec: what the program reads.
        model_key: the model, for the manifest.
    """
    dtype = _dtype(store.dtype, spec.pixel_types)
    shape = (len(indices), store.n_channels, store.height, store.width)
    with (folder / IMAGES_NAME).open("wb") as stream:
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        data_offset = stream.tell()
        for _, images in store.blocks(SITES_PER_BLOCK, indices=indices):
            stream.write(np.ascontiguousarray(images, dtype=dtype).tobytes())
    manifest = {
        "format_version": 1,
        "experiment_id": store.experiment_id,
        "model_key": model_key,
        "embedding_dim": spec.embedding_dim,
        "normalisation": spec.normalisation,
        "n_sites": shape[0],
        "n_channels": shape[1],
        "height": shape[2],
        "width": shape[3],
        "channel_names": list(store.channel_names),
        "images": {"file": IMAGES_NAME, "dtype": dtype.name, "axes": "site channel y x", "data_offset": data_offset},
        "top_grey_level": store.imaging.top_grey_level,
        "min_channel_std": min_std(store.dtype, store.imaging.top_grey_level),
        "sites": _sites(store, indices, moments),
    }
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=1))


def _dtype(stored: str, pixel_types: Sequence[str]) -> np.dtype:
    """Returns the type of the file, little-endian: that of the store, or a wider one that the program reads instead."""
    chosen = stored if stored in pixel_types else next(name for name in pixel_types if np.can_cast(stored, name))
    return np.dtype(chosen).newbyteorder("<")


def _sites(
    store: ExperimentStore,
    indices: Integer[np.ndarray, "site"],
    moments: tuple[Float32[np.ndarray, "site channel"], Float32[np.ndarray, "site channel"]],
) -> list[dict[str, Any]]:
    mean, std = moments
    places = store.sites[indices].select(SITE).to_dicts()
    return [
        {"row": row, **place, "channel_mean": mean[row].tolist(), "channel_std": std[row].tolist()}
        for row, place in enumerate(places)
    ]
