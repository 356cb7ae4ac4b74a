"""The stage `production_model`: the gate's decision, recorded, and the alias `champion` moved where it was passed.

Reads published scores; publishes `comparisons.parquet`, writes the decision into an MLflow run, and only then moves the
alias. A run that was cut off between the two finds the decision and moves the alias when it is run again. The published
record is what counts: an alias that was moved by hand is put back by the next decision.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import polars as pl
from pydantic import StringConstraints

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.configuration import Parameters, validate
from cellassets.errors import BenchmarkError, RegistryError
from cellassets.judging.gate import Decision, GatePolicy, Pair, judge_candidate
from cellassets.judging.leaderboard import Protocols, protocol_now, published_scores
from cellassets.registry import ModelEntry, Registry
from cellassets.storage.artifact import Artifact, Plan, Record
from cellassets.storage.lake import Lake
from cellassets.tables.parquet import read_table, write_table
from cellassets.tables.schemas import GATE, SCORES

CHAMPION, CANDIDATE = "champion", "candidate"
CODE_VERSION = "2"


class Override(Parameters):
    """A person puts the candidate into production whatever the gate says, and says why."""

    approved_by: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=10)]


def load_override(reason: str | None, approved_by: str | None) -> Override | None:
    """Returns the override that a person asked for; None where none was.

    Raises:
        ConfigError: a reason without a name, a name without a reason, or a reason of less than ten characters.
    """
    if reason is None and approved_by is None:
        return None
    given = {name: value for name, value in (("reason", reason), ("approved_by", approved_by)) if value is not None}
    return validate(given, Override, source="override of the production gate")


def current_champion(lake: Lake, registry: Registry) -> ModelEntry | None:
    """Returns the model in production: the last decision's, or before there is one the model that has the alias.

    Raises:
        RegistryError: the recorded champion is no longer registered, or several models have the alias and none is
            recorded.
    """
    record = lake.production_model().find_record()
    if record is not None and record.summary["champion"] is not None:
        return registry.find(record.summary["champion"])
    holders = [entry for entry in registry.list_models() if CHAMPION in entry.aliases]
    if len(holders) > 1:
        names = [entry.key for entry in holders]
        message = f"{names} all have the alias {CHAMPION!r} and no decision is recorded; leave it to one of them"
        raise RegistryError(message)
    return holders[0] if holders else None


def find_candidate(registry: Registry, model_key: str | None) -> ModelEntry:
    """Returns the model to judge: the one that is named, or the one that has the alias `candidate`.

    Raises:
        RegistryError: there is no such model, or not exactly one has the alias.
    """
    if model_key is not None:
        return registry.find(model_key)
    holders = [entry for entry in registry.list_models() if CANDIDATE in entry.aliases]
    if len(holders) != 1:
        names = [entry.key for entry in holders] or "no model"
        message = f"{names} has the alias {CANDIDATE!r}; name the candidate by its key, or give the alias to one model"
        raise RegistryError(message)
    return holders[0]


def decide_production(
    lake: Lake,
    registry: Registry,
    *,
    candidate: str | None,
    policy: GatePolicy,
    protocols: Protocols,
    override: Override | None = None,
) -> Record:
    """Returns the record of the decision on a candidate, with the alias where the decision puts it.

    Args:
        lake: where scores are and the decision goes.
        registry: MLflow.
        candidate: model key; None: the model with the alias `candidate`.
        policy: what the candidate must show.
        protocols: how scores would be taken now; scores taken otherwise do not count.
        override: puts the candidate into production whatever the comparisons say.

    Raises:
        RegistryError: the candidate is not in the registry; or the champion is not, and there is no override.
        BenchmarkError: the candidate is the champion by no decision of this gate.
    """
    chosen = find_candidate(registry, candidate)
    champion = _champion_to_beat(lake, registry, override)
    artifact = lake.production_model()
    if champion is not None and champion.key == chosen.key:
        return _already(artifact, registry, chosen)
    published = _read_published(lake, protocols, [entry.key for entry in (chosen, champion) if entry is not None])
    plan = _plan(chosen, champion, published, policy, override)
    if not artifact.is_done(plan):
        _publish(artifact, registry, plan, _decide(chosen, champion, published, policy))
    record = artifact.record()
    if record.summary["champion"] is not None:
        registry.move_alias(CHAMPION, record.summary["champion"])
    return record


def _champion_to_beat(lake: Lake, registry: Registry, override: Override | None) -> "_Champion | None":
    """The model in production; one that was deleted from the registry only a person can replace."""
    try:
        found = current_champion(lake, registry)
    except RegistryError as error:
        record = lake.production_model().find_record()
        if record is None or record.summary["champion"] is None:  # several models have the alias
            raise
        if override is not None:
            return _Champion(record.summary["champion"], None)
        message = f"{error}; it is in production and cannot be compared with: restore it, or decide by an override"
        raise RegistryError(message) from error
    return None if found is None else _Champion(found.key, found.fingerprint)


def _already(artifact: Artifact, registry: Registry, chosen: ModelEntry) -> Record:
    record = artifact.find_record()
    if record is None or record.summary["champion"] != chosen.key:
        message = f"{chosen.key} has the alias {CHAMPION!r} already, and no decision put it there: nothing to decide"
        raise BenchmarkError(message)
    registry.move_alias(CHAMPION, chosen.key)
    return record


@dataclass(frozen=True)
class _Champion:
    """The model in production. `fingerprint` is None where it was deleted from the registry."""

    key: str
    fingerprint: str | None


@dataclass(frozen=True)
class _Published:
    """What is published of the models: scores that would be taken the same way now, and where there are others."""

    fresh: dict[str, tuple[Artifact, Record]]
    judged_on: dict[str, set[Pair]]

    def scores(self) -> pl.DataFrame:
        """SCORES rows by the protocols of now."""
        found = (
            read_table(artifact.path("scores.parquet", record), SCORES) for artifact, record in self.fresh.values()
        )
        return pl.concat([SCORES.empty(), *found])

    def silent_for(self, model_key: str) -> set[Pair]:
        """Where the model has nothing to be judged on."""
        records = (record for _, record in self.fresh.values() if record.inputs["model_key"] == model_key)
        return {_pair(record) for record in records if "does_not_apply" in record.summary}


def _read_published(lake: Lake, protocols: Protocols, model_keys: list[str]) -> _Published:
    published = _Published({}, {key: set() for key in model_keys})
    for name, artifact, record in published_scores(lake):
        key = str(record.inputs["model_key"])
        if key not in model_keys:
            continue
        if "does_not_apply" not in record.summary:
            published.judged_on[key].add(_pair(record))
        if protocol_now(lake, record, protocols) == record.inputs["protocol_fingerprint"]:
            published.fresh[name] = (artifact, record)
    return published


def _pair(record: Record) -> Pair:
    return str(record.inputs["benchmark_name"]), str(record.inputs["dataset_id"])


def _plan(
    chosen: ModelEntry,
    champion: _Champion | None,
    published: _Published,
    policy: GatePolicy,
    override: Override | None,
) -> Plan:
    inputs = {
        "candidate": {"key": chosen.key, "fingerprint": chosen.fingerprint},
        "champion": None if champion is None else {"key": champion.key, "fingerprint": champion.fingerprint},
        "scores": {name: record.fingerprint for name, (_, record) in published.fresh.items()},
        "judged_on": {key: sorted(map(list, pairs)) for key, pairs in published.judged_on.items()},
        "policy": policy.model_dump(mode="json"),
        "override": None if override is None else override.model_dump(mode="json"),
        "code_version": CODE_VERSION,
    }
    return Plan("production_model", inputs)


def _decide(chosen: ModelEntry, champion: _Champion | None, published: _Published, policy: GatePolicy) -> Decision:
    if champion is None:
        return _first(published.scores(), policy, chosen.key)
    if champion.fingerprint is None:
        return _uncomparable(policy, f"{champion.key} is in production and was deleted from the registry")
    return judge_candidate(
        published.scores(),
        policy,
        candidate=chosen.key,
        champion=champion.key,
        champion_judged_on=published.judged_on[champion.key],
        does_not_apply=published.silent_for(chosen.key) & published.silent_for(champion.key),
    )


def _first(scores: pl.DataFrame, policy: GatePolicy, candidate: str) -> Decision:
    """Where nothing is in production yet the candidate must beat chance on the deciding benchmark."""
    rows = []
    for dataset_id in policy.deciding_datasets:
        headline = BENCHMARKS[policy.deciding].headline_metric
        found = scores.filter(
            (pl.col("benchmark_name") == policy.deciding)
            & (pl.col("dataset_id") == dataset_id)
            & (pl.col("level") == "summary")
            & (pl.col("metric") == headline)
            & (pl.col("model_key") == candidate)
        )
        p_value = found["p_value"][0] if found.height else None
        is_passed = p_value is not None and p_value <= policy.alpha
        told = "no score" if p_value is None else f"p = {p_value:.2g} against chance"
        verdict = f"{policy.deciding} on {dataset_id}: {told}; there is no champion to compare with"
        row = {"role": "deciding", "benchmark_name": policy.deciding, "dataset_id": dataset_id, "p_value": p_value}
        rows.append({**row, "is_passed": is_passed, "verdict": verdict})
    return Decision.of(rows)


def _uncomparable(policy: GatePolicy, reason: str) -> Decision:
    """Where there is nothing to compare with nothing is passed."""
    rows = [
        {
            "role": "deciding",
            "benchmark_name": policy.deciding,
            "dataset_id": dataset_id,
            "is_passed": False,
            "verdict": f"{policy.deciding} on {dataset_id}: not compared, {reason}",
        }
        for dataset_id in policy.deciding_datasets
    ]
    return Decision.of(rows)


def _publish(artifact: Artifact, registry: Registry, plan: Plan, decision: Decision) -> None:
    override, champion = plan.inputs["override"], plan.inputs["champion"]
    candidate = plan.inputs["candidate"]["key"]
    is_promoted = decision.is_passed or override is not None
    previous = None if champion is None else champion["key"]
    summary: dict[str, Any] = {
        "champion": candidate if is_promoted else previous,
        "candidate": candidate,
        "previous_champion": previous,
        "decision": "promoted" if decision.is_passed else "overridden" if override else "kept",
        "is_gate_passed": decision.is_passed,
        "approved_by": "the gate" if override is None or decision.is_passed else override["approved_by"],
        "override_reason": None if override is None else override["reason"],
        "against": decision.reasons,
        "n_comparisons": decision.comparisons.height,
    }
    summary["mlflow_run_id"] = _log(registry, plan, decision, summary)
    write_table(decision.comparisons, artifact.folder(plan.fingerprint) / "comparisons.parquet", GATE)
    artifact.publish(plan, ["comparisons.parquet"], summary)


def _log(registry: Registry, plan: Plan, decision: Decision, summary: dict[str, Any]) -> str:
    """Writes the decision into a run of its own and returns the run's id."""
    tags = {name: str(summary[name]) for name in ("decision", "candidate", "previous_champion", "approved_by")}
    tags = {**tags, "stage": "production_model", "fingerprint": plan.fingerprint}
    run_id = registry.start_run(f"gate {summary['candidate']}", parameters=plan.inputs["policy"], tags=tags)
    rows = decision.comparisons.to_dicts()
    gains = {
        f"gain.{row['benchmark_name']}.{row['dataset_id']}": row["gain"] for row in rows if row["gain"] is not None
    }
    registry.log_metrics(run_id, gains, step=0)
    registry.log_json(run_id, {**summary, "comparisons": rows, "inputs": plan.inputs}, "decision.json")
    registry.end_run(run_id, "FINISHED")
    return run_id
