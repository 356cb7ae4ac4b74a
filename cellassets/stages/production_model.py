"""The stage `production_model`: the gate's decision about a candidate, and the alias `champion` that follows from it.

Publishes `comparisons.parquet` and writes the decision into an MLflow run, and then moves the alias. If a run is killed
between the two, the next run finds the decision and moves the alias. The published record is authoritative: if a person
moves the alias by hand, the next decision moves it back.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from cellassets.configuration import Parameters
from cellassets.errors import BenchmarkError, RegistryError
from cellassets.judging.names import CANDIDATE, CHAMPION
from cellassets.judging.sequence import Place, Sequence, level_of
from cellassets.stages.benchmark import BenchmarkSummary, kind_of, name_of
from cellassets.stages.candidate_turn import History, is_scored, turn_of
from cellassets.stages.datasets import declared_datasets
from cellassets.stages.leaderboard import label_of, published_scores, read_influences, read_scores
from cellassets.stages.settings import gate_policy
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.stage import Context, Keys, Stage, settings_of
from cellassets.stages.state import is_current
from cellassets.storage.artifact import Artifact, Record
from cellassets.storage.lake import Published
from cellassets.storage.plan import Plan, Publication

if TYPE_CHECKING:
    import polars as pl

    from cellassets.judging.gate import Decision, GatePolicy
    from cellassets.judging.production import Override
    from cellassets.registry import ModelEntry

CODE_VERSION = "5"


class ProductionModelSummary(Parameters):
    """Summary of a decision.

    Attributes:
        champion: the model in production after the decision; None if there is none.
        candidate: the model that was judged.
        previous_champion: the model in production before.
        decision: promoted (the gate was passed), overridden (a person decided) or kept (nothing changed).
        is_gate_passed: true if the candidate passed.
        approved_by: `the gate`, or the person.
        override_reason: the person's reason.
        against: reasons against the candidate, one sentence per comparison.
        n_comparisons: number of comparisons.
        mlflow_run_id: run that holds the decision.
        judged: models that were judged so far, each with its fingerprint.
        number: the candidate's number in the sequence of candidates against that champion; None without a champion.
        level: largest one-sided p-value of a gain that counted, at this number.
        p_value: the candidate's largest one-sided p-value of a deciding comparison; None if one could not be made.
        n_counted: candidates that took a number so far, against that champion.
        alpha_left: how much of the policy's alpha later candidates have together.
        sequences: the candidates that were judged against each champion.
    """

    champion: str | None = None
    candidate: str
    previous_champion: str | None = None
    decision: str
    is_gate_passed: bool
    approved_by: str
    override_reason: str | None = None
    against: tuple[str, ...]
    n_comparisons: int
    mlflow_run_id: str
    judged: dict[str, str]
    number: int | None = None
    level: float | None = None
    p_value: float | None = None
    n_counted: int | None = None
    alpha_left: float | None = None
    sequences: dict[str, Sequence] = Field(default_factory=dict)


@dataclass(frozen=True)
class Champion:
    """The model in production. `fingerprint` is None if it was deleted from the registry."""

    key: str
    fingerprint: str | None


def candidates(snapshot: Snapshot) -> list[str]:
    """Returns the models to judge if nobody names one, the oldest first.

    This is the model with the alias `candidate`, if there is one. Otherwise it is every model that has current scores
    of the deciding benchmark on all deciding datasets, that is not in production, and that was not judged with these
    files before. A model whose scores are missing or out of date is judged later, when the scores are current.

    Raises:
        RegistryError: several models have the alias.
    """
    holders = [entry.key for entry in snapshot.models() if CANDIDATE in entry.aliases]
    if len(holders) > 1:
        message = f"{holders} all have the alias {CANDIDATE!r}; name the candidate by its key, or give it to one model"
        raise RegistryError(message)
    if holders:
        return holders
    judged = _history(snapshot).judged
    policy, champion = gate_policy(snapshot), find_champion(snapshot)
    scored = _scored_datasets(snapshot, policy)
    if policy.deciding_datasets == "all" and not scored:
        return []
    policy = policy.on(scored)
    waiting = [
        entry
        for entry in snapshot.models()
        if judged.get(entry.key) != entry.fingerprint
        and (champion is None or entry.key != champion.key)
        and is_scored(snapshot, policy, entry)
    ]
    return [entry.key for entry in sorted(waiting, key=lambda entry: (entry.created_at_ms, entry.key))]


def find_champion(snapshot: Snapshot) -> Champion | None:
    """Returns the model in production: that of the last decision; before the first decision, the model with the alias.

    Raises:
        RegistryError: several models have the alias and no decision is recorded.
    """
    published = snapshot.find("production_model")
    recorded = None if published is None else published.summary(ProductionModelSummary).champion
    entries = {entry.key: entry for entry in snapshot.models()}
    if recorded is not None:
        return Champion(recorded, entries[recorded].fingerprint if recorded in entries else None)
    holders = [entry for entry in entries.values() if CHAMPION in entry.aliases]
    if len(holders) > 1:
        names = [entry.key for entry in holders]
        message = f"{names} all have the alias {CHAMPION!r} and no decision is recorded; leave it to one of them"
        raise RegistryError(message)
    return Champion(holders[0].key, holders[0].fingerprint) if holders else None


def plan(snapshot: Snapshot, _keys: Keys, *, candidate: str | None = None, override: "Override | None" = None) -> Plan:
    """Returns the plan of a decision from the present scores and models.

    Args:
        snapshot: published scores and registered models.
        candidate: model to judge; None for the first of `candidates`.
        override: puts the candidate into production, independent of the comparisons.

    Raises:
        RegistryError: the candidate, or without an override the champion, is not in the registry; or there is no model
            to judge.
        BenchmarkError: the candidate is the champion already, but not by a decision of this gate.
    """
    chosen = _chosen(snapshot, candidate)
    champion = find_champion(snapshot)
    if champion is not None and champion.key == chosen.key:
        return _plan_again(snapshot, chosen)
    if champion is not None and champion.fingerprint is None and override is None:
        message = (
            f"model {champion.key} is not in the registry; it is in production and cannot be compared with: "
            "restore it, or decide by an override"
        )
        raise RegistryError(message)
    judged = {chosen.key, *([] if champion is None else [champion.key])}
    policy = gate_policy(snapshot)
    policy = policy.on(_scored_datasets(snapshot, policy))
    family = {*declared_datasets(snapshot), *policy.deciding_on, *(policy.datasets or ())}
    # scores of other datasets were made for another purpose
    scores = [score for score in published_scores(snapshot) if score.keys[1] in judged and score.keys[0] in family]
    fresh = [score for score in scores if is_current(snapshot, score.kind, *score.keys)]
    history = _history(snapshot)
    turn = None if champion is None else turn_of(snapshot, policy, chosen, champion.key, history=history, fresh=fresh)
    inputs = {
        "candidate": {"key": chosen.key, "fingerprint": chosen.fingerprint},
        "champion": None if champion is None else {"key": champion.key, "fingerprint": champion.fingerprint},
        "scores": {label_of(score): score.fingerprint for score in fresh},
        "judged_on": {key: sorted(map(list, _applies_to(scores, key))) for key in sorted(judged)},
        "policy": settings_of(policy),
        "turn": turn,
        "override": None if override is None else settings_of(override),
        "code_version": CODE_VERSION,
    }
    judged_now = {**history.judged, chosen.key: chosen.fingerprint}
    settings = {"policy": policy, "champion": champion, "judged": judged_now, "sequences": history.sequences}
    return snapshot.plan("production_model", (), inputs, pins=fresh, settings=settings)


def _chosen(snapshot: Snapshot, candidate: str | None) -> "ModelEntry":
    if candidate is not None:
        return snapshot.model(candidate)
    waiting = candidates(snapshot)
    if not waiting:
        message = (
            "no model waits to be judged: every model with current scores of the deciding benchmark is in production "
            f"or was judged; name one by its key, or give one the alias {CANDIDATE!r}, to judge it again"
        )
        raise RegistryError(message)
    return snapshot.model(waiting[0])


def _history(snapshot: Snapshot) -> History:
    """Returns what was judged so far."""
    published = snapshot.find("production_model")
    summary = None if published is None else published.summary(ProductionModelSummary)
    return History() if summary is None else History(summary.judged, summary.sequences)


def _plan_again(snapshot: Snapshot, chosen: "ModelEntry") -> Plan:
    """The candidate is in production already: nothing is decided, and the alias is set again."""
    published = snapshot.find("production_model")
    if published is None or published.summary(ProductionModelSummary).champion != chosen.key:
        message = f"{chosen.key} has the alias {CHAMPION!r} already, and no decision put it there: nothing to decide"
        raise BenchmarkError(message)
    return Plan("production_model", (), {}, settings={"is_decided": True}, replaces=published.generation)


def make(context: Context, plan: Plan) -> Record:
    """Returns the record of the decision."""
    from cellassets.tables.parquet import write_tables
    from cellassets.tables.schemas import GATE

    if plan.settings.get("is_decided"):
        return context.lake.current("production_model").record
    decision = _decide(context, plan)
    summary = _summary(context, plan, decision)
    with context.lake.draft(plan) as draft:
        files = write_tables({"comparisons.parquet": (decision.comparisons, GATE)}, draft.folder)
        return draft.publish(files, summary)


def settle(context: Context, record: Record) -> None:
    """Gives the alias `champion` to the model that the record names."""
    champion = record.summary.get("champion")
    if champion is not None:
        context.registry.move_alias(CHAMPION, champion)


def _decide(context: Context, plan: Plan) -> "Decision":
    from cellassets.judging.comparison import Evidence
    from cellassets.judging.gate import judge_candidate
    from cellassets.judging.production import judge_first, refuse_all

    policy, champion, chosen = plan.settings["policy"], plan.settings["champion"], plan.inputs["candidate"]["key"]
    scores = read_scores(context.lake, plan.pins)
    if champion is None:
        return judge_first(scores, policy, chosen)
    if champion.fingerprint is None:
        return refuse_all(policy, f"{champion.key} is in production and was deleted from the registry")
    return judge_candidate(
        Evidence(scores, read_influences(context.lake, plan.pins)),
        policy.at(plan.inputs["turn"]["number"]),
        candidate=chosen,
        champion=champion.key,
        champion_judged_on={(name, dataset) for name, dataset in plan.inputs["judged_on"][champion.key]},
        does_not_apply=_silent(plan, chosen) & _silent(plan, champion.key),
    )


def _summary(context: Context, plan: Plan, decision: "Decision") -> ProductionModelSummary:
    override, champion, candidate = (plan.inputs[name] for name in ("override", "champion", "candidate"))
    previous = None if champion is None else champion["key"]
    is_promoted = decision.is_passed or override is not None
    values: dict[str, Any] = {
        "champion": candidate["key"] if is_promoted else previous,
        "candidate": candidate["key"],
        "previous_champion": previous,
        "decision": "promoted" if decision.is_passed else "overridden" if override else "kept",
        "is_gate_passed": decision.is_passed,
        "approved_by": "the gate" if override is None or decision.is_passed else override["approved_by"],
        "override_reason": None if override is None else override["reason"],
        "against": tuple(decision.reasons),
        "n_comparisons": decision.comparisons.height,
        "judged": plan.settings["judged"],
        **_sequence(plan, decision),
    }
    return ProductionModelSummary(**values, mlflow_run_id=_log(context, plan, decision, values))


def _sequence(plan: Plan, decision: "Decision") -> dict[str, Any]:
    """Returns the candidate's place in the sequence, and the sequences after the decision.

    A judgement takes a number if it could have led to a promotion by the gate: every comparison was made, and no person
    overrode the result.
    """
    turn, champion, sequences = plan.inputs["turn"], plan.inputs["champion"], plan.settings["sequences"]
    if turn is None:
        return {"sequences": sequences}
    alpha, p_value = plan.settings["policy"].alpha, decision.p_value
    sequence = sequences.get(champion["key"], Sequence())
    if p_value is not None and (decision.is_passed or plan.inputs["override"] is None):
        sequence = sequence.after(plan.inputs["candidate"]["key"], Place(**turn, p_value=p_value))
    return {
        "number": turn["number"],
        "level": level_of(turn["number"], alpha),
        "p_value": p_value,
        "n_counted": sequence.n_counted,
        "alpha_left": sequence.alpha_left(alpha),
        "sequences": {**sequences, champion["key"]: sequence},
    }


def foresee(context: Context, plan: Plan) -> "pl.DataFrame":
    """Returns what a judgement could show with the data at hand, without the gains: rows of GATE, some columns.

    Nothing is judged and no number is taken: what can be shown follows from the standard errors alone.
    """
    rows = _decide(context, plan).comparisons
    return rows.select(
        "role", "benchmark_name", "dataset_id", "n_pairs", "largest_p_value", "detectable", "margin", "n_needed"
    )


def read_comparisons(published: Published) -> list[dict[str, Any]]:
    """Returns the comparisons of a decision: rows of GATE, or of its columns when the decision was made."""
    import polars as pl

    return pl.read_parquet(str(published.path("comparisons.parquet"))).to_dicts()


def _log(context: Context, plan: Plan, decision: "Decision", values: dict[str, Any]) -> str:
    """Writes the decision into an MLflow run of its own and returns the run's id."""
    tags = {name: str(values[name]) for name in ("decision", "candidate", "previous_champion", "approved_by")}
    tags = {**tags, "stage": "production_model", "fingerprint": plan.fingerprint}
    registry = context.registry
    run_id = registry.start_run(f"gate {values['candidate']}", parameters=plan.inputs["policy"], tags=tags)
    rows = decision.comparisons.to_dicts()
    gains = {
        f"gain.{row['benchmark_name']}.{row['dataset_id']}": row["gain"] for row in rows if row["gain"] is not None
    }
    registry.log_metrics(run_id, gains, step=0)
    shown = {**values, "sequences": {key: one.model_dump() for key, one in values["sequences"].items()}}
    registry.log_json(run_id, {**shown, "comparisons": rows, "inputs": dict(plan.inputs)}, "decision.json")
    registry.end_run(run_id, "FINISHED")
    return run_id


def deciding_record(artifact: Artifact, generation: int) -> Record | None:
    """Returns the decision that put the model in production there; None if a person moved the alias without one.

    Args:
        artifact: the decisions.
        generation: number of the last decision.

    Raises:
        CorruptArtifact: a commit record cannot be read.
    """
    champion = ""
    for number in reversed([known for known in artifact.generations() if known <= generation]):
        record = artifact.record_of(number)
        champion = champion or str(record.summary.get("champion"))
        if str(record.summary.get("champion")) != champion:
            return None
        if record.summary["decision"] != "kept":
            return record
    return None


def _scored_datasets(snapshot: Snapshot, policy: "GatePolicy") -> list[str]:
    """Returns the active datasets that the deciding benchmark has scored."""
    declared = set(declared_datasets(snapshot))
    return [name for name in snapshot.keys(kind_of(policy.deciding)) if name in declared]


def _applies_to(scores: list[Publication], model_key: str) -> set[tuple[str, str]]:
    """Returns benchmark and dataset of a model's scores, including stale ones, without those that do not apply."""
    return {
        (name_of(score.kind), score.keys[0])
        for score in scores
        if score.keys[1] == model_key and not score.summary(BenchmarkSummary).is_silent
    }


def _silent(plan: Plan, model_key: str) -> set[tuple[str, str]]:
    """Returns benchmark and dataset of the model's scores that do not apply."""
    return {
        (name_of(score.kind), score.keys[0])
        for score in plan.pins
        if score.keys[1] == model_key and score.summary(BenchmarkSummary).is_silent
    }


PRODUCTION_MODEL = Stage(
    name="production_model",
    axes=(),
    summary=ProductionModelSummary,
    plan=plan,
    make=make,
    settle=settle,
    settings=("gate.yaml",),
    waits_for_inputs=False,
)
