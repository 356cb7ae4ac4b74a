"""The options that several commands share, and the deployment that they name."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cellassets.storage.deployment import Deployment

if TYPE_CHECKING:
    from cellassets.screens.policy import IngestPolicy

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        show_default=False,
        help="Folder of a local deployment. Without it the environment counts: CELLASSETS_HOME, CELLASSETS_LAKE and "
        "the other variables; the last resort is ./demo.",
    ),
]
ConfigsOption = Annotated[
    Path | None,
    typer.Option(
        "--configs",
        show_default=False,
        help="Settings folder, instead of CELLASSETS_CONFIGS or the one in the home's deployment.yaml.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
DeleteOption = Annotated[
    bool, typer.Option("--delete", help="Delete it. Without this option nothing is changed: a dry run.")
]
PRUNE_AFTER_DAYS = 30


def deployment_at(home: Path | None, configs: Path | None = None) -> Deployment:
    """Returns the deployment that the options name, or else the environment.

    Raises:
        ConfigError: there is no deployment; nothing was created.
    """
    return Deployment.of(os.environ, home=home, configs=configs).require()


def landing_policy(landing: str, configs: Path | None) -> "IngestPolicy":
    """Returns what the landing zone's own deployment asks of experiments; the defaults if it has no settings."""
    from cellassets.configuration import load_yaml
    from cellassets.stages.settings import Policy

    home = None if "://" in landing else Path(landing).absolute().parent
    path = Deployment.of(os.environ, home=home, configs=configs).configs / "policy.yaml"
    return load_yaml(path, Policy).ingest if path.exists() or configs is not None else Policy().ingest
