"""Positions of patches as sines and cosines, which are not learnt."""

import torch
from jaxtyping import Float

SCALE = 10000.0


def sine_positions(width: int, n_rows: int, n_columns: int) -> Float[torch.Tensor, "patch w"]:
    """Returns the encoding of the patches of an image, row by row: sine and cosine of the row, then of the column.

    Args:
        width: length of a token, a multiple of 4.
        n_rows: patches on top of each other.
        n_columns: patches beside each other.

    Source: He et al. 2022, with the encoding of Vaswani et al. 2017 for each of the two axes.
    """
    sides = (torch.arange(n, dtype=torch.float32) for n in (n_rows, n_columns))
    rows, columns = torch.meshgrid(*sides, indexing="ij")
    weights = 1.0 / (SCALE ** (torch.arange(width // 4, dtype=torch.float32) / (width // 4)))
    angles = [torch.outer(place.flatten(), weights) for place in (rows, columns)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)
