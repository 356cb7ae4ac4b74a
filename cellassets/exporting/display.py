"""How the channels of an export are shown: colour and contrast limits, the same for all wells of a plate.

Colours and percentiles are those of the contact sheets, except that the DNA channel is always blue.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from cellassets.images.reader import ExperimentStore
from cellassets.quality.composite import CHANNEL_COLOURS, HIGH_PERCENTILE, LOW_PERCENTILE
from cellassets.screens.imaging import Imaging

N_SAMPLED_SITES = 48  # enough for percentiles: 12 million pixels per channel at 512 x 512
SITES_AT_ONCE = 2
PALETTE = tuple("".join(f"{round(255 * part):02X}" for part in colour) for colour in CHANNEL_COLOURS.tolist())


@dataclass(frozen=True)
class ChannelDisplay:
    """How one channel is shown.

    Attributes:
        name: name of the channel.
        colour: six hexadecimal digits, such as 2640FF.
        low: grey level that is shown as black.
        high: grey level that is shown as full colour.
        top: highest possible grey level.
    """

    name: str
    colour: str
    low: int
    high: int
    top: int


def channel_displays(store: ExperimentStore, indices: Sequence[int]) -> list[ChannelDisplay]:
    """Returns how each channel is shown, with limits from a sample of sites.

    Args:
        store: the packed experiment.
        indices: rows of `store.sites`, those of the whole plate; at most 48 of them, evenly spaced, are read.

    Raises:
        CorruptArtifact: a shard of the store is damaged.
    """
    limits = _limits(grey_level_counts(store, _evenly_spaced(indices)))
    top = store.imaging.top_grey_level or int(np.iinfo(store.dtype).max)
    return [
        ChannelDisplay(name, colour, int(low), int(high), max(top, int(high)))
        for name, colour, (low, high) in zip(store.channel_names, colours(store.imaging), limits, strict=True)
    ]


def colours(imaging: Imaging) -> list[str]:
    """Returns one colour per channel: blue for DNA, the others in the order of the palette; they repeat after six."""
    if imaging.dna_index is None:
        return [PALETTE[channel % len(PALETTE)] for channel in range(len(imaging.channel_names))]
    others = PALETTE[1:]
    found = [others[number % len(others)] for number in range(len(imaging.channel_names) - 1)]
    return [*found[: imaging.dna_index], PALETTE[0], *found[imaging.dna_index :]]


def grey_level_counts(store: ExperimentStore, indices: Sequence[int]) -> Int[np.ndarray, "channel level"]:
    """Returns how many pixels of these sites have each grey level, by channel."""
    n_levels = int(np.iinfo(store.dtype).max) + 1
    counts = np.zeros((store.n_channels, n_levels), dtype=np.int64)
    for _, images in store.blocks(SITES_AT_ONCE, indices=indices, n_ahead=1):
        for channel in range(store.n_channels):
            counts[channel] += np.bincount(images[:, channel].ravel(), minlength=n_levels)
    return counts


def _limits(counts: Int[np.ndarray, "channel level"]) -> Int[np.ndarray, "channel 2"]:
    """Returns the 5th and 99.8th percentile of each channel, at least one grey level apart."""
    below = counts.cumsum(axis=1)
    wanted = [np.ceil(below[:, -1] * percentile / 100) for percentile in (LOW_PERCENTILE, HIGH_PERCENTILE)]
    limits = np.stack([(below < each[:, None]).sum(axis=1) for each in wanted], axis=1)
    limits[:, 1] = np.maximum(limits[:, 1], limits[:, 0] + 1)
    return limits


def _evenly_spaced(indices: Sequence[int]) -> list[int]:
    n_taken = min(N_SAMPLED_SITES, len(indices))
    return [indices[round(place)] for place in np.linspace(0, len(indices) - 1, n_taken)]
