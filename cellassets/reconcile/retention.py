"""What of a lake stays although it was superseded: what registry, settings and plans need. Used by `lake prune`.

`cellassets.storage.superseded` follows the inputs of the records. This module knows what no record names: the weights
of registered models, frozen datasets, the decision behind the model in production, and unfinished work that the next
run continues.
"""

from datetime import datetime

from cellassets.errors import CellAssetsError, RegistryError
from cellassets.judging.names import CHAMPION
from cellassets.stages.datasets import dataset_fingerprint
from cellassets.stages.production_model import deciding_record, find_champion
from cellassets.stages.settings import policy
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.state import state_of
from cellassets.storage.artifact import Record
from cellassets.storage.lake import shared_folder
from cellassets.storage.superseded import Needs


def needs_of(snapshot: Snapshot, before: datetime, young: str) -> Needs:
    """Returns what a deployment needs of its lake.

    Args:
        snapshot: the deployment now.
        before: what was superseded or written at this time or later stays.
        young: the reason of what stays for its age.
    """

    def hold(record: Record) -> str:
        return _why_held(snapshot, record)

    def continues(kind: str, keys: tuple[str, ...], folder: str) -> str:
        return _why_continued(snapshot, kind, keys, folder)

    return Needs(before, young, hold, continues)


def n_keys_of(snapshot: Snapshot) -> dict[str, int]:
    """Returns the number of keys of each kind of artefact."""
    return {name: len(stage.axes) for name, stage in snapshot.stages.items()}


def _why_held(snapshot: Snapshot, record: Record) -> str:
    if record.kind == "checkpoint":
        return _why_model_is_held(snapshot, str(record.summary.get("model_key")))
    if record.kind == "production_model":
        deciding = snapshot.value(_deciding_generation)
        return "led to the decision about the model in production" if record.generation >= deciding else ""
    if snapshot.stages[record.kind].axes[:1] == ("experiment",):
        held = snapshot.value(_held_experiments)
        return held.get(record.keys[0]) or held.get("", "")
    return ""


def _why_model_is_held(snapshot: Snapshot, model_key: str) -> str:
    try:
        entries = {entry.key: entry for entry in snapshot.models()}
        champion = find_champion(snapshot)
        retired = policy(snapshot).models.retired
    except RegistryError as error:
        return f"weights of {model_key}, and the registry cannot be asked: {error}"
    except CellAssetsError as error:
        return f"weights of {model_key}, and its policy cannot be read: {error}"
    is_champion = champion is not None and champion.key == model_key
    if is_champion or (model_key in entries and CHAMPION in entries[model_key].aliases):
        return f"weights of {model_key}, the model in production"
    if model_key in entries and model_key not in retired:
        return f"weights of the registered model {model_key}"
    return ""


def _deciding_generation(snapshot: Snapshot) -> int:
    """The publication that put the present model into production; 0, so that all stay, where none did."""
    artifact = snapshot.deployment.lake.artifact("production_model")
    try:
        deciding = deciding_record(artifact, artifact.generation())
    except CellAssetsError:
        return 0
    return 0 if deciding is None else deciding.generation


def _held_experiments(snapshot: Snapshot) -> dict[str, str]:
    """The experiments that a frozen dataset would be restored from, with the reason; '' stands for all experiments."""
    from cellassets.mapping.dataset import load_dataset

    found: dict[str, str] = {}
    for name in snapshot.config_names("datasets"):
        try:
            dataset = load_dataset(snapshot.config("datasets", f"{name}.yaml"))
        except CellAssetsError as error:
            found[""] = f"a dataset that cannot be read may be frozen: {error}"
            continue
        if dataset.frozen_fingerprint is None:
            continue
        try:
            dataset_fingerprint(snapshot, name)
        except CellAssetsError:
            reason = f"dataset {name} is frozen with other wells than those that are current"
            found |= dict.fromkeys(dataset.experiment_ids or (), reason)
    return found


def _why_continued(snapshot: Snapshot, kind: str, keys: tuple[str, ...], folder: str) -> str:
    state = state_of(snapshot, kind, *keys)
    if not state.plan_fingerprint:
        return f"cannot be planned now: {state.reason}"
    is_next = folder == shared_folder(state.plan_fingerprint, state.generation + 1)  # and no draft of a single run
    return "unfinished work that the next run continues" if is_next else ""
