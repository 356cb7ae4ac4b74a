"""Which variants of searches are asked for now: as many as their search trains at once, the others later."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cellassets.reconcile.work import Waiting

if TYPE_CHECKING:
    from cellassets.reconcile.live import LiveSnapshot
    from cellassets.reconcile.work import Work
    from sensors.requests import Tick


def within_slots(tick: "Tick", snapshot: "LiveSnapshot", work: Sequence["Work"]) -> list["Work"]:
    """Returns the checkpoints to ask for; the tick says how many variants of which search wait for a slot.

    A variant that was refused or failed for good holds no slot.

    Args:
        tick: knows what is under way, and what failed.
        snapshot: the recipes.
        work: checkpoints that are due.
    """
    from cellassets.stages.families import families, family, find_variant, variants_of, wrong_families

    wrong = wrong_families(snapshot)
    free = {
        name: family(snapshot, name).search.n_at_once
        - sum(("checkpoint", variant.name) in tick.in_flight.partitions for variant in variants_of(snapshot, name))
        for name in families(snapshot)
        if name not in wrong
    }
    chosen, waiting = [], Counter[str]()
    for item in work:
        variant = find_variant(snapshot, item.keys["recipe"])
        if variant is None or not tick.is_ready(item):  # the tick says why it is not
            chosen.append(item)
        elif free[variant.family] > 0:
            free[variant.family] -= 1
            chosen.append(item)
        else:
            waiting[variant.family] += 1
    for name, n_waiting in waiting.items():
        n_at_once = family(snapshot, name).search.n_at_once
        tick.waiting.append(Waiting(f"search {name}", f"{n_waiting} variants wait for one of its {n_at_once} slots"))
    return chosen
