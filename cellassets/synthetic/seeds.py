"""Random streams: one a purpose, named by the design's seed and the ids of what it is for.

No stream depends on the order in which things are made, on threads, or on what else is made. So a site is the same
image whoever renders it, and an experiment the same whichever others are written.
"""

import zlib

import numpy as np


def stream(seed: int, *ids: str | int) -> np.random.Generator:
    """Returns the generator that belongs to `seed` and `ids`, always in the same state.

    Args:
        seed: the design's seed.
        ids: what the numbers are for, as ("site", "HUVEC-1", "Plate1", "B07", 2).
    """
    name = "\x1f".join(str(part) for part in ids).encode()
    # CRC32 of the name and of the reversed name: 64 bits, so that ids do not collide in practice
    entropy = (seed, zlib.crc32(name), zlib.crc32(name[::-1]))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
