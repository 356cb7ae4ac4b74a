"""`cellassets screen illumination`: illumination functions, estimated from the images of landed experiments."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellassets.cli.options import JsonOption
from cellassets.cli.output import progress_bar, show_json, show_rows
from cellassets.cli.screen_folders import ScreenPath, experiments_in, folder_at

if TYPE_CHECKING:
    from upath import UPath

    from cellassets.images.illumination_files import PlateFunction

POOR_FRAC = 0.03  # of uncertainty
N_SKIPPED_SHOWN = 10


def estimate_illumination(
    path: ScreenPath,
    smoothing: Annotated[
        float, typer.Option(min=0.01, max=1, help="Width of the median filter, as a fraction of the image.")
    ] = 0.25,
    images: Annotated[int, typer.Option(min=1, help="Images that are read per plate and channel, at most.")] = 1000,
    replace: Annotated[bool, typer.Option("--replace", help="Replace functions that exist.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Estimates the illumination function of each plate and channel and writes it into the experiment's folder.

    Functions that exist are kept, unless --replace is given. Images are divided by them where experiment.yaml says
    `correct_illumination: true`. Ends with status 1 if a plate and channel has no function, or an experiment cannot be
    read.

    Example: cellassets screen illumination demo/landing/my-screen
    """
    from cellassets.errors import CellAssetsError
    from cellassets.images.illumination_files import IlluminationWriter

    rows: list[dict[str, Any]] = []
    chosen, refused = experiments_in(folder_at(path))
    for landing, experiment_id in chosen:
        if experiment_id in refused:
            continue
        found: list[PlateFunction] = []
        with progress_bar() as report:
            writer = IlluminationWriter(landing, experiment_id, smoothing, images, replace, progress=report)
            try:
                found.extend(writer.write())
            except CellAssetsError as error:
                refused[experiment_id] = f"{type(error).__name__}: {error}"
        rows += map(asdict, found)
        _report(found, writer.skipped)
        if found:
            _say_how_to_apply(landing, experiment_id, is_applied=found[0].is_applied)
    if as_json:
        show_json([*rows, *({"experiment_id": name, "refused": why} for name, why in refused.items())])
    else:
        show_rows(list(map(_shown, rows)), as_json=False, empty="no function")
        for experiment_id, why in refused.items():
            typer.echo(f"\n{experiment_id}: not finished\n  {why}")
    if refused or any(row["outcome"] == "refused" for row in rows):
        raise typer.Exit(1)


def _report(functions: "Sequence[PlateFunction]", skipped: Sequence[str]) -> None:
    """Says on stderr which images were not used, and which functions were kept, refused or are poor."""
    for reason in skipped[:N_SKIPPED_SHOWN]:
        typer.echo(f"Not used: {reason}", err=True)
    if len(skipped) > N_SKIPPED_SHOWN:
        typer.echo(f"Not used: {len(skipped) - N_SKIPPED_SHOWN} more images", err=True)
    kept = [function for function in functions if function.outcome == "kept"]
    if kept:
        typer.echo(
            f"{len(kept)} functions exist and are kept, such as {kept[0].path}; --replace replaces them", err=True
        )
    for function in functions:
        place = f"{function.plate_id} {function.channel_name}"
        if function.outcome == "refused":
            typer.echo(f"Wrong: {place}: no function: {function.reason}", err=True)
        uncertainty = function.uncertainty_frac
        if function.outcome == "written" and (uncertainty is None or uncertainty > POOR_FRAC):
            found = "unknown size" if uncertainty is None else f"{uncertainty:.1%}"
            typer.echo(
                f"Poor: {place}: {function.n_images} images give an uncertainty of {found}; expected at most "
                f"{POOR_FRAC:.0%}. Use more images or a wider filter (--smoothing)",
                err=True,
            )


def _say_how_to_apply(landing: "UPath", experiment_id: str, *, is_applied: bool) -> None:
    from cellassets.screens.landing import EXPERIMENT_FILE
    from cellassets.screens.layouts.choose import experiment_file

    if is_applied:
        typer.echo(f"{experiment_id}: its images will be divided by these functions when it is checked next", err=True)
        return
    given = experiment_file(landing, experiment_id)
    place = landing / experiment_id / EXPERIMENT_FILE if given is None else given[0]
    shared = ", which holds for all experiments without one of their own" if place.parent == landing else ""
    typer.echo(
        f"{experiment_id}: its images are not divided by these functions. If they should be, add this line to "
        f"{place}{shared}:\ncorrect_illumination: true",
        err=True,
    )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    percent = {f"{name} %": _percent(row[f"{name}_frac"]) for name in ("unevenness", "uncertainty")}
    names = ("experiment_id", "plate_id", "channel_name", "outcome", "n_images")
    return {**{name: row[name] for name in names}, **percent, "path": row["path"]}


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else round(100 * fraction, 1)
