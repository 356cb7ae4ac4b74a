"""Compares the rows of a table of profiles with the wells that landed here, before the registry stores the table.

A row of a well that no experiment has would never be used, and nobody would notice a plate that is misspelt before the
first experiment is embedded.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cellassets.errors import ProfilesError
from cellassets.stages.datasets import landed_wells
from cellassets.stages.declaring import nearest
from cellassets.stages.snapshot import Snapshot

if TYPE_CHECKING:
    import polars as pl

N_NAMED = 5


def refuse_places_elsewhere(snapshot: Snapshot, file: Path, places: "pl.DataFrame") -> None:
    """Accepts a table of profiles whose rows are all of wells that landed here.

    Args:
        snapshot: what landed.
        file: the declaration, for the message.
        places: experiment_id, plate_id and well_id of the rows.

    Raises:
        ProfilesError: a row is of an experiment, a plate or a well that is not here.
    """
    unknown = list(_unknown(snapshot, places))
    if unknown:
        more = f"; and the same in {len(unknown) - N_NAMED} more experiments" if len(unknown) > N_NAMED else ""
        message = (
            f"{file}: {'; '.join(unknown[:N_NAMED])}{more}. Correct the table, or say in `names` of the declaration "
            "what experiments and plates are called here; if the rows are right and their images are not here, add "
            "--elsewhere"
        )
        raise ProfilesError(message)


def _unknown(snapshot: Snapshot, places: "pl.DataFrame") -> Iterator[str]:
    """What each experiment of the table has that is not here, in words."""
    landed = snapshot.keys("raw_plates")
    for experiment_id in sorted(places["experiment_id"].unique()):
        if experiment_id not in landed:
            similar = nearest(experiment_id, landed)
            yield f"the table has rows of experiment {experiment_id!r}, which did not land here ({similar})"
            continue
        wells = landed_wells(snapshot, experiment_id)
        own = places.filter(places["experiment_id"] == experiment_id)
        plates = tuple(sorted(wells["plate_id"].unique()))
        others = sorted(set(own["plate_id"]) - set(plates))
        if others:
            yield f"experiment {experiment_id} has no plate {_some(others)} ({nearest(others[0], plates)})"
            continue
        lacking = own.join(wells, on=["plate_id", "well_id"], how="anti").select("plate_id", "well_id").unique()
        if lacking.height:
            names = [f"{plate} {well}" for plate, well in sorted(lacking.rows())]
            yield f"experiment {experiment_id} has no well {_some(names)}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return ", ".join(names[:N_NAMED]) + more
