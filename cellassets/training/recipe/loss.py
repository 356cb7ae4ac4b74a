"""The part `loss` of a recipe: what is minimised. `cellassets.training.losses` computes it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cellassets.configuration import Parameters, added_field


class SupConLoss(Parameters):
    """Supervised contrastive loss: sites of one class attract each other, and repel all others of the batch.

    Source: Khosla et al. 2020, Supervised contrastive learning, equation 2.
    """

    name: Literal["supcon"] = "supcon"
    weight: float = Field(default=1.0, gt=0, description="Weight in the sum")
    temperature: float = Field(default=0.1, gt=0, description="Cosines are divided by this")


class MultiSimilarityLoss(Parameters):
    """Multi-similarity loss: pairs of a batch count more, the harder they are.

    Source: Wang et al. 2019, Multi-similarity loss with general pair weighting, equation 11.
    """

    name: Literal["multi_similarity"] = "multi_similarity"
    weight: float = Field(default=1.0, gt=0, description="Weight in the sum")
    alpha: float = Field(default=2.0, gt=0, description="How much harder pairs of one class count more")
    beta: float = Field(default=50.0, gt=0, description="How much harder pairs of two classes count more")
    base: float = Field(default=0.5, ge=-1, le=1, description="Cosine at which a pair counts half")


class SubCentreArcFaceLoss(Parameters):
    """ArcFace with several directions for each class, for classes whose images fall into groups or have wrong labels.

    Source: Deng et al. 2020, Sub-center ArcFace.
    """

    name: Literal["subcentre_arcface"] = "subcentre_arcface"
    weight: float = Field(default=1.0, gt=0, description="Weight in the sum")
    margin_rad: float = Field(default=0.3, ge=0, lt=1.5707, description="Angular margin in radians")
    scale: float = Field(default=16.0, gt=0, description="Scale of the cosines")
    n_subcentres: int = Field(default=3, ge=2, description="Directions of each class")


class CosFaceLoss(Parameters):
    """CosFace: a margin that is subtracted from the cosine with the own class.

    Source: Wang et al. 2018, CosFace, equation 4.
    """

    name: Literal["cosface"] = "cosface"
    weight: float = Field(default=1.0, gt=0, description="Weight in the sum")
    margin: float = Field(default=0.2, ge=0, lt=2, description="Margin of the cosine")
    scale: float = Field(default=16.0, gt=0, description="Scale of the cosines")


MetricLoss = Annotated[
    SupConLoss | MultiSimilarityLoss | SubCentreArcFaceLoss | CosFaceLoss, Field(discriminator="name")
]


def compares_pairs(loss: MetricLoss) -> bool:
    """Returns whether a loss needs several sites of one class in a batch."""
    return isinstance(loss, SupConLoss | MultiSimilarityLoss)


class LossParameters(Parameters):
    """Weighted sum of cross-entropy, ArcFace and the losses in `metric_losses`. A weight of 0 switches a loss off.

    If only losses that compare pairs are chosen, a held-out site is given to the class whose centre has the largest
    cosine with its embedding; a centre is a moving sum of the embeddings of training sites.

    Source: Deng et al. 2019, ArcFace (margin 0.5 rad, scale 64 for millions of faces); the RxRx1 Kaggle winner
    weighted cross-entropy 0.8 and ArcFace 0.2.
    """

    cross_entropy_weight: float = Field(default=1.0, ge=0, description="Weight of cross-entropy")
    arcface_weight: float = Field(default=0.0, ge=0, description="Weight of ArcFace")
    arcface_margin_rad: float = Field(default=0.3, ge=0, lt=1.5707, description="Angular margin of ArcFace in radians")
    arcface_scale: float = Field(default=16.0, gt=0, description="Scale of the cosines in ArcFace")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Probability that is spread over all classes")

    metric_losses: tuple[MetricLoss, ...] = added_field(
        (), description="Further losses, computed by pytorch-metric-learning; each name once"
    )

    @model_validator(mode="after")
    def _something_to_minimise(self) -> "LossParameters":
        if self.cross_entropy_weight + self.arcface_weight == 0 and not self.metric_losses:
            message = "cross_entropy_weight and arcface_weight are both 0: at least one must be positive"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _each_once(self) -> "LossParameters":
        names = [loss.name for loss in self.metric_losses]
        if len(set(names)) < len(names):
            message = f"metric_losses: a loss is named twice: {', '.join(names)}"
            raise ValueError(message)
        return self
