"""`production_model`: the gate between a candidate and production."""

import dagster as dg

from assets.checks import check_of
from assets.leaderboard import leaderboard
from assets.materialise import materialised, refusals_as_failures
from resources.places import ConfigsResource, LakeResource, RegistryResource
from resources.pods import GATE_POOL, cpu_pod

CHECK = "no_guard_is_overridden"


class GateConfig(dg.Config):
    """Which model is judged, and whether a person overrides the gate.

    Attributes:
        candidate: model key; left out: the model with the alias `candidate`.
        override_reason: puts the candidate into production whatever the gate says; says why.
        approved_by: who overrides.
    """

    candidate: str | None = None
    override_reason: str | None = None
    approved_by: str | None = None


@dg.asset(
    deps=[leaderboard],
    group_name="production",
    owners=["team:machine-learning"],
    kinds={"mlflow"},
    pool=GATE_POOL,
    op_tags=cpu_pod(1, 4),
    check_specs=check_of("production_model", CHECK, description="The model in production passed the gate."),
)
def production_model(
    config: GateConfig, lake: LakeResource, registry: RegistryResource, configs: ConfigsResource
) -> dg.MaterializeResult:
    """The alias `champion` in MLflow, moved only by a passed gate, or by a person who says why."""
    from cellassets.judging.production import decide_production, load_override
    from cellassets.reconcile.models import dataset_state
    from cellassets.reconcile.policy import load_gate_policy
    from cellassets.reconcile.scores import wanted_protocols
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import GATE

    with refusals_as_failures():
        datasets = dataset_state(lake.open(), configs.path()).datasets
        record = decide_production(
            lake.open(),
            registry.open(),
            candidate=config.candidate,
            policy=load_gate_policy(configs.path()),
            protocols=wanted_protocols(lake.open(), datasets, configs.path()),
            override=load_override(config.override_reason, config.approved_by),
        )
    artifact = lake.open().production_model()
    comparisons = read_table(artifact.path("comparisons.parquet", record), GATE).to_dicts()
    lines = ["| role | passed | verdict |", "| --- | --- | --- |"]
    lines += [f"| {row['role']} | {'yes' if row['is_passed'] else 'no'} | {row['verdict']} |" for row in comparisons]
    check = dg.AssetCheckResult(
        check_name=CHECK,
        passed=record.summary["decision"] != "overridden",
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"decision": record.summary["decision"], "approved_by": record.summary["approved_by"]},
    )
    table = dg.MetadataValue.md("\n".join(lines))
    return materialised(artifact, record, metadata={"comparisons": table}, checks=[check])
