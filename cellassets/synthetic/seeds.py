"""Random streams: one per purpose, identified by the design's seed and the ids of the plate, well or site.

No stream depends on the order of work, on threads or on other streams. A site is therefore the same image in every
run, and an experiment is the same whichever other experiments are written.
"""

import zlib

import numpy as np


def stream(seed: int, *ids: str | int) -> np.random.Generator:
    """Returns the random generator of `seed` and `ids`, always in the same initial state.

    Args:
        seed: the design's seed.
        ids: purpose of the numbers, such as ("site", "HUVEC-1", "Plate1", "B07", 2).
    """
    name = "\x1f".join(str(part) for part in ids).encode()
    # CRC32 of the name and of the reversed name: 64 bits, so ids do not collide in practice
    entropy = (seed, zlib.crc32(name), zlib.crc32(name[::-1]))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
