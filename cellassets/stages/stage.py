"""Defines stages. Each stage is in the file named like its asset; `catalogue` lists all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellassets.configuration import Parameters
from cellassets.progress import Progress, no_progress
from cellassets.storage.artifact import Record
from cellassets.storage.deployment import Deployment
from cellassets.storage.plan import Plan

if TYPE_CHECKING:
    from cellassets.encoders.container.encoder import ContainerRunner
    from cellassets.registry import Registry
    from cellassets.storage.lake import Lake
    from cellassets.training.processes.nodes import NodeStarter

Keys = Mapping[str, str]  # axis to key


@dataclass(frozen=True)
class Context:
    """What `make` needs in addition to its plan.

    Attributes:
        deployment: all places of the deployment.
        progress: receives the progress of the work.
        containers: starts the processes of container encoders; None where nothing may start them.
        nodes: starts further nodes of a training; None where there is only this one.
    """

    deployment: Deployment
    progress: Progress = no_progress
    containers: "ContainerRunner | None" = None
    nodes: "NodeStarter | None" = None

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
        plan: returns the plan for some keys from a snapshot. It is cheap: it does not read tables or images. It raises
            `NotReady` if an input is not published.
        make: carries out a plan and publishes the result. It reads only the publications that the plan pins.
        settings: files in the configuration folder that the plan reads, for people.
        is_source: true if the input is not an artefact (the landing zone). Later stages use what is published, even if
            the input has changed.
        waits_for_inputs: true if all inputs must be current before it is made. The leaderboard does not wait: it shows
            stale scores as stale.
        lost: returns what is missing outside the lake although the artefact is published, '' for nothing, from a
            snapshot and the summary of the record. Then the partition is due, and `make` restores what is missing.
        settle: updates something outside the lake after a record is published. Every run repeats it, so an interrupted
            run is completed by the next one.
    """

    name: str
    axes: tuple[str, ...]
    summary: type[Parameters]
    plan: Callable[..., Plan]  # of a Snapshot and Keys; options by name where a stage has them
    make: Callable[[Context, Plan], Record]
    settings: tuple[str, ...] = ()
    is_source: bool = False
    waits_for_inputs: bool = True
    lost: Callable[..., str] | None = None  # of a Snapshot and a summary
    settle: Callable[[Context, Record], None] | None = None

    def keys_of(self, keys: Keys) -> tuple[str, ...]:
        """Returns the keys in the order of the axes."""
        return tuple(keys[axis] for axis in self.axes)

    def by_axis(self, keys: tuple[str, ...]) -> dict[str, str]:
        """Returns the keys by axis, from keys in the order of the axes."""
        return dict(zip(self.axes, keys, strict=True))


def settings_of(parameters: Parameters) -> dict[str, Any]:
    """Returns parameters in the form in which a plan's inputs contain them."""
    return parameters.model_dump(mode="json")
