"""`cellassets screen`: simulated screens."""

from pathlib import Path
from typing import Annotated

import typer

from cellassets.cli.output import progress_bar

app = typer.Typer(no_args_is_help=True, help="Simulated screens with planted biology.")


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
