"""One folder that holds a whole local deployment: landing zone, lake, model registry and Dagster's own storage.

Production sets each of these on its own (`resources/environment.py`); this is the default.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """Where a local deployment keeps things. `root` should be absolute."""

    root: Path

    @property
    def lake(self) -> Path:
        """All artefacts."""
        return self.root / "lake"

    @property
    def landing(self) -> Path:
        """Landing zone: a folder an experiment."""
        return self.root / "landing"

    @property
    def tracking_uri(self) -> str:
        """MLflow's database."""
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def model_root(self) -> str:
        """MLflow's artefact folder."""
        return (self.root / "models").as_uri()

    @property
    def work(self) -> Path:
        """Unpublished work that a killed run picks up again, such as training checkpoints."""
        return self.root / "work"

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance: runs, events, schedules."""
        return self.root / "dagster"
