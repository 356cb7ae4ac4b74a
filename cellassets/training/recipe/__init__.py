"""Recipes: all parameters that determine a model, read from YAML and then frozen.

A recipe describes either a network to train or a classical encoder to set up. Nothing here imports torch, because
sensors read recipes at every tick.
"""

from cellassets.training.recipe.augmentation import AugmentationParameters, Mixing
from cellassets.training.recipe.backbone import (
    Backbone,
    ConvNextBackbone,
    DenseNetBackbone,
    DinoV2Backbone,
    ResNetBackbone,
    VitBackbone,
    ZooBackbone,
    smallest_px,
)
from cellassets.training.recipe.classical import ClassicalParameters, ClassicalRecipe, FeatureFamily
from cellassets.training.recipe.loss import (
    CosFaceLoss,
    LossParameters,
    MetricLoss,
    MultiSimilarityLoss,
    SubCentreArcFaceLoss,
    SupConLoss,
    compares_pairs,
)
from cellassets.training.recipe.network import (
    Arithmetic,
    BatchStatistics,
    ClassParameters,
    NetworkRecipe,
    NormalisationKind,
    Sampling,
)
from cellassets.training.recipe.optimisation import EarlyStopping, OptimiserParameters
from cellassets.training.recipe.reading import Recipe, RecipeKind, load_recipe, recipe_experiments, recipe_fingerprint
from cellassets.training.recipe.start import InitialWeights

__all__ = [
    "Arithmetic",
    "AugmentationParameters",
    "Backbone",
    "BatchStatistics",
    "ClassParameters",
    "ClassicalParameters",
    "ClassicalRecipe",
    "ConvNextBackbone",
    "CosFaceLoss",
    "DenseNetBackbone",
    "DinoV2Backbone",
    "EarlyStopping",
    "FeatureFamily",
    "InitialWeights",
    "LossParameters",
    "MetricLoss",
    "Mixing",
    "MultiSimilarityLoss",
    "NetworkRecipe",
    "NormalisationKind",
    "OptimiserParameters",
    "Recipe",
    "RecipeKind",
    "ResNetBackbone",
    "Sampling",
    "SubCentreArcFaceLoss",
    "SupConLoss",
    "VitBackbone",
    "ZooBackbone",
    "compares_pairs",
    "load_recipe",
    "recipe_experiments",
    "recipe_fingerprint",
    "smallest_px",
]
