"""What a stage is. The stages themselves are in the files named like their assets, and listed in `catalogue`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellassets.configuration import Parameters
from cellassets.progress import Progress, no_progress
from cellassets.storage.artifact import Record
from cellassets.storage.deployment import Deployment
from cellassets.storage.plan import Plan

if TYPE_CHECKING:
    from cellassets.registry import Registry
    from cellassets.storage.lake import Lake

Keys = Mapping[str, str]  # axis to key


@dataclass(frozen=True)
class Pod:
    """What the run of a stage needs.

    Attributes:
        n_cores: processor cores.
        memory_gib: memory in GiB.
        n_gpus: GPUs.
        pool: runs that share a pool wait for one another; None for a stage that waits for nobody.
    """

    n_cores: int
    memory_gib: int
    n_gpus: int = 0
    pool: str | None = None


@dataclass(frozen=True)
class Context:
    """What `make` works with beside its plan.

    Attributes:
        deployment: where everything is.
        progress: told how far the work is.
    """

    deployment: Deployment
    progress: Progress = no_progress

    @property
    def lake(self) -> "Lake":
        """The lake, for reading pinned publications and for publishing."""
        return self.deployment.lake

    @property
    def registry(self) -> "Registry":
        """MLflow's registry."""
        from cellassets.registry import Registry

        return Registry(self.deployment.tracking_uri, self.deployment.model_root)


@dataclass(frozen=True)
class Stage:
    """How one kind of artefact is planned and made.

    Attributes:
        name: name of the asset, and kind of its artefacts.
        axes: names of the partition axes, in the order of an artefact's keys.
        summary: model of its records' summaries.
        plan: what would be made at some keys from what a snapshot shows. Cheap: it reads no table and no image.
            Raises `NotReady` where an input is not published.
        make: makes and publishes it. Reads only the publications that the plan pins.
        pod: what a run needs.
        settings: files in the configuration folder that the plan reads, for people.
        is_source: true where the input is not an artefact (the landing zone); what depends on it takes what is
            published.
        waits_for_inputs: true where it is only made once all its inputs are current. The leaderboard shows stale scores
            as stale and waits for nothing.
        settle: what has to be true outside the lake once a record is published. Every run does it again, so a run that
            was cut off before it leaves nothing half done.
    """

    name: str
    axes: tuple[str, ...]
    summary: type[Parameters]
    plan: Callable[..., Plan]  # of a Snapshot and Keys; options by name where a stage has them
    make: Callable[[Context, Plan], Record]
    pod: Pod
    settings: tuple[str, ...] = ()
    is_source: bool = False
    waits_for_inputs: bool = True
    settle: Callable[[Context, Record], None] | None = None

    def keys_of(self, keys: Keys) -> tuple[str, ...]:
        """Returns the keys in the order of the axes."""
        return tuple(keys[axis] for axis in self.axes)

    def by_axis(self, keys: tuple[str, ...]) -> dict[str, str]:
        """Returns keys in the order of the axes by axis."""
        return dict(zip(self.axes, keys, strict=True))


def settings_of(parameters: Parameters) -> dict[str, Any]:
    """Returns parameters as a plan's inputs hold them."""
    return parameters.model_dump(mode="json")
