"""What to request: due partitions, and what the other ones wait for.

This module keeps no state. The same state of the deployment always gives the same answer and the same run keys, also
for two daemons at once. Dagster starts only one run for each run key.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from cellassets.errors import CellAssetsError
from cellassets.fingerprint import fingerprint
from cellassets.reconcile.wanted import held_embeddings, wanted_embeddings, wanted_maps
from cellassets.stages.benchmark import benchmark_stages
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.state import State, state_of
from cellassets.storage.artifact import describe_address

PLATES = ("raw_plates", "plate_store", "plate_quality")
MAX_PARTITIONS_PER_RUN = 20  # of the assets whose runs take several: site_embeddings, model_report


@dataclass(frozen=True)
class Work:
    """A partition to materialise.

    Attributes:
        assets: names of the assets to materialise there, in one run.
        keys: its keys by axis.
        run_key: equal for equal plans that read and replace the same publications, so the same work is not requested
            twice.
        tags: tags of its run.
    """

    assets: tuple[str, ...]
    keys: dict[str, str]
    run_key: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Waiting:
    """Something that cannot be requested yet, and the reason."""

    what: str
    reason: str


@dataclass(frozen=True)
class Agenda:
    """What to request and what waits. `n_total` partitions should exist, `n_current` of them are current.

    Agendas are reused in later ticks: do not change their lists.
    """

    work: list[Work]
    waiting: list[Waiting]
    n_current: int
    n_total: int


@cache
def map_chain() -> tuple[str, ...]:
    """Returns the assets that are made in one run for a dataset and a model."""
    return ("perturbation_map", *(stage.name for stage in benchmark_stages()), "map_clusters", "active_perturbations")


def chain_agenda(snapshot: Snapshot, chain: Sequence[str], partitions: Iterable[tuple[str, ...]]) -> Agenda:
    """Returns the work for a chain of assets that share their partitions, one run per partition.

    A run contains the assets that are due and those that wait only for something in the same run. If a source has
    changed, the run contains the whole chain, because the result of the source decides what the others need.

    Args:
        snapshot: what is published.
        chain: names of the assets, in the order of the flow.
        partitions: keys of the partitions that should exist.
    """
    agenda = Agenda([], [], 0, 0)
    n_current = n_total = 0
    for keys in partitions:
        states = {name: state_of(snapshot, name, *keys) for name in chain}
        n_total += 1
        if all(state.status == "current" for state in states.values()):
            n_current += 1
            continue
        is_landed_anew = snapshot.stages[chain[0]].is_source and states[chain[0]].status == "due"
        asked = list(chain) if is_landed_anew else _asked(states, keys)
        agenda.waiting.extend(_waiting(states, asked, keys))
        if asked:
            by_axis = snapshot.stages[chain[0]].by_axis(keys)
            agenda.work.append(Work(tuple(asked), by_axis, _run_key((name, keys, states[name]) for name in asked)))
    return Agenda(agenda.work, agenda.waiting, n_current, n_total)


def map_agenda(snapshot: Snapshot) -> Agenda:
    """Returns the maps and scores to request."""
    return agenda_or_reason("maps", lambda: snapshot.value(_map_agenda))


def embedding_agenda(snapshot: Snapshot) -> Agenda:
    """Returns the embeddings to request. Those that policy does not select count as missing."""
    return agenda_or_reason("embeddings", lambda: snapshot.value(_embedding_agenda))


def agenda_or_reason(what: str, agenda: Callable[[], Agenda]) -> Agenda:
    """Returns an agenda. If that fails, for example because `policy.yaml` is wrong, the agenda waits with the reason.

    Args:
        what: name of what waits in this case, for people.
        agenda: returns the agenda, or raises.
    """
    try:
        return agenda()
    except CellAssetsError as error:
        return Agenda([], [Waiting(what, str(error))], 0, 1)  # counts as not done


def _map_agenda(snapshot: Snapshot) -> Agenda:
    return chain_agenda(snapshot, map_chain(), wanted_maps(snapshot))


def _embedding_agenda(snapshot: Snapshot) -> Agenda:
    agenda = chain_agenda(snapshot, ("site_embeddings",), wanted_embeddings(snapshot))
    held = [
        keys for keys in held_embeddings(snapshot) if state_of(snapshot, "site_embeddings", *keys).status != "current"
    ]
    return Agenda(agenda.work, agenda.waiting, agenda.n_current, agenda.n_total + len(held))


def _asked(states: dict[str, State], keys: tuple[str, ...]) -> list[str]:
    """Returns the assets of a chain that are due, or wait only for requested assets of the same chain."""
    asked: list[str] = []
    for name, state in states.items():
        waits_in_run = bool(state.blockers) and set(state.blockers) <= {(a, keys) for a in asked}
        if state.status == "due" or (state.status == "waiting" and waits_in_run):
            asked.append(name)
    return asked


def _waiting(states: dict[str, State], asked: Sequence[str], keys: tuple[str, ...]) -> list[Waiting]:
    """Returns the assets of a chain that wait for something outside the chain."""
    own = {(name, keys) for name in states}
    return [
        Waiting(describe_address(name, keys), state.reason)
        for name, state in states.items()
        if state.status == "waiting" and name not in asked and not (state.blockers and set(state.blockers) <= own)
    ]


def _run_key(steps: Iterable[tuple[str, tuple[str, ...], State]]) -> str:
    """Returns the run key.

    It contains the generation, so that an input that changes and changes back is requested again, and the newest input,
    so that work that was refused because of a damaged input is requested again once that one was repaired.
    """
    parts = [(name, *keys, state.plan_fingerprint, state.generation, state.newest_input) for name, keys, state in steps]
    return fingerprint({"steps": sorted(parts)})
