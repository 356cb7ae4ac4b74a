"""One process of a training, as the agent starts it: `python -m cellassets.training.processes.process TASK [REPORTS]`.

TASK is the file that `task.py` writes, REPORTS a local folder for `reports.py`. torchrun's environment variables give
the rank.
"""

import os
import signal
import sys
from pathlib import Path

from upath import UPath

from cellassets.training.processes.ending import end_at_once_on_sigterm, end_with_parent
from cellassets.training.processes.reports import Reports
from cellassets.training.processes.task import Task


def main(arguments: list[str]) -> None:
    """Takes part in a training to its end."""
    end_with_parent(signal.SIGKILL)
    end_at_once_on_sigterm()
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    reports = Reports(Path(arguments[1]) if len(arguments) > 1 else None, f"process-{local_rank}")
    try:
        take_part(UPath(arguments[0]), reports, rank=rank, local_rank=local_rank)
    except BaseException as error:
        reports.failed(rank, error)
        raise


def take_part(path: UPath, reports: Reports, *, rank: int, local_rank: int) -> None:
    """Trains the share of one process.

    Args:
        path: of the task.
        reports: of this process.
        rank: number of the process, among all nodes.
        local_rank: number of the process on its node, and of its GPU.
    """
    import torch

    from cellassets.training.sharing import Share
    from cellassets.training.strategies import device_type
    from cellassets.training.train import train_share

    task = Task.read(path)
    recipe = task.recipe
    if device_type(recipe.devices) == "cuda":
        torch.cuda.set_device(local_rank)
    is_first = local_rank == 0
    with task.opened_data() as data:
        train_share(
            recipe,
            data,
            attempt=task.opened_attempt(),
            share=Share(rank, recipe.devices.n_processes),
            on_epoch=reports.epoch if is_first else None,
            **({"progress": reports.progress} if is_first else {}),
        )


if __name__ == "__main__":
    main(sys.argv[1:])
