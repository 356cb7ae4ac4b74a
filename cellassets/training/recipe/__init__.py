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
from cellassets.training.recipe.devices import Devices
from cellassets.training.recipe.family import Family, Variant
from cellassets.training.recipe.family_checks import checked_family
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
from cellassets.training.recipe.objective import (
    Classification,
    MaskedAutoencoding,
    SelfDistillation,
    crop_problem,
    local_crop_px,
    n_masked_patches,
)
from cellassets.training.recipe.optimisation import EarlyStopping, OptimiserParameters
from cellassets.training.recipe.reading import (
    Recipe,
    RecipeKind,
    load_recipe,
    recipe_experiments,
    recipe_fingerprint,
    trained_experiments,
)
from cellassets.training.recipe.search import (
    BayesianSearch,
    GridSearch,
    JudgedBy,
    ListSearch,
    RandomSearch,
    Search,
    StopRule,
)
from cellassets.training.recipe.start import InitialWeights

__all__ = [
    "Arithmetic",
    "AugmentationParameters",
    "Backbone",
    "BatchStatistics",
    "BayesianSearch",
    "ClassParameters",
    "ClassicalParameters",
    "ClassicalRecipe",
    "Classification",
    "ConvNextBackbone",
    "CosFaceLoss",
    "DenseNetBackbone",
    "Devices",
    "DinoV2Backbone",
    "EarlyStopping",
    "Family",
    "FeatureFamily",
    "GridSearch",
    "InitialWeights",
    "JudgedBy",
    "ListSearch",
    "LossParameters",
    "MaskedAutoencoding",
    "MetricLoss",
    "Mixing",
    "MultiSimilarityLoss",
    "NetworkRecipe",
    "NormalisationKind",
    "OptimiserParameters",
    "RandomSearch",
    "Recipe",
    "RecipeKind",
    "ResNetBackbone",
    "Sampling",
    "Search",
    "SelfDistillation",
    "StopRule",
    "SubCentreArcFaceLoss",
    "SupConLoss",
    "Variant",
    "VitBackbone",
    "ZooBackbone",
    "checked_family",
    "compares_pairs",
    "crop_problem",
    "load_recipe",
    "local_crop_px",
    "n_masked_patches",
    "recipe_experiments",
    "recipe_fingerprint",
    "smallest_px",
    "trained_experiments",
]
