"""`cellassets <noun> <verb>`: the library from a shell.

Results go to stdout, logs and bars to stderr. Exit status: 0 fine, 1 the data was refused, 2 wrong usage.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.progress import Progress as RichProgress
from rich.progress import TaskID
from rich.table import Table
from upath import UPath

from cellassets.errors import CellAssetsError
from cellassets.progress import Progress
from cellassets.storage.artifact import write_bytes
from cellassets.storage.deployment import Home
from cellassets.storage.lake import Lake

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Maps of cell biology as data assets.")
nouns = {
    name: typer.Typer(no_args_is_help=True, help=text)
    for name, text in {
        "screen": "Simulated screens with planted biology.",
        "experiment": "Experiments that landed.",
        "recipe": "What models are trained by.",
        "dataset": "Named sets of wells to judge models on.",
        "model": "Registered models.",
        "leaderboard": "All models compared.",
        "annotation": "Known relationships to judge maps on.",
        "artifact": "What is published.",
    }.items()
}
for noun, noun_app in nouns.items():
    app.add_typer(noun_app, name=noun)

HomeOption = Annotated[
    Path, typer.Option("--home", envvar="CELLASSETS_HOME", help="Folder of a local deployment.", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]
DEFAULT_HOME = Path("demo")


@nouns["screen"].command("simulate")
def simulate_screen(
    landing: Path, design: Annotated[Path | None, typer.Option(help="YAML of a ScreenDesign.")] = None
) -> None:
    """Writes a simulated screen into LANDING and its truth into LANDING/../truth."""
    from cellassets.configuration import load_yaml
    from cellassets.synthetic.design import ScreenDesign
    from cellassets.synthetic.presets import demo_design
    from cellassets.synthetic.screen import write_screen
    from cellassets.synthetic.truth import write_truth

    chosen = demo_design() if design is None else load_yaml(UPath(design), ScreenDesign)
    with _bar() as report:
        write_screen(chosen, landing, progress=report)
    write_truth(chosen, landing.parent / "truth")
    typer.echo(str(landing))


@nouns["experiment"].command("check")
def check_experiment(
    landing: Path, experiment_id: str, configs: Path = Path("configs"), as_json: JsonOption = False
) -> None:
    """Checks one experiment's folder below LANDING and names what is wrong; publishes nothing."""
    from cellassets.reconcile.policy import load_policy
    from cellassets.screens.manifest import build_manifest

    policy = load_policy(UPath(configs)).ingest
    with _bar() as report:
        manifest = build_manifest(UPath(landing), experiment_id, policy=policy, progress=report)
    _show(manifest.findings.to_dicts(), as_json)
    if manifest.findings.height:
        raise typer.Exit(1)


@nouns["experiment"].command("list")
def list_experiments(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Lists what has been taken in."""
    lake = _lake(home)
    rows = []
    for name in lake.keys("raw_plates"):
        record = lake.raw_plates(name).find_record()
        if record is not None:
            shown = ("n_plates", "n_wells", "n_sites", "n_findings")
            rows.append({"experiment_id": name, **{key: record.summary[key] for key in shown}})
    _show(rows, as_json)


@nouns["recipe"].command("check")
def check_recipe(path: Path, as_json: JsonOption = False) -> None:
    """Reads a recipe file and shows it with its defaults; a wrong key is refused."""
    from cellassets.training.recipe import load_recipe

    values = load_recipe(UPath(path)).model_dump(mode="json")
    if as_json:
        _show([values], as_json)
    else:
        typer.echo(yaml.safe_dump(values, sort_keys=False), nl=False)


@nouns["dataset"].command("list")
def list_datasets(
    home: HomeOption = DEFAULT_HOME, configs: Path = Path("configs"), as_json: JsonOption = False
) -> None:
    """Lists data sets with their fingerprints; those that cannot be used, and why, go to stderr."""
    from cellassets.mapping.dataset import dataset_experiments, dataset_fingerprint
    from cellassets.reconcile.models import dataset_state

    lake = _lake(home)
    state = dataset_state(lake, UPath(configs))
    rows = [
        {
            "dataset_id": dataset.dataset_id,
            "experiments": ", ".join(dataset_experiments(lake, dataset)),
            "fingerprint": dataset_fingerprint(lake, dataset),
        }
        for dataset in state.datasets
    ]
    _show(rows, as_json)
    for item in state.waiting:
        typer.echo(f"{item.what}: {item.reason}", err=True)
    if state.waiting:
        raise typer.Exit(1)


@nouns["dataset"].command("freeze")
def freeze_dataset(dataset_id: str, home: HomeOption = DEFAULT_HOME, configs: Path = Path("configs")) -> None:
    """Writes the YAML of a data set as it is now to stdout: its wells will never change under that name."""
    from cellassets.errors import DatasetError
    from cellassets.mapping.dataset import frozen
    from cellassets.reconcile.models import dataset_state

    lake = _lake(home)
    known = {dataset.dataset_id: dataset for dataset in dataset_state(lake, UPath(configs)).datasets}
    if dataset_id not in known:
        message = f"no data set {dataset_id!r}; there are {sorted(known)}"
        raise DatasetError(message)
    values = frozen(lake, known[dataset_id]).model_dump(mode="json", exclude={"dataset_id"}, exclude_defaults=True)
    typer.echo(yaml.safe_dump(values, sort_keys=False), nl=False)


@nouns["model"].command("list")
def list_models(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Lists registered models."""
    from cellassets.registry import Registry

    place = Home(home.resolve())
    entries = Registry(place.tracking_uri, place.model_root).list_models()
    shown = ("key", "kind", "fingerprint", "aliases")
    _show(
        [{key: value for key, value in entry.model_dump(mode="json").items() if key in shown} for entry in entries],
        as_json,
    )


@nouns["model"].command("judge")
def judge_model(
    candidate: str,
    home: HomeOption = DEFAULT_HOME,
    configs: Path = Path("configs"),
    override_reason: Annotated[
        str | None, typer.Option(help="Into production whatever the gate says, and why.")
    ] = None,
    approved_by: Annotated[str | None, typer.Option(help="Who overrides.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Takes CANDIDATE through the production gate; where it passes, the alias `champion` is moved to it."""
    from cellassets.judging.production import decide_production, load_override
    from cellassets.reconcile.models import dataset_state
    from cellassets.reconcile.policy import load_gate_policy
    from cellassets.reconcile.scores import wanted_protocols
    from cellassets.registry import Registry
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import GATE

    place, lake = Home(home.resolve()), _lake(home)
    record = decide_production(
        lake,
        Registry(place.tracking_uri, place.model_root),
        candidate=candidate,
        policy=load_gate_policy(UPath(configs)),
        protocols=wanted_protocols(lake, dataset_state(lake, UPath(configs)).datasets, UPath(configs)),
        override=load_override(override_reason, approved_by),
    )
    rows = read_table(lake.production_model().path("comparisons.parquet", record), GATE).to_dicts()
    if as_json:
        _show([{**record.summary, "comparisons": rows}], as_json)
        return
    _show([{"role": row["role"], "passed": row["is_passed"], "verdict": row["verdict"]} for row in rows], as_json)
    typer.echo(f"{candidate}: {record.summary['decision']}; in production: {record.summary['champion']}")


@nouns["leaderboard"].command("show")
def show_leaderboard(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Shows all models side by side."""
    from cellassets.judging.leaderboard import leaderboard_table
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import LEADERBOARD

    lake = _lake(home)
    if as_json:
        _show(read_table(lake.leaderboard().path("leaderboard.parquet"), LEADERBOARD).to_dicts(), as_json)
    else:
        Console().print(leaderboard_table(lake))


@nouns["annotation"].command("add")
def add_annotation(source: Path, home: HomeOption = DEFAULT_HOME) -> None:
    """Adds a table of pairs, sets (GMT too), targets or chromosome arms as a source that maps are judged on."""
    from cellassets.errors import AnnotationError
    from cellassets.knowledge.annotation_files import read_source
    from cellassets.knowledge.annotations import SUFFIXES, annotation_files

    if source.suffix not in SUFFIXES:
        message = f"{source}: suffix {source.suffix!r}; expected one of {', '.join(SUFFIXES)}: rename the file"
        raise AnnotationError(message)
    read_source(UPath(source))
    target = _lake(home).annotations / source.name
    known = annotation_files(_lake(home).annotations).get(source.stem)
    if known is not None and known.name != source.name:
        message = f"{source}: there is a source of this name already, {known}; rename the file"
        raise AnnotationError(message)
    write_bytes(target, source.read_bytes())
    typer.echo(str(target))


@nouns["artifact"].command("verify")
def verify_artifacts(home: HomeOption = DEFAULT_HOME) -> None:
    """Reads every published file again and compares it with its checksum."""
    from cellassets.tables.published import published

    n_verified = 0
    for artifact in published(_lake(home)):
        artifact.verify()
        n_verified += 1
    typer.echo(f"{n_verified} artefacts are as they were published")


@app.command("status")
def show_status(home: HomeOption = DEFAULT_HOME, configs: Path = Path("configs"), as_json: JsonOption = False) -> None:
    """Shows how much of what should exist does."""
    from cellassets.reconcile.standing import standing
    from cellassets.registry import Registry

    place = Home(home.resolve())
    registry = Registry(place.tracking_uri, place.model_root)
    stands = standing(Lake(UPath(place.lake)), UPath(place.landing), registry, UPath(configs))
    _show([{"what": stand.what, "n_done": stand.n_done, "n_total": stand.n_total} for stand in stands], as_json)


@app.command("sql")
def run_sql(statement: str, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Answers one SQL statement over all published tables."""
    from cellassets.tables.published import query_lake

    _show(query_lake(_lake(home), statement).to_dicts(), as_json)


def main() -> None:
    """Runs the command line; a refusal ends with its message and status 1."""
    try:
        app()
    except CellAssetsError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(1)


@contextmanager
def _bar() -> Iterator[Progress]:
    with RichProgress(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(n_done: int, n_total: int, what: str, /, note: str = "") -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=n_done, total=n_total, description=f"{what} {note}".strip())

        yield report


def _lake(home: Path) -> Lake:
    return Lake(UPath(Home(home.resolve()).lake))


def _show(rows: Sequence[Mapping[str, object]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, default=str))
        return
    table = Table(*(rows[0] if rows else ["nothing there"]))
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)
