"""`cellassets experiment`: experiments in the landing zone and in the lake."""

from typing import Annotated

import typer

from cellassets.cli.options import ConfigsOption, HomeOption, JsonOption, deployment_at, landing_policy
from cellassets.cli.output import progress_bar, show_rows

app = typer.Typer(no_args_is_help=True, help="Experiments that landed.")


@app.command("check")
def check_experiment(
    landing: Annotated[str, typer.Argument(help="Folder or URL that contains the experiment's folder.")],
    experiment_id: str,
    configs: ConfigsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Checks one experiment's folder below LANDING and names every fault in it; publishes nothing.

    Without --configs the settings are those of the home that LANDING is in, if it has any. Ends with status 1 where
    there are findings.
    """
    from upath import UPath

    from cellassets.errors import PlateRefused
    from cellassets.screens import ingest

    policy = landing_policy(landing, configs)
    refusal, clean = None, ""
    try:
        with progress_bar() as report:
            manifest = ingest.check_experiment(UPath(landing), experiment_id, policy=policy, progress=report)
        findings = manifest.findings
        clean = f"{experiment_id}: no findings, {manifest.images.height} images of {manifest.n_sites} sites"
    except PlateRefused as error:
        findings, refusal = error.findings, error
    shown = findings if as_json else findings.select("finding_kind", "consequence", "message")
    show_rows(shown.to_dicts(), as_json=as_json, empty=clean)
    if refusal is not None:
        raise refusal
    if findings.height:
        typer.echo(f"{experiment_id}: {findings.height} findings; policy accepts the rest of it", err=True)
        raise typer.Exit(1)


@app.command("list")
def list_experiments(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Lists the experiments in the lake."""
    from cellassets.screens.summary import RawPlatesSummary

    deployment = deployment_at(home)
    records = deployment.lake.records()
    rows = []
    for experiment_id in records.keys("raw_plates"):
        summary = records.need("raw_plates", experiment_id).summary(RawPlatesSummary)
        rows.append(
            {
                "experiment_id": experiment_id,
                "cell_types": ", ".join(summary.cell_types),
                "n_plates": summary.n_plates,
                "n_wells": summary.n_wells,
                "n_sites": summary.n_sites,
                "n_findings": summary.n_findings,
            }
        )
    empty = (
        f"No experiment is in the lake yet. Copy one into {deployment.landing}; the running daemon then stores it. "
        "`cellassets status` shows what waits, and for what."
    )
    show_rows(rows, as_json=as_json, empty=empty)
