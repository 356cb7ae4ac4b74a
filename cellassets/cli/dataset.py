"""`cellassets dataset`: named sets of wells."""

import typer

from cellassets.cli.options import ConfigsOption, HomeOption, JsonOption, deployment_at
from cellassets.cli.output import show_rows

app = typer.Typer(no_args_is_help=True, help="Named sets of wells to judge models on.")
N_NAMED = 5


@app.command("list")
def list_datasets(home: HomeOption = None, configs: ConfigsOption = None, as_json: JsonOption = False) -> None:
    """Lists the datasets that can be used. The others and their faults go to stderr, with status 1."""
    from cellassets.reconcile.wanted import active_datasets
    from cellassets.stages.catalogue import open_snapshot
    from cellassets.stages.datasets import dataset_experiments, dataset_fingerprint, dataset_names, dataset_problem

    snapshot = open_snapshot(deployment_at(home, configs))
    active = set(active_datasets(snapshot))
    problems = {name: dataset_problem(snapshot, name) for name in dataset_names(snapshot)}
    rows = []
    for name, problem in problems.items():
        if problem is None:
            experiments = dataset_experiments(snapshot, name)
            rows.append(
                {
                    "dataset_id": name,
                    "is_active": name in active,
                    "experiments": list(experiments) if as_json else _named(experiments),
                    "fingerprint": dataset_fingerprint(snapshot, name),
                }
            )
    empty = (
        "No dataset can be used yet: every cell type is one as soon as its first experiment is stored. "
        "`cellassets experiment list` shows what is stored."
    )
    show_rows(rows, as_json=as_json, empty=empty)
    faults = {name: problem for name, problem in problems.items() if problem is not None}
    for name, problem in faults.items():
        typer.echo(f"dataset {name}: {problem}", err=True)
    if faults:
        raise typer.Exit(1)


@app.command("freeze")
def freeze_dataset(dataset_id: str, home: HomeOption = None, configs: ConfigsOption = None) -> None:
    """Prints the YAML of a dataset as it is now: under the name of that file its wells will never change."""
    import yaml

    from cellassets.stages.catalogue import open_snapshot
    from cellassets.stages.datasets import frozen_dataset

    dataset = frozen_dataset(open_snapshot(deployment_at(home, configs)), dataset_id)
    values = dataset.model_dump(mode="json", exclude={"dataset_id"}, exclude_defaults=True)
    typer.echo(yaml.safe_dump(values, sort_keys=False), nl=False)


def _named(experiments: tuple[str, ...]) -> str:
    """The first few experiments, and the number of the others."""
    n_more = len(experiments) - N_NAMED
    return ", ".join(experiments[:N_NAMED]) + (f" and {n_more} more" if n_more > 0 else "")
