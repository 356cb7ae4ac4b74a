"""`cellassets artifact`: everything that is published."""

import typer

from cellassets.cli.options import HomeOption, deployment_at
from cellassets.cli.output import progress_bar

app = typer.Typer(no_args_is_help=True, help="What is published.")


@app.command("verify")
def verify_artifacts(home: HomeOption = None) -> None:
    """Reads every file of every current publication and compares it with its checksum.

    Names every publication that is damaged on stderr, with status 1.
    """
    from cellassets.errors import CellAssetsError

    lake = deployment_at(home).lake
    addresses = sorted(lake.addresses().items())
    faults = []
    with progress_bar() as report:
        for n_done, ((kind, keys), generation) in enumerate(addresses):
            report(n_done, len(addresses), "artefacts")
            artifact = lake.artifact(kind, *keys)
            try:
                artifact.verify(artifact.record_of(generation))
            except CellAssetsError as error:
                faults.append(str(error))
    for fault in faults:
        typer.echo(fault, err=True)
    n_sound = len(addresses) - len(faults)
    typer.echo(f"{n_sound} of {len(addresses)} artefacts are as they were published")
    if faults:
        raise typer.Exit(1)
