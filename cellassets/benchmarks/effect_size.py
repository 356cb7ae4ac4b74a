"""Effect size of each well: its distance from the negative controls of its plate, in any direction."""

import numpy as np
from jaxtyping import Bool, Float, Int

from cellassets.benchmarks.judged import JudgedMap
from cellassets.mapping.aggregate import group_mean
from cellassets.mapping.controls import is_negative_control


def effect_sizes(judged: JudgedMap) -> Float[np.ndarray, "well"]:
    """Returns the distance of every well from the mean of the fitted negative controls of its plate.

    Fitted controls are those that alignment was fitted on.

    Held-out controls are not part of that mean, so that no well is compared with a mean that it belongs to. Where a
    plate has no fitted control the mean is that of its batch; where the batch has none it is the origin. A distance
    needs no direction; a direction would have to be estimated from the wells that it judges.
    """
    is_seen = is_negative_control(judged.wells) & ~judged.is_held_out_control
    batch = np.unique(judged.wells["batch_id"].to_numpy(), return_inverse=True)[1]
    values = judged.vectors.astype(np.float64)
    centres = _centres(values, is_seen, batch, np.zeros_like(values))
    centres = _centres(values, is_seen, judged.plate_index, centres)
    return np.linalg.norm(values - centres, axis=1)


def _centres(
    values: Float[np.ndarray, "well feature"],
    is_seen: Bool[np.ndarray, "well"],
    group: Int[np.ndarray, "well"],
    otherwise: Float[np.ndarray, "well feature"],
) -> Float[np.ndarray, "well feature"]:
    """The mean of the chosen wells of each well's group; `otherwise` where a group has none."""
    with_controls = np.unique(group[is_seen])
    if not len(with_controls):
        return otherwise
    means = group_mean(values[is_seen], np.searchsorted(with_controls, group[is_seen]), len(with_controls))
    place = np.searchsorted(with_controls, group).clip(max=len(with_controls) - 1)
    return np.where((with_controls[place] == group)[:, None], means[place], otherwise)
