"""Recipes: all parameters that determine a model, read from YAML and then frozen.

A recipe describes either a network to train or a classical encoder to set up. Nothing here imports torch, because
sensors read recipes at every tick.
"""

from cellassets.training.recipe.augmentation import AugmentationParameters
from cellassets.training.recipe.backbone import Backbone, ConvNextBackbone, ResNetBackbone, VitBackbone, smallest_px
from cellassets.training.recipe.classical import ClassicalParameters, ClassicalRecipe, FeatureFamily
from cellassets.training.recipe.loss import LossParameters
from cellassets.training.recipe.network import ClassParameters, NetworkRecipe, NormalisationKind
from cellassets.training.recipe.optimisation import OptimiserParameters
from cellassets.training.recipe.reading import Recipe, RecipeKind, load_recipe, recipe_experiments, recipe_fingerprint

__all__ = [
    "AugmentationParameters",
    "Backbone",
    "ClassParameters",
    "ClassicalParameters",
    "ClassicalRecipe",
    "ConvNextBackbone",
    "FeatureFamily",
    "LossParameters",
    "NetworkRecipe",
    "NormalisationKind",
    "OptimiserParameters",
    "Recipe",
    "RecipeKind",
    "ResNetBackbone",
    "VitBackbone",
    "load_recipe",
    "recipe_experiments",
    "recipe_fingerprint",
    "smallest_px",
]
