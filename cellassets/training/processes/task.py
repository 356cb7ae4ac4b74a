"""What every process of a training reads first: a JSON file in the folder of the attempt, which all machines see.

The model folder that the recipe starts from is copied beside it. Nothing is unpickled.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from upath import UPath

from cellassets.configuration import Parameters
from cellassets.storage.artifact import write_bytes
from cellassets.training.attempts import Attempt
from cellassets.training.data import TrainingData, open_sources
from cellassets.training.recipe import NetworkRecipe
from cellassets.training.sources import Source
from cellassets.training.spec import SPEC_NAME, WEIGHTS_NAME

TASK_NAME = "task.json"
PARENT = "parent"


class Task(Parameters):
    """A training for several processes.

    Attributes:
        recipe: how to train.
        sources: the experiments, in the order of the recipe.
        folder: of the attempts, where the states are.
        attempt: number of the attempt.
        goes_on_from: name of the state that the attempt goes on from; empty to begin without one.
        has_parent: whether the model folder that the recipe starts from is beside the task.
    """

    recipe: NetworkRecipe
    sources: tuple[Source, ...]
    folder: str
    attempt: int
    goes_on_from: str = ""
    has_parent: bool = False

    def write(self, parent: Path | None) -> UPath:
        """Returns the task's file, after writing it and the parent's files into the folder of the attempts."""
        place = UPath(self.folder)
        if parent is not None:
            for name in (SPEC_NAME, WEIGHTS_NAME):
                write_bytes(place / PARENT / name, (parent / name).read_bytes())
        path = place / TASK_NAME
        write_bytes(path, self.model_dump_json().encode())
        return path

    @classmethod
    def read(cls, path: UPath) -> "Task":
        """Returns the task in a file."""
        return cls.model_validate_json(path.read_bytes())

    def opened_attempt(self) -> Attempt:
        """Returns the attempt, for a process that takes part in it."""
        return Attempt(UPath(self.folder), self.attempt, self.goes_on_from)

    @contextmanager
    def opened_data(self) -> Iterator[TrainingData]:
        """Yields the sites, with the parent's files in a temporary folder."""
        data = open_sources(self.recipe, self.sources)
        with tempfile.TemporaryDirectory() as scratch:
            if self.has_parent:
                for name in (SPEC_NAME, WEIGHTS_NAME):
                    (Path(scratch) / name).write_bytes((UPath(self.folder) / PARENT / name).read_bytes())
                data = replace(data, parent=Path(scratch))
            yield data
