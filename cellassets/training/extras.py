"""What objectives without labels need of a batch beside one crop of every site: further crops, or hidden patches.

All random numbers come from the generator of the batch (`batches.py`), so they depend only on (seed, epoch, batch).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from cellassets.training.augmentation import crop_size
from cellassets.training.recipe import (
    AugmentationParameters,
    DinoV2Backbone,
    MaskedAutoencoding,
    NetworkRecipe,
    SelfDistillation,
    VitBackbone,
    local_crop_px,
    n_masked_patches,
)


@dataclass(frozen=True)
class Extras:
    """The further crops and the hidden patches of a recipe."""

    recipe: NetworkRecipe

    def views(self, height: int, width: int) -> tuple[AugmentationParameters, ...]:
        """Returns how the further crops are drawn: a second large one, then the small ones. Sites have this size."""
        chosen, augmentation = self.recipe.objective, self.recipe.augmentation
        if not isinstance(chosen, SelfDistillation):
            return ()
        if not chosen.n_local_crops:
            return (augmentation,)
        local_px = local_crop_px(self.recipe, min(crop_size(augmentation, height, width)))
        return (augmentation, *[augmentation.model_copy(update={"crop_px": local_px})] * chosen.n_local_crops)

    def hidden(
        self, generator: np.random.Generator, n: int, height: int, width: int
    ) -> Bool[np.ndarray, "b patch"] | None:
        """Returns which patches of `n` crops of this size are hidden, row by row: equally many in each crop.

        None if the objective hides none.
        """
        chosen, backbone = self.recipe.objective, self.recipe.backbone
        if not isinstance(chosen, MaskedAutoencoding) or not isinstance(backbone, VitBackbone | DinoV2Backbone):
            return None
        n_patches = (height // backbone.patch_px) * (width // backbone.patch_px)
        ranks = generator.random((n, n_patches)).argsort(axis=1).argsort(axis=1)
        return ranks < n_masked_patches(chosen.mask_frac, n_patches)
