"""The slots of a search: how many of its variants are trained at once, whoever starts them.

Every run of a variant gets the tag `cellassets/search_slot` with one of the `n_at_once` slots of its search: the one
with the lowest number of unfinished runs. `dagster.yaml` allows one active run per value of the tag. So a backfill or
a click cannot start more, and runs of other recipes do not wait.
"""

from collections import Counter
from typing import TYPE_CHECKING

import dagster as dg

from resources.runs import UNFINISHED

if TYPE_CHECKING:
    from upath import UPath

SLOT_TAG = "cellassets/search_slot"


def slot_tags(instance: dg.DagsterInstance, run: dg.DagsterRun, configs: "UPath") -> dict[str, str]:
    """Returns the tag with the slot of a run; empty for a run that is not of one variant of a search.

    Args:
        instance: knows which slots are taken.
        run: a run of `checkpoint`.
        configs: the folder of settings.
    """
    from cellassets.errors import CellAssetsError
    from cellassets.training.recipe.family import family_file, has_search, load_family

    name = run.tags.get("dagster/partition", "")
    path = family_file(configs / "recipes", name)
    try:
        if path is None or path.stem == name or not has_search(path):
            return {}
        n_at_once = load_family(path).search.n_at_once
    except CellAssetsError:  # the run will say what is wrong with the file
        return {}
    slots = [f"{path.stem}/{number}" for number in range(1, n_at_once + 1)]
    others = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED, tags={SLOT_TAG: slots}))
    taken = Counter(other.tags[SLOT_TAG] for other in others if other.run_id != run.run_id)
    return {SLOT_TAG: min(slots, key=lambda slot: taken[slot])}
