"""The part `loss` of a recipe: what is minimised. `cellassets.training.losses` computes it."""

from pydantic import Field, model_validator

from cellassets.configuration import Parameters


class LossParameters(Parameters):
    """Weighted sum of cross-entropy and ArcFace. A weight of 0 switches a loss off.

    Source: Deng et al. 2019, ArcFace (margin 0.5 rad, scale 64 for millions of faces); the RxRx1 Kaggle winner
    weighted cross-entropy 0.8 and ArcFace 0.2.
    """

    cross_entropy_weight: float = Field(default=1.0, ge=0, description="Weight of cross-entropy")
    arcface_weight: float = Field(default=0.0, ge=0, description="Weight of ArcFace")
    arcface_margin_rad: float = Field(default=0.3, ge=0, lt=1.5707, description="Angular margin of ArcFace in radians")
    arcface_scale: float = Field(default=16.0, gt=0, description="Scale of the cosines in ArcFace")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Probability that is spread over all classes")

    @model_validator(mode="after")
    def _something_to_minimise(self) -> "LossParameters":
        if self.cross_entropy_weight + self.arcface_weight == 0:
            message = "cross_entropy_weight and arcface_weight are both 0: at least one must be positive"
            raise ValueError(message)
        return self
