"""Commands of `cellassets model` that store files of models in the registry, or copy them. `model.py` lists them."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellassets.cli.options import HomeOption, JsonOption, deployment_at
from cellassets.cli.output import progress_bar, show_json

if TYPE_CHECKING:
    from cellassets.registry import Registry

TrialOption = Annotated[bool, typer.Option("--check", help="Read the files and try the model; register nothing.")]


def register_model(
    file: Annotated[Path, typer.Argument(help="YAML file that declares a model, or a folder of `model get`.")],
    is_trial: TrialOption = False,
    has_elsewhere: Annotated[
        bool,
        typer.Option("--elsewhere", help="Of profiles: accept experiments, plates and wells that are not here."),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Registers a model from elsewhere. It is then embedded and scored like a model that was trained here.

    The key `kind` of the file says what it is: `network` (safetensors and an architecture), `exported` (torch.export),
    `onnx`, `huggingface` (a folder), `container` (a program; also without the key) or `profiles` (a table of embeddings
    or profiles that exist already). The model is tried on made-up images first; a table is read, and its rows are
    compared with the wells that landed. The same files and the same declaration give the same model version. Nothing is
    unpickled.

    Declare what it was trained on with `cellassets model declare`.

    Example: cellassets model register dino_cells.yaml --check
    """
    from cellassets.encoders.registering import check_model, declared_kind, register
    from cellassets.profiles.model_folder import KIND as PROFILES

    if not file.is_dir() and declared_kind(file) == PROFILES:
        _register_profiles(file, is_trial=is_trial, has_elsewhere=has_elsewhere, home=home, as_json=as_json)
        return
    if is_trial:
        found: dict[str, Any] = {"key": None, **check_model(file)}
        show_json(found) if as_json else typer.echo(
            ", ".join(f"{name} {value}" for name, value in found.items() if value)
        )
        return
    entry = register(_registry(home), file)
    if as_json:
        show_json(entry.model_dump(mode="json"))
    else:
        typer.echo(entry.key)


def _register_profiles(file: Path, *, is_trial: bool, has_elsewhere: bool, home: Path | None, as_json: bool) -> None:
    """Registers a table of profiles, and shows its size and what the steps of its declaration dropped."""
    from cellassets.profiles.registering import any_place, load_declaration, prepare_declared, register_profiles
    from cellassets.stages.catalogue import open_snapshot
    from cellassets.stages.profile_places import refuse_places_elsewhere

    check = any_place if has_elsewhere else partial(refuse_places_elsewhere, open_snapshot(deployment_at(home)), file)
    entry: dict[str, Any] = {"key": None}
    with progress_bar() as report:
        if is_trial:
            prepared = prepare_declared(file, load_declaration(file), check_places=check, progress=report)[1]
        else:
            registered, prepared = register_profiles(_registry(home), file, check_places=check, progress=report)
            entry = registered.model_dump(mode="json")
    dropped = {f"{number} {one.step}": len(one.features) for number, one in enumerate(prepared.dropped, 1)}
    n_rows, n_features = prepared.labels.height, len(prepared.features)
    if as_json:
        show_json({**entry, "n_rows": n_rows, "n_features": n_features, "dropped": dropped})
        return
    if not is_trial:
        typer.echo(entry["key"])
    steps = "".join(f"; {name} dropped {n}" for name, n in dropped.items())
    typer.echo(f"{n_rows} rows of {n_features} features{steps}", err=True)


def get_model(
    asked: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="NAME.v3, NAME@latest (the highest version), or NAME@champion (in production)."
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the files.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Writes the files of a model into a new folder: weights, preprocessing, and a README.md with an example.

    The folder appears when it is complete, and its files are compared with the fingerprint of the registration.
    `cellassets.load_model(DIR)` opens it in Python.

    Example: cellassets model get resnet_ce@latest my_model
    """
    from cellassets.encoders.getting import get_model

    entry = get_model(_registry(home), asked, folder)
    if as_json:
        show_json({**entry.model_dump(mode="json"), "folder": str(folder)})
    else:
        typer.echo(f"{entry.key}: {folder}")


def _registry(home: Path | None) -> "Registry":
    from cellassets.registry import Registry

    deployment = deployment_at(home)
    return Registry(deployment.tracking_uri, deployment.model_root)
