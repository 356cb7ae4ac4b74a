"""The registered models of a snapshot: which are active, what each has seen, and the parts that it is scored on."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cellassets.benchmarks.parts import Part, exposures_of, parts_of
from cellassets.encoders.kinds import ENCODER_KINDS
from cellassets.registry.lineage import Seen, TrainedOn, declared, seen_by
from cellassets.stages.datasets import cell_types_of, landed_experiments
from cellassets.stages.settings import policy
from cellassets.stages.snapshot import Snapshot

if TYPE_CHECKING:
    from cellassets.registry import ModelEntry


def active_models(snapshot: Snapshot) -> tuple["ModelEntry", ...]:
    """Returns the models that are embedded and benchmarked on everything new, sorted by key.

    Registered models of an unknown kind of encoder are left out; `ignored_models` names them.
    """
    return snapshot.value(_active_models)


def ignored_models(entries: Iterable["ModelEntry"]) -> dict[str, str]:
    """Returns the models that are never embedded, with the reason and what to do, by key."""
    kinds = " or ".join(ENCODER_KINDS)
    found = {}
    for entry in entries:
        if entry.kind in ENCODER_KINDS:
            continue
        what = f"its tag `kind` is {entry.kind!r}" if "kind" in entry.tags else "it has no tag `kind`"
        found[entry.key] = (
            f"ignored: {what}; expected {kinds}, as in its encoder.json: set the tag of the model version in MLflow"
        )
    return found


def seen_of(snapshot: Snapshot, model_key: str) -> Seen:
    """Returns what a model and the models that it was fine-tuned from have seen.

    Nothing is known about a model that is not registered.
    """
    return snapshot.value(_seen, model_key)


def parts_for(snapshot: Snapshot, model_key: str, experiments: tuple[str, ...]) -> tuple[Part, ...]:
    """Returns the parts of some landed experiments that a model is scored on, unseen ones first.

    Args:
        snapshot: the registered models and the manifests.
        model_key: the model.
        experiments: those of a dataset.
    """
    return snapshot.value(_parts, model_key, experiments)


def _active_models(snapshot: Snapshot) -> tuple["ModelEntry", ...]:
    wanted = policy(snapshot).models
    entries = [entry for entry in snapshot.models() if entry.kind in ENCODER_KINDS and entry.key not in wanted.retired]
    by_age = sorted(entries, key=lambda entry: (entry.created_at_ms, entry.key), reverse=True)
    newest = {entry.key for entry in by_age[: wanted.newest]}
    return tuple(
        entry
        for entry in entries
        if entry.key in newest or entry.kind in wanted.kinds or set(entry.aliases) & set(wanted.aliases)
    )


def _declarations(snapshot: Snapshot) -> dict[str, TrainedOn | None]:
    return {entry.key: declared(entry) for entry in snapshot.models()}


def _seen(snapshot: Snapshot, model_key: str) -> Seen:
    return seen_by(model_key, snapshot.value(_declarations))


def _seen_by_active(snapshot: Snapshot) -> frozenset[Seen]:
    """The experiments that active models have seen, without models of which that is not known."""
    found = (seen_of(snapshot, entry.key) for entry in active_models(snapshot))
    return frozenset(Seen(seen.training, seen.validation) for seen in found if seen.is_known)


def _parts(snapshot: Snapshot, model_key: str, experiments: tuple[str, ...]) -> tuple[Part, ...]:
    seen = seen_of(snapshot, model_key)
    exposures = exposures_of(experiments, snapshot.value(_cell_types), seen)
    return parts_of(exposures, {*snapshot.value(_seen_by_active), seen})


def _cell_types(snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    """The cell types of every landed experiment."""
    return {name: cell_types_of(snapshot, name) for name in landed_experiments(snapshot)}
