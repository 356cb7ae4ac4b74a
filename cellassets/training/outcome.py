"""What carrying out a recipe gives: a model folder and what was measured. No torch here."""

from dataclasses import dataclass, field
from pathlib import Path

import yaml
from upath import UPath

from cellassets.storage.artifact import write_bytes
from cellassets.training.pruning import StopDecision
from cellassets.training.recipe import Recipe
from cellassets.training.spec import SPEC_NAME

RECIPE_NAME = "recipe.yaml"


@dataclass(frozen=True)
class Outcome:
    """The result of a recipe.

    Attributes:
        folder: a model folder, ready to be registered.
        names: its files. Other files in the folder, such as those of a killed process, do not belong to the model.
        metrics: metrics of the last epoch; empty if nothing is trained.
        counts: numbers of classes, sites, weights and epochs, named as in `CheckpointSummary`; empty if nothing is
            trained.
        perturbations: names of the classes, of their genes and of their compounds; empty if nothing is trained.
        history: the metrics and the speed of every epoch; empty if nothing is trained.
        stopped: why a variant of a search was stopped early. Then there is no model.
        diverged: why a variant of a search could not be trained to its end. Then there is no model.
        not_compared: epochs after which a variant could not be compared with the others.
    """

    folder: Path
    names: tuple[str, ...]
    metrics: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    perturbations: tuple[str, ...] = ()
    history: tuple[dict[str, float], ...] = ()
    stopped: StopDecision | None = None
    diverged: str = ""
    not_compared: tuple[int, ...] = ()

    @property
    def is_model(self) -> bool:
        """Whether the folder holds a model to register."""
        return SPEC_NAME in self.names


def write_recipe(recipe: Recipe, folder: Path) -> None:
    """Writes a copy of the recipe into a model folder. The copy has no name: the name of a recipe is its file's."""
    text = yaml.safe_dump(recipe.model_dump(mode="json", exclude={"name"}), sort_keys=False)
    write_bytes(UPath(folder / RECIPE_NAME), text.encode())
