"""The options that several commands share, and the deployment that they name."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cellassets.storage.deployment import Deployment

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
