"""`cellassets model`: registered models and the production gate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellassets.cli.classify import classify_dataset
from cellassets.cli.model_files import get_model, register_model
from cellassets.cli.options import ConfigsOption, HomeOption, JsonOption, deployment_at
from cellassets.cli.output import show_json, show_rows

if TYPE_CHECKING:
    from cellassets.judging.production import Override
    from cellassets.storage.deployment import Deployment

app = typer.Typer(no_args_is_help=True, help="Registered models.")
app.command("register")(register_model)
app.command("register-profiles", hidden=True)(register_model)  # its earlier name for profiles
app.command("get")(get_model)
app.command("classify")(classify_dataset)
MAX_CHARACTERS = 500  # of what a model was trained on
SHOWN = ("key", "kind", "aliases", "trained_on", "fingerprint")
NOBODY_WAITS = (
    "No model waits to be judged: each one with current scores of the deciding benchmark is in production or was "
    "judged before. Name a model to judge it again. `cellassets model list` shows the models, `cellassets status` what "
    "waits."
)

NOTHING_TO_FORESEE = (
    "No model is in production, so there is no comparison to foresee: {candidate} is judged against chance, by its "
    "score in the deciding benchmark on wells that it has not seen. `cellassets model judge {candidate}` does that; if "
    "it passes, it is the first model in production."
)
FORESEEN_COLUMNS = (
    "detectable: the gain that would be found (deciding), or the loss that would be ruled out for equal models "
    "(guarded), in 8 of 10 cases. largest_p_value: a comparison passes up to it. margin: the loss that a guard must "
    "rule out. n_pairs: what both models are scored on. n_needed: perturbations that would rule out a loss of the "
    "margin."
)


@app.command("list")
def list_models(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Lists registered models."""
    from cellassets.registry import Registry
    from cellassets.registry.lineage import declared, seen_by
    from cellassets.stages.models import ignored_models

    deployment = deployment_at(home)
    entries = Registry(deployment.tracking_uri, deployment.model_root).list_models()
    known = {entry.key: declared(entry) for entry in entries}
    values = [
        {**entry.model_dump(mode="json"), "trained_on": seen_by(entry.key, known).in_words()} for entry in entries
    ]
    empty = (
        "No model is registered yet. Add a recipe to the settings folder and let the daemon train it, or register one "
        "in MLflow."
    )
    show_rows([{name: value[name] for name in SHOWN} for value in values], as_json=as_json, empty=empty)
    for key, reason in ignored_models(entries).items():
        typer.echo(f"{key}: {reason}", err=True)


@app.command("declare")
def declare_model(
    key: Annotated[str, typer.Argument(help="Model key, such as resnet_ce.v2.")],
    file: Annotated[Path, typer.Argument(help="YAML file that says what the model was trained on.")],
    has_elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="Accept experiments and cell types that are not here, on purpose.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Declares what a model from elsewhere was trained on.

    The file has the keys experiments, validation_experiments, cell_types, perturbations and parents, each with a list;
    keys that do not apply are left out, and `experiments: []` is for a model that nothing was trained for. The model
    is then judged on what it has not seen. As long as nothing is declared, it is compared with no other model and does
    not pass the gate.

    Example: cellassets model declare dino_cells.v1 trained_on.yaml
    """
    from upath import UPath

    from cellassets.stages.catalogue import open_snapshot
    from cellassets.stages.declaring import declare

    change = declare(open_snapshot(deployment_at(home)), key, UPath(file), has_elsewhere=has_elsewhere)
    for line in change.from_elsewhere:
        typer.echo(f"accepted: {line}", err=True)
    typer.echo(f"{key}: was: {_shortened(change.before)}, now: {_shortened(change.now)}")
    typer.echo("Its scores are computed again by the sensors.")


@app.command("judge")
def judge_models(
    candidate: Annotated[
        str | None, typer.Argument(help="Model key, such as resnet_ce.v2; all that wait where it is left out.")
    ] = None,
    home: HomeOption = None,
    configs: ConfigsOption = None,
    override_reason: Annotated[
        str | None, typer.Option(help="Put the candidate into production whatever the gate says, for this reason.")
    ] = None,
    approved_by: Annotated[str | None, typer.Option(help="Who decides to override the gate.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Judges models by the production gate. The alias `champion` moves to one that passes.

    Without CANDIDATE, judges the model with the alias `candidate`, or else every model that was not judged yet, the
    oldest first.
    """
    from cellassets.judging.production import load_override
    from cellassets.stages.catalogue import open_snapshot
    from cellassets.stages.production_model import candidates

    override = load_override(override_reason, approved_by)
    if override is not None and candidate is None:
        message = "an override is for one model: name the CANDIDATE"
        raise typer.BadParameter(message)
    deployment = deployment_at(home, configs)
    chosen = candidates(open_snapshot(deployment)) if candidate is None else [candidate]
    decisions = []
    for key in chosen:
        decision = _judge(deployment, key, override)
        decisions.append(decision)
        if not as_json:
            _show(key, decision)
    if as_json:
        show_json(decisions)
    elif not chosen:
        typer.echo(NOBODY_WAITS)


@app.command("foresee")
def foresee_judgement(
    candidate: Annotated[str, typer.Argument(help="Model key, such as resnet_ce.v2.")],
    home: HomeOption = None,
    configs: ConfigsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows what the gate could show about a model with the data at hand. Judges nothing.

    `role` is deciding (the model must be better than the one in production) or guarded (it must not be worse).
    `n_pairs` perturbations, or genes that pairs share, are in both models' scores. A comparison passes if its p-value
    is at most `largest_p_value`.

    `detectable` is the gain that would be found (deciding), or the loss that would be ruled out for equal models
    (guarded), in 8 of 10 cases. A guard must rule out a loss of the `margin`; `n_needed` perturbations would do so in
    8 of 10 cases. Cells are empty where two models cannot be compared.
    """
    from cellassets.stages.catalogue import open_snapshot
    from cellassets.stages.production_model import PRODUCTION_MODEL, foresee
    from cellassets.stages.stage import Context

    deployment = deployment_at(home, configs)
    plan = PRODUCTION_MODEL.plan(open_snapshot(deployment), {}, candidate=candidate)
    is_decided = plan.settings.get("is_decided", False)
    if not is_decided and plan.settings["champion"] is None and not as_json:
        typer.echo(NOTHING_TO_FORESEE.format(candidate=candidate))
        return
    empty = f"{candidate} is in production already."
    rows = [] if is_decided else foresee(Context(deployment), plan).to_dicts()
    show_rows(rows, as_json=as_json, empty=empty)
    if rows and not as_json:
        typer.echo(FORESEEN_COLUMNS)


def _shortened(words: str) -> str:
    return words if len(words) <= MAX_CHARACTERS else f"{words[:MAX_CHARACTERS]}… ({len(words)} characters)"


def _judge(deployment: "Deployment", key: str, override: "Override | None") -> dict[str, Any]:
    """The decision about one model: its summary, and its comparisons as rows of GATE."""
    from cellassets.stages.carry_out import carry_out
    from cellassets.stages.production_model import PRODUCTION_MODEL, read_comparisons

    published = carry_out(PRODUCTION_MODEL, deployment, {}, options={"candidate": key, "override": override})
    return {**published.record.summary, "comparisons": read_comparisons(published)}


def _show(key: str, decision: dict[str, Any]) -> None:
    from cellassets.judging.sequence import describe_turn

    if decision["candidate"] != key:
        typer.echo(f"{key}: in production already; the last decision was about {decision['candidate']}")
        return
    typer.echo(f"{key}: {decision['decision']}; in production: {decision.get('champion') or 'no model'}")
    typer.echo(f"  {describe_turn(decision)}")
    for row in decision["comparisons"]:
        typer.echo(f"  {'passed' if row['is_passed'] else 'failed'}  {row['role']:<8}  {row['verdict']}")
