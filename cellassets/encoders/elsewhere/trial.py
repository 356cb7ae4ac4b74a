"""A trial run of a model from elsewhere on made-up images, before it is registered.

It finds the length of the vectors, and refuses a model that would give wrong vectors without an error: one that is
random, or whose vector of a site depends on the other sites of its batch.
"""

import numpy as np
from jaxtyping import Float32, UInt

from cellassets.encoders.elsewhere.encoder import ElsewhereEncoder
from cellassets.encoders.elsewhere.preprocessing import prepared
from cellassets.errors import EncoderError
from cellassets.images.writer import channel_statistics

SEED = 0
MAX_RELATIVE_DIFFERENCE = 1e-2  # of float32 arithmetic in batches of other sizes; a batch statistic changes far more
N_SITES = 3


def trial_images(encoder: ElsewhereEncoder) -> UInt[np.ndarray, "site channel y x"]:
    """Returns made-up sites of the smallest size that the model declares: noise of different brightness."""
    rng = np.random.default_rng(SEED)
    shape = (N_SITES, encoder.n_channels, *encoder.spec.input.size_px)
    dtype = np.dtype(encoder.pixel_types[0])
    top = rng.integers(32, 256, (*shape[:2], 1, 1)) * (1 if dtype == np.uint8 else 16)
    return (rng.random(shape) * top).astype(dtype)


def trial_dim(encoder: ElsewhereEncoder) -> int:
    """Returns the length of the vectors.

    Raises:
        EncoderError: the model cannot embed images as declared, is random, or mixes the sites of a batch.
    """
    declared, shape = encoder.spec.input, encoder.forward.shape
    _check_shape(encoder)
    images = trial_images(encoder)
    moments = [np.stack(values) for values in zip(*map(channel_statistics, images), strict=True)]
    ready = prepared(images, moments[0], np.maximum(moments[1], 1), declared, range(declared.n_used))
    size = shape[0] or N_SITES
    together = np.concatenate([encoder.vectors(ready[start : start + size]) for start in range(0, N_SITES, size)])
    again = encoder.vectors(ready[:size])
    _check_vectors(together)
    if not np.array_equal(again, together[:size]):
        message = "it gives different vectors for the same image: it is random, for example by dropout or a random mask"
        raise EncoderError(message)
    if shape[0] is None and _difference(encoder.vectors(ready[:1]), together[:1]) > MAX_RELATIVE_DIFFERENCE:
        message = (
            "the vector of a site depends on the other sites of its batch, for example by batch normalisation in "
            "training mode; export the model after model.eval()"
        )
        raise EncoderError(message)
    return int(together.shape[1])


def _check_shape(encoder: ElsewhereEncoder) -> None:
    """Refuses what the file fixes and the declaration does not say."""
    shape, declared = encoder.forward.shape, encoder.spec.input
    if shape[0] not in (None, 1):
        message = f"the file fixes batches of {shape[0]} sites; export it with a dynamic batch, or with a batch of 1"
        raise EncoderError(message)
    if shape[1] not in (None, declared.n_used):
        message = f"the file takes {shape[1]} channels, and {declared.n_used} are declared in `input`"
        raise EncoderError(message)
    sides = [("height", shape[2], declared.size_px[0]), ("width", shape[3], declared.size_px[1])]
    for name, fixed, wanted in sides:
        if fixed not in (None, wanted):
            message = (
                f"the file fixes the {name} {fixed}, and the declaration has {wanted}; give height_px and width_px "
                "(least_px for as_is)"
            )
            raise EncoderError(message)


def _check_vectors(found: Float32[np.ndarray, "site feature"]) -> None:
    if len(found) != N_SITES or found.shape[1] == 0 or not np.isfinite(found).all():
        message = f"its vectors for {N_SITES} made-up sites have the shape {found.shape}, or are not finite"
        raise EncoderError(message)
    if (found == found[0]).all():
        message = f"it gives the same vector for {N_SITES} different images; check `output` and the preprocessing"
        raise EncoderError(message)


def _difference(a: Float32[np.ndarray, "site feature"], b: Float32[np.ndarray, "site feature"]) -> float:
    return float(np.abs(a - b).max() / max(float(np.abs(b).max()), np.finfo(np.float32).tiny))
