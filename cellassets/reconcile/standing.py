"""The progress of a deployment: how many partitions are done, and what the others wait for.

Sensors, UI, command line and demo all use it.
"""

from dataclasses import dataclass, field, replace

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.errors import CellAssetsError
from cellassets.reconcile.live import LiveSnapshot
from cellassets.reconcile.wanted import held_embeddings, idle_datasets, recipes, searches
from cellassets.reconcile.work import (
    PLATES,
    Agenda,
    Waiting,
    agenda_or_reason,
    chain_agenda,
    embedding_agenda,
    map_agenda,
)
from cellassets.stages.datasets import unreadable_experiments
from cellassets.stages.models import active_models, ignored_models
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.state import state_of

PLATES_TITLE = "plates checked and stored"
MODELS_TITLE = "models trained"
SEARCHES_TITLE = "searches among variants"
EMBEDDINGS_TITLE = "embedding tables"
MAPS_TITLE = f"maps, each with {len(BENCHMARKS)} benchmarks"
LEADERBOARD_TITLE = "leaderboard"
REPORTS_TITLE = "model reports"


@dataclass(frozen=True)
class Standing:
    """The progress of one kind of asset: how many partitions should exist, how many are current, and what waits."""

    what: str
    n_done: int
    n_total: int
    waiting: list[Waiting] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """True if nothing is missing or out of date."""
        return self.n_done == self.n_total


def standing(snapshot: LiveSnapshot) -> list[Standing]:
    """Returns the progress of every kind of asset, in the order of the flow.

    Args:
        snapshot: a snapshot after `refresh` and `refresh_landing`.
    """
    reports = report_agenda(snapshot)
    board = leaderboard_agenda(snapshot)
    embeddings = embedding_agenda(snapshot)
    waiting = [*embeddings.waiting, *held(snapshot), *ignored(snapshot)]
    return [
        _standing(PLATES_TITLE, plate_agenda(snapshot)),
        _standing(MODELS_TITLE, recipe_agenda(snapshot)),
        *([_standing(SEARCHES_TITLE, search_agenda(snapshot))] if searches(snapshot) else []),
        Standing(EMBEDDINGS_TITLE, embeddings.n_current, embeddings.n_total, waiting),
        _standing(MAPS_TITLE, map_agenda(snapshot)),
        _standing(LEADERBOARD_TITLE, board),
        _standing(REPORTS_TITLE, reports),
    ]


def plate_agenda(snapshot: LiveSnapshot) -> Agenda:
    """Returns the experiments to check and store. Incomplete experiments and ignored entries are listed as waiting."""
    landing = snapshot.landing
    agenda = chain_agenda(snapshot, PLATES, [(name,) for name in landing.complete])
    left = [*landing.waiting.items(), *((name, f"ignored: {reason}") for name, reason in landing.ignored.items())]
    waiting = [*agenda.waiting, *(Waiting(f"landing zone, {name}", reason) for name, reason in left)]
    return Agenda(agenda.work, waiting, agenda.n_current, agenda.n_total + len(landing.waiting))


def recipe_agenda(snapshot: Snapshot) -> Agenda:
    """Returns the recipes to train, and those whose model has to be registered again, with the reason."""
    names = recipes(snapshot)
    agenda = chain_agenda(snapshot, ("checkpoint",), [(name,) for name in names])
    states = {name: state_of(snapshot, "checkpoint", name) for name in names}
    lost = [Waiting(f"checkpoint of {name}", found.reason) for name, found in states.items() if found.status == "due"]
    return replace(agenda, waiting=[*agenda.waiting, *(item for item in lost if item.reason)])


def search_agenda(snapshot: Snapshot) -> Agenda:
    """Returns the searches whose variants have new results, or of which the next variants are to be proposed."""
    return chain_agenda(snapshot, ("search",), [(name,) for name in searches(snapshot)])


def leaderboard_agenda(snapshot: Snapshot) -> Agenda:
    """Returns the leaderboard if it is out of date."""
    return chain_agenda(snapshot, ("leaderboard",), [()])


def report_agenda(snapshot: Snapshot) -> Agenda:
    """Returns the reports to request, of active models."""
    return agenda_or_reason(
        "model reports",
        lambda: chain_agenda(snapshot, ("model_report",), [(entry.key,) for entry in active_models(snapshot)]),
    )


def held(snapshot: Snapshot) -> list[Waiting]:
    """Returns the datasets that wait, with the number of embedding tables that wait with them, and the reason.

    Also the experiments whose summary is damaged: no dataset contains them. No dataset is listed if policy cannot be
    read; then `embedding_agenda` gives the reason.
    """
    damaged = [Waiting(f"experiment {name}", reason) for name, reason in unreadable_experiments(snapshot).items()]
    return [*damaged, *_held_datasets(snapshot)]


def _held_datasets(snapshot: Snapshot) -> list[Waiting]:
    try:
        n_held, reasons = len(held_embeddings(snapshot)), idle_datasets(snapshot)
    except CellAssetsError:
        return []
    counted = "1 embedding table waits" if n_held == 1 else f"{n_held} embedding tables wait"
    tables = f" ({counted} with it)" if n_held and len(reasons) == 1 else ""
    return [Waiting(f"dataset {name}{tables}", reason) for name, reason in reasons.items()]


def ignored(snapshot: Snapshot) -> list[Waiting]:
    """Returns the registered models that are never embedded, and why. Empty if the registry does not answer."""
    try:
        found = ignored_models(snapshot.models())
    except CellAssetsError:
        return []
    return [Waiting(f"model {key}", reason) for key, reason in found.items()]


def _standing(what: str, agenda: Agenda) -> Standing:
    return Standing(what, agenda.n_current, agenda.n_total, agenda.waiting)
