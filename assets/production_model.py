"""`production_model`: the gate decides whether a candidate replaces the model in production."""

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from assets.checks import check_of
from assets.leaderboard import leaderboard
from assets.materialise import materialised, publish, refusals_as_failures
from cellassets.judging.sequence import describe_turn
from cellassets.stages.production_model import (
    CODE_VERSION,
    PRODUCTION_MODEL,
    candidates,
    deciding_record,
    read_comparisons,
    settle,
)
from cellassets.stages.stage import Context
from resources.places import DeploymentResource

if TYPE_CHECKING:
    from cellassets.storage.lake import Published

CHECK = "no_guard_is_overridden"


class GateConfig(dg.Config):
    """Which model is judged, and whether a person overrides the gate. By default all waiting models are judged."""

    candidate: str | None = Field(
        default=None,
        description=(
            "Model key, such as resnet_ce.v1. Empty: the model with the alias `candidate`; without one, every model "
            "that has scores and was not judged yet, the oldest first."
        ),
    )
    override_reason: str | None = Field(
        default=None,
        description="Puts the candidate into production even if the gate refuses it. At least ten characters.",
    )
    approved_by: str | None = Field(
        default=None, description="The person who overrides the gate; required with override_reason."
    )


@dg.asset(
    deps=[leaderboard],
    group_name="production",
    owners=["team:machine-learning"],
    kinds={"mlflow"},
    code_version=CODE_VERSION,
    pool="production_gate",
    check_specs=check_of(PRODUCTION_MODEL, CHECK, "The model in production passed the gate."),
)
def production_model(
    context: dg.AssetExecutionContext, config: GateConfig, deployment: DeploymentResource
) -> dg.MaterializeResult:
    """The alias `champion` in MLflow. It moves when a candidate passes the gate, or when a person gives a reason."""
    published = decide(context, config, deployment)
    shown = {"comparisons": _table(published), "sequences": describe_turn(published.record.summary)}
    return materialised(published, metadata=shown, checks=[check_decision(published)])


def decide(context: dg.AssetExecutionContext, config: GateConfig, deployment: DeploymentResource) -> "Published":
    """Returns the last decision, after judging one by one the models that the configuration asks for."""
    from cellassets.judging.production import load_override
    from cellassets.stages.catalogue import open_snapshot

    places = deployment.open()
    with refusals_as_failures(None):
        override = load_override(config.override_reason, config.approved_by)
        waiting: list[str] = [config.candidate] if config.candidate else candidates(open_snapshot(places))
    if not waiting and places.lake.artifact("production_model").generation():
        context.log.info("no model waits to be judged; the last decision remains")
        last = places.lake.current("production_model")
        settle(Context(places), last.record)  # a run may have been killed before the alias moved
        return last
    asked: list[str | None] = [*waiting] if waiting else [None]
    for candidate in asked:
        options = {"candidate": candidate, "override": override}
        published = publish(context, PRODUCTION_MODEL, deployment, options=options)
        context.log.info("%s: %s", candidate, published.record.summary["decision"])
    return published


def check_decision(published: "Published") -> dg.AssetCheckResult:
    """Returns the check of the model in production.

    It fails as long as the model in production is one that a person put there, also after later decisions that kept it.
    """
    champion = published.record.summary.get("champion")
    found = deciding_record(published.artifact, published.record.generation)
    decision = None if found is None else found.summary
    if champion is None:
        passed, description = True, "no model is in production"
    elif decision is None:
        passed, description = False, f"no decision of the gate put {champion} into production"
    else:
        passed = bool(decision["is_gate_passed"])
        description = f"{champion} was {decision['decision']} by {decision['approved_by']}"
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=description,
        metadata={"decision": str(published.record.summary["decision"]), "champion": str(champion)},
    )


def _table(published: "Published") -> dg.MarkdownMetadataValue:
    comparisons = read_comparisons(published)
    lines = ["| role | passed | verdict |", "| --- | --- | --- |"]
    lines += [f"| {row['role']} | {'yes' if row['is_passed'] else 'no'} | {row['verdict']} |" for row in comparisons]
    return dg.MetadataValue.md("\n".join(lines))
