"""Starts the processes of a training, follows them, and makes the outcome from the last state that they leave.

The process that calls this takes no part in the training: whatever ends a process of the training, it is still there,
says what happened, and ends the others. It alone talks to MLflow and to people.
"""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellassets import errors
from cellassets.errors import CellAssetsError, ProcessLost, RecipeError
from cellassets.progress import Progress, no_progress
from cellassets.training.attempts import Attempt
from cellassets.training.data import TrainingData
from cellassets.training.outcome import Outcome
from cellassets.training.processes.agent import command
from cellassets.training.processes.nodes import Nodes, NodeStarter
from cellassets.training.processes.reports import ENDED, EPOCH, FAILED, PROGRESS, ReportReader
from cellassets.training.processes.task import Task
from cellassets.training.recipe import NetworkRecipe

POLL_S = 0.2
GRACE_S = 10.0  # for the agent to end its processes


OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Followers:
    """Who gets what the processes report.

    Attributes:
        on_epoch: called at the end of every epoch with its index, counted from 0, and its metrics.
        progress: receives the number of batches trained.
    """

    on_epoch: OnEpoch | None = None
    progress: Progress = no_progress


def train_together(
    recipe: NetworkRecipe,
    data: TrainingData,
    *,
    folder: Path,
    attempt: Attempt,
    followers: Followers,
    nodes: NodeStarter | None = None,
) -> Outcome:
    """Returns the trained network as a model folder, `folder / "model"`, with the metrics of the last epoch.

    Args:
        recipe: how to train, with the number of processes.
        data: sites to train on and held-out sites, with their sources.
        folder: local work folder.
        attempt: stores the state after every epoch, in a folder that all nodes see.
        followers: get epochs and progress.
        nodes: starts further nodes; None where only one node can be used.

    Raises:
        RecipeError: the recipe does not fit the sites or this machine.
        TrainingError: the loss is not finite.
        ProcessLost: a process or a node was lost. Another attempt goes on from the last complete state.
        StaleArtifact: another process took over.
    """
    from cellassets.training.train import outcome_of_state

    check_devices(recipe, nodes)
    task = Task(
        recipe=recipe,
        sources=data.sources,
        folder=str(attempt.folder),
        attempt=attempt.number,
        goes_on_from=attempt.last_name(),
        has_parent=data.parent is not None,
    )
    path = str(task.write(data.parent))
    reports = folder / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    if recipe.devices.n_nodes == 1 or nodes is None:
        _follow(recipe, path, reports, followers)
    else:
        with nodes.started(path, recipe) as others:
            _follow(recipe, path, reports, followers, others)
    attempt.require_newest()
    content = attempt.last_state()
    if content is None:
        message = f"{recipe.name}: the processes ended well and left no state in {attempt.folder}; run it again"
        raise ProcessLost(message)
    return outcome_of_state(recipe, data, folder=folder, content=content)


def check_devices(recipe: NetworkRecipe, nodes: NodeStarter | None) -> None:
    """Checks that this machine has the devices of a recipe.

    Raises:
        RecipeError: it has fewer GPUs than processes, or nobody here can start further nodes.
    """
    import torch

    from cellassets.training.strategies import device_type

    devices = recipe.devices
    if devices.n_nodes > 1 and nodes is None:
        message = (
            f"{recipe.name}: devices.n_nodes is {devices.n_nodes}, and only runs in a Kubernetes cluster start further "
            "nodes: set it to 1, or train in a cluster"
        )
        raise RecipeError(message)
    n_gpus = torch.cuda.device_count() if device_type(devices) == "cuda" else devices.n_per_node
    if n_gpus < devices.n_per_node:
        message = (
            f"{recipe.name}: devices.n_per_node is {devices.n_per_node}, and this machine has {n_gpus} GPUs: lower it, "
            "or request more GPUs"
        )
        raise RecipeError(message)


@dataclass
class Endings:
    """How processes ended."""

    recipe: NetworkRecipe
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    def error(self, status: int) -> CellAssetsError:
        """Returns the error that says most: a refusal, then a kill, then whatever else a process raised."""
        for _, name, message in self.failures:
            known = getattr(errors, name, None)
            if isinstance(known, type) and issubclass(known, CellAssetsError):
                error: CellAssetsError = known(message)
                return error
        what = f"{self.recipe.name}: process %d of {self.recipe.devices.n_processes} %s; the others were ended. "
        what += "Another attempt goes on from the last complete state"
        killed = {rank: -code for rank, code in self.statuses.items() if code < 0 and -code != signal.SIGTERM}
        if killed:
            rank, number = next(iter(killed.items()))
            return ProcessLost(what % (rank, f"was killed by {_name_of(number)}"))
        for rank, name, message in self.failures:
            return ProcessLost(what % (rank, f"ended with {name}: {message}"))
        message = f"{self.recipe.name}: its processes ended with exit status {status}; their output is in the log"
        return ProcessLost(message)


def _name_of(number: int) -> str:
    """The name of a signal, with what to do if the system sent it."""
    name = signal.Signals(number).name
    advice = " (if the system did so for want of memory, raise `memory_gib` of the stage `checkpoint` in pods.yaml)"
    return name + advice if number == signal.SIGKILL else name


def _follow(recipe: NetworkRecipe, task: str, reports: Path, followers: Followers, others: Nodes | None = None) -> None:
    """Runs the agent of this node to its end, and passes on what is reported.

    Raises:
        CellAssetsError: a process ended badly; the agent has ended the others.
    """
    devices, reader, endings = recipe.devices, ReportReader(reports), Endings(recipe)
    arguments = command(
        task,
        n_nodes=devices.n_nodes,
        n_per_node=devices.n_per_node,
        endpoint=others.endpoint if others is not None else "",
        run_id=others.run_id if others is not None else "",
    )
    address = [f"--address={others.address}"] if others is not None else []
    with _started([*arguments, *address, f"--reports={reports}"]) as agent:
        while True:
            status = agent.poll()
            for kind, values in reader.new():
                _pass_on(kind, values, followers, endings)
            if status is not None:
                break
            if others is not None:
                others.check()
            time.sleep(POLL_S)
    if status != 0:
        error = endings.error(status)
        raise error if others is None else others.explained(error)


def _pass_on(kind: str, values: list[Any], followers: Followers, endings: Endings) -> None:
    told: dict[str, Callable[..., None]] = {
        EPOCH: followers.on_epoch or (lambda *_: None),
        PROGRESS: lambda n_done, n_total, what, note: followers.progress(n_done, n_total, what, note=note),
        FAILED: lambda *failure: endings.failures.append(failure),
        ENDED: endings.statuses.__setitem__,
    }
    told[kind](*values)


@contextmanager
def _started(arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Yields the agent, which is ended if the block is left before its end."""
    agent = subprocess.Popen([sys.executable, *arguments])  # noqa: S603  of this package
    try:
        yield agent
    finally:
        if agent.poll() is None:
            agent.terminate()
            try:
                agent.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                agent.kill()  # its processes end with it
                agent.wait()
