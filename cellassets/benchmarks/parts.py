"""The parts of a dataset that a model is scored on separately: wells that it was trained on, and wells it never saw.

A part is a set of experiments. Two models can be compared on the wells that neither has seen, so a model is also scored
on its unseen experiments without those that another model has seen. What a model has seen comes from
`cellassets.registry.lineage`.

Example: the dataset is E1, E2, E3; a network was trained on E1 and classical features on nothing. The network is scored
on E1 (seen in training) and on E2, E3 (unseen). The classical features are scored on all three, on E2, E3, where both
are unseen, and on E1, to show what the network's score there is worth.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from cellassets.fingerprint import fingerprint
from cellassets.registry.lineage import Seen

Exposure = Literal["training", "validation", "unknown", "unseen_experiments", "unseen_cell_type"]
EXPOSURES: tuple[Exposure, ...] = get_args(Exposure)  # the most seen first
UNSEEN: tuple[Exposure, ...] = ("unseen_experiments", "unseen_cell_type")
TITLES: Mapping[str, str] = {
    "training": "seen in training",
    "validation": "seen in validation",
    "unknown": "not known whether seen",
    "unseen_experiments": "unseen experiments",
    "unseen_cell_type": "unseen cell type",
}
WHOLE = "all"
MAX_NAMED = 4


@dataclass(frozen=True)
class Part:
    """Some experiments of a dataset, and what the model has seen of them.

    Attributes:
        part_id: `all`, or a fingerprint of the experiments.
        exposure: what the model has seen of these experiments, the most seen one where they differ.
        experiments: their names, sorted.
        left_out: experiments of any dataset that a model has seen which has seen none of this part. Maps that this part
            is compared with leave them out as well.
    """

    part_id: str
    exposure: Exposure
    experiments: tuple[str, ...]
    left_out: frozenset[str] = frozenset()

    def columns(self) -> dict[str, str | int]:
        """Returns the columns that the rows of its scores share."""
        return {
            "part_id": self.part_id,
            "exposure": self.exposure,
            "experiments": named(self.experiments),
            "n_experiments": len(self.experiments),
        }


def exposures_of(
    experiments: Iterable[str], cell_types: Mapping[str, Iterable[str]], seen: Seen
) -> dict[str, Exposure]:
    """Returns what a model has seen of each of some landed experiments.

    The cell type of an experiment is unseen only if the cell types of everything that the model has seen are known.

    Args:
        experiments: their names.
        cell_types: cell types of every landed experiment.
        seen: what the model has seen.
    """
    seen_types = seen.cell_types.union(*(cell_types[name] for name in seen.experiments if name in cell_types))
    is_known = bool(seen_types) and (bool(seen.cell_types) or all(name in cell_types for name in seen.experiments))

    def exposure(name: str) -> Exposure:
        if name in seen.training:
            return "training"
        if name in seen.validation:
            return "validation"
        if not seen.is_known:
            return "unknown"
        return "unseen_cell_type" if is_known and not seen_types & set(cell_types[name]) else "unseen_experiments"

    return {name: exposure(name) for name in experiments}


def parts_of(exposures: Mapping[str, Exposure], models: Iterable[Seen]) -> tuple[Part, ...]:
    """Returns the parts that a model is scored on, what it has not seen first, larger parts first.

    Args:
        exposures: what the model has seen of each experiment of the dataset.
        models: what it and each model that it is compared with have seen.
    """
    sets = {(seen.experiments, seen.training) for seen in models}
    unseen = frozenset(name for name, exposure in exposures.items() if exposure in UNSEEN)
    by_exposure = [frozenset(name for name, found in exposures.items() if found == kind) for kind in EXPOSURES]
    by_others = [part for seen, training in sets for part in (unseen - seen, unseen & training)]
    seen_sets = {seen for seen, _ in sets}
    parts = [_part(part, exposures, seen_sets) for part in {unseen, *by_exposure, *by_others} if part]
    return tuple(
        sorted(parts, key=lambda part: (part.exposure not in UNSEEN, -len(part.experiments), part.experiments))
    )


def _part(experiments: frozenset[str], exposures: Mapping[str, Exposure], seen_sets: set[frozenset[str]]) -> Part:
    names = tuple(sorted(experiments))
    part_id = WHOLE if len(names) == len(exposures) else fingerprint({"experiments": names})[:12]
    exposure = min((exposures[name] for name in names), key=EXPOSURES.index)
    apart = [seen for seen in seen_sets if not seen & experiments] if exposure in UNSEEN else []
    return Part(part_id, exposure, names, frozenset[str]().union(*apart))


def named(experiments: Sequence[str]) -> str:
    """Returns the experiments of a part as people read them: all names, or the first few and a number."""
    more = len(experiments) - MAX_NAMED
    if more <= 1:
        return ", ".join(experiments)
    return f"{', '.join(experiments[:MAX_NAMED])} and {more} more"
