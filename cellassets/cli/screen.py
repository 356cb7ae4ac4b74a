"""`cellassets screen`: screens before they are ingested: what they hold, how they are laid out; and simulated ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellassets.cli.illumination import estimate_illumination
from cellassets.cli.options import ConfigsOption, JsonOption, landing_policy
from cellassets.cli.output import progress_bar, show_json, show_rows
from cellassets.cli.screen_folders import ScreenPath, experiments_in, folder_at

if TYPE_CHECKING:
    from upath import UPath

    from cellassets.images.survey import Survey

app = typer.Typer(no_args_is_help=True, help="Screens before they are ingested, and simulated screens.")
N_EXAMPLES = 3


@app.command("check")
def check_screen(
    path: ScreenPath,
    read_all: Annotated[bool, typer.Option("--all", help="Read every image, not those of 24 sites only.")] = False,
    configs: ConfigsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Says what a screen holds, what is wrong with it, and what ingesting it costs; writes nothing.

    Names and tables are read whole, images only of 24 sites of each experiment. Ends with status 1 if a site would be
    dropped or an experiment cannot be read.

    Example: cellassets screen check demo/landing
    """
    from cellassets.errors import CellAssetsError
    from cellassets.images import survey

    found = []
    chosen, refused = experiments_in(folder_at(path))
    for landing, experiment_id in chosen:
        if experiment_id in refused:
            continue
        try:
            with progress_bar() as report:
                surveyed = survey.survey_experiment(
                    landing,
                    experiment_id,
                    policy=landing_policy(str(landing), configs),
                    n_sites_read=None if read_all else survey.N_SITES_READ,
                    progress=report,
                )
        except CellAssetsError as error:
            refused[experiment_id] = f"{type(error).__name__}: {error}"
            continue
        found.append(surveyed)
    if as_json:
        show_json([*map(_as_row, found), *({"experiment_id": name, "refused": why} for name, why in refused.items())])
    else:
        for surveyed in found:
            _show(surveyed)
        for experiment_id, why in refused.items():
            typer.echo(f"\n{experiment_id}: cannot be read\n  {why}")
    if refused or any(_harm(surveyed) for surveyed in found):
        raise typer.Exit(1)


@app.command("init")
def init_screen(
    path: Annotated[str, typer.Argument(help="Folder of one experiment in the landing zone.")],
) -> None:
    """Writes experiment.yaml and a plate map for a folder that no layout recognises, by looking at its names.

    Ends with status 1 if images do not fit what was written, or if two images would be one.

    Example: cellassets screen init demo/landing/my-screen
    """
    from cellassets.errors import LayoutError
    from cellassets.screens.landing import EXPERIMENT_FILE, PLATE_MAP
    from cellassets.screens.layouts.choose import choose_layout
    from cellassets.screens.layouts.experiment_folder import expect_experiment
    from cellassets.screens.layouts.guess import propose_layout

    folder = folder_at(path)
    landing, experiment_id = folder.parent, folder.name
    expect_experiment(landing, experiment_id)
    try:
        chosen = choose_layout(landing, experiment_id)
    except LayoutError:
        proposal = propose_layout(landing, experiment_id)
    else:
        typer.echo(f"{experiment_id} has the layout {chosen.name} already; nothing written")
        return
    _write_new(folder, {EXPERIMENT_FILE: proposal.experiment_yaml(), PLATE_MAP: proposal.plate_map()})
    n_channels = len(proposal.channels)
    typer.echo(
        f"{proposal.n_images} images of {len(proposal.wells)} wells in {n_channels} "
        f"channel{'' if n_channels == 1 else 's'} fit {proposal.fits}\n"
        f"Now check {EXPERIMENT_FILE}, fill in {PLATE_MAP}, and run: cellassets screen check {path}",
        err=True,
    )
    for warning in proposal.warnings():
        typer.echo(warning, err=True)
    problems = proposal.problems()
    for problem in problems:
        typer.echo(f"Wrong: {problem}", err=True)
    if problems:
        raise typer.Exit(1)


app.command("illumination")(estimate_illumination)


@app.command("layouts")
def list_layouts(as_json: JsonOption = False) -> None:
    """Lists the layouts that are known.

    Example: cellassets screen layouts
    """
    from cellassets.screens.layouts.choose import all_layouts

    rows = [
        {"layout": name, "description": getattr(getattr(layout, "declared", None), "description", "installed package")}
        for name, layout in sorted(all_layouts().items())
    ]
    show_rows(rows, as_json=as_json, empty="no layout")


@app.command("simulate")
def simulate_screen(
    landing: Path, design: Annotated[Path | None, typer.Option(help="YAML of a ScreenDesign.")] = None
) -> None:
    """Writes a simulated screen into LANDING and its truth into LANDING/../truth."""
    from upath import UPath

    from cellassets.configuration import load_yaml
    from cellassets.synthetic.design import ScreenDesign
    from cellassets.synthetic.presets import demo_design
    from cellassets.synthetic.screen import write_screen
    from cellassets.synthetic.truth import write_truth

    chosen = demo_design() if design is None else load_yaml(UPath(design), ScreenDesign)
    with progress_bar() as report:
        write_screen(chosen, landing, progress=report)
    write_truth(chosen, landing.parent / "truth")
    typer.echo(str(landing))


def _write_new(folder: "UPath", written: Mapping[str, str]) -> None:
    """Writes files into a folder, except those that exist."""
    from cellassets.storage.artifact import write_bytes

    for name, content in written.items():
        if (folder / name).exists():
            typer.echo(f"{folder / name} exists and is kept")
        else:
            write_bytes(folder / name, content.encode())
            typer.echo(str(folder / name))


def _harm(surveyed: "Survey") -> int:
    from cellassets.screens.ingest import HARMFUL

    return int(surveyed.findings["consequence"].is_in(HARMFUL).sum())


def _as_row(surveyed: "Survey") -> Mapping[str, Any]:
    from dataclasses import asdict

    kinds = dict(sorted(surveyed.findings["finding_kind"].value_counts().rows()))
    row = {name: value for name, value in asdict(surveyed).items() if name not in ("findings", "imaging")}
    return {**row, "imaging": surveyed.imaging.model_dump(mode="json"), "findings": kinds}


def _show(surveyed: "Survey") -> None:
    imaging, plates = surveyed.imaging, surveyed.plates
    height, width = surveyed.size_px
    pixel = "unknown pixel size" if imaging.pixel_size_um is None else f"{imaging.pixel_size_um:g} um per pixel"
    dna = "none" if imaging.dna_index is None else imaging.channel_names[imaging.dna_index]
    n_wells = sum(plate.n_wells for plate in plates)
    typer.echo(
        f"\n{surveyed.experiment_id}: layout {surveyed.layout_name}\n"
        f"  {len(plates)} plates, {n_wells} wells, {surveyed.n_sites} sites, {surveyed.n_files} images\n"
        f"  {len(imaging.channel_names)} channels: {', '.join(imaging.channel_names)}; DNA: {dna}\n"
        f"  {height} x {width} pixels, {surveyed.dtype}, {pixel}, highest grey level {imaging.top_grey_level}"
    )
    for plate in plates:
        controls = ", ".join(
            f"{getattr(plate, f'n_{kind}')} {kind}"
            for kind in ("negative", "positive", "untreated")
            if getattr(plate, f"n_{kind}")
        )
        typer.echo(
            f"  {plate.plate_id}: {plate.n_wells} wells, controls: {controls or 'none'}; perturbations: "
            f"{plate.n_perturbations}, wells of each: {plate.n_replicates_median:g} (median)"
        )
    _show_findings(surveyed)
    typer.echo(
        f"  ingesting reads {_size(surveyed.source_bytes)}, stores {_size(surveyed.store_bytes)} and takes "
        f"{_duration(surveyed.minutes)} here ({surveyed.n_files_read} of {surveyed.n_files} images were read)"
    )


def _show_findings(surveyed: "Survey") -> None:
    import polars as pl

    if surveyed.findings.is_empty():
        typer.echo("  nothing is wrong with it")
    for (kind, consequence), rows in surveyed.findings.group_by(
        pl.col("finding_kind"), pl.col("consequence"), maintain_order=True
    ):
        typer.echo(f"  {rows.height} x {kind} ({consequence}), such as")
        for message in rows["message"].head(N_EXAMPLES):
            typer.echo(f"    {message}")


def _duration(minutes: float) -> str:
    if minutes < 1:
        return "less than a minute"
    return f"about {minutes:.0f} minutes" if minutes < 90 else f"about {minutes / 60:.1f} hours"


def _size(n_bytes: int) -> str:
    size = float(n_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"
