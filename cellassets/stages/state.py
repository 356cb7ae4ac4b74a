"""Whether a partition is current, due or waiting. Sensors, reports, gate and command line all use this rule.

A partition is *current* if the published artefact is what its plan asks for and every input is current too. It is *due*
if all inputs are current and nothing, or something different, is published, or if something outside the lake that
belongs to it was lost (a registered model that was deleted). It *waits* if an input is missing or not
current, or if it cannot be planned (for example because of a wrong settings file); the reason says what it waits for.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cellassets.errors import CellAssetsError
from cellassets.stages.snapshot import NotReady, Snapshot, first_few
from cellassets.storage.artifact import describe_address
from cellassets.storage.records import Address

if TYPE_CHECKING:
    from cellassets.stages.stage import Stage
    from cellassets.storage.plan import Plan

Status = Literal["current", "due", "waiting"]


@dataclass(frozen=True, slots=True)
class State:
    """The state of one partition.

    Attributes:
        status: current, due or waiting.
        plan_fingerprint: fingerprint of what would be made now, empty if that is not known.
        generation: number of the current publication, 0 if nothing is published.
        reason: what it waits for, or what was lost; empty otherwise.
        blockers: addresses of the inputs that it waits for.
        newest_input: number of the catalogue's newest change of an input. It grows when an input is published again,
            even if the same content is made again in place of a damaged one.
    """

    status: Status
    plan_fingerprint: str
    generation: int
    reason: str = ""
    blockers: tuple[Address, ...] = ()
    newest_input: int = 0


def state_of(snapshot: Snapshot, kind: str, *keys: str) -> State:
    """Returns the state of a partition of a stage."""
    return snapshot.value(_state, kind, *keys)


def is_current(snapshot: Snapshot, kind: str, *keys: str) -> bool:
    """Returns true if a partition of a stage is current."""
    return state_of(snapshot, kind, *keys).status == "current"


def _state(snapshot: Snapshot, kind: str, *keys: str) -> State:
    stage = snapshot.stages[kind]
    published = snapshot.find(kind, *keys)
    generation = 0 if published is None else published.generation
    try:
        plan = stage.plan(snapshot, stage.by_axis(keys))
    except NotReady as error:
        return State("waiting", "", generation, str(error), error.addresses)
    except CellAssetsError as error:
        return State("waiting", "", generation, str(error))
    newest_input = max((pin.change for pin in plan.pins), default=0)
    blockers = _not_current(snapshot, stage, plan)
    if blockers:
        named = first_few([describe_address(kind, keys) for kind, keys in blockers])
        reason = f"waits for {named}: out of date"
        return State("waiting", plan.fingerprint, generation, reason, blockers, newest_input)
    if published is None or published.plan_fingerprint != plan.fingerprint:
        return State("due", plan.fingerprint, generation, newest_input=newest_input)
    try:
        lost = "" if stage.lost is None else stage.lost(snapshot, published.summary(stage.summary))
    except CellAssetsError as error:
        return State("waiting", plan.fingerprint, generation, str(error))
    return State("due" if lost else "current", plan.fingerprint, generation, lost, newest_input=newest_input)


def _not_current(snapshot: Snapshot, stage: "Stage", plan: "Plan") -> tuple[Address, ...]:
    if not stage.waits_for_inputs:
        return ()
    return tuple(
        (pin.kind, pin.keys)
        for pin in plan.pins
        if not snapshot.stages[pin.kind].is_source and not is_current(snapshot, pin.kind, *pin.keys)
    )
