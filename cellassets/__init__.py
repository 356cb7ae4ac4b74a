"""Maps of cell biology as data assets: the science and the storage, without an orchestrator.

Dagster code lives in the sibling packages `assets`, `resources` and `sensors`; `cellassets.definitions` puts
them together. Everything else here runs from a script or a notebook. `open` gives the assets of a deployment;
`load_model` opens a folder of `cellassets model get`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from cellassets.access import OpenHome
    from cellassets.encoders.model import Model

__all__ = ["load_model", "open"]


def open(home: "str | os.PathLike[str] | None" = None) -> "OpenHome":  # noqa: A001
    """Returns the assets of a deployment: datasets, models, embeddings, maps, scores and images, read only.

    Args:
        home: folder of a local deployment; by default the one that the environment names (`CELLASSETS_HOME`,
            `CELLASSETS_LAKE` and the other variables), and at last `./demo`.

    Raises:
        ConfigError: there is no deployment.
    """
    import os
    from pathlib import Path

    from cellassets.access import OpenHome
    from cellassets.storage.deployment import Deployment

    folder = None if home is None else Path(home)
    return OpenHome(Deployment.of(os.environ, home=folder).require())


def load_model(folder: "str | os.PathLike[str]", *, precision: str = "fp32") -> "Model":
    """Returns the model in a folder, ready to embed images.

    Args:
        folder: a model folder, as `cellassets model get` writes it.
        precision: `fp32`, or `bf16` for a network that was trained here, as the platform chose it for a table.

    Raises:
        EncoderError: the model cannot be used without the platform, or not in this precision.
        RegistryError: a file is missing or damaged.
    """
    from cellassets.encoders.model import Model  # imports torch

    return Model.load(folder, precision=precision)
