"""Runs a container encoder's `local_command` as a child process of the run, by Dagster Pipes.

The process gets the batch, a copy of the model's files as its working folder, and few environment variables: none of
the deployment's addresses and passwords. It has the rights of the run's user otherwise.
"""

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources.container_outcomes import judge_exit

if TYPE_CHECKING:
    from cellassets.encoders.container.encoder import Batch
    from cellassets.encoders.container.settings import ContainerSettings

PASSED_ON = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"})
EXIT_STATUS = re.compile(r"with code (-?\d+)$")


def run_as_process(context: dg.AssetExecutionContext, settings: "ContainerSettings", batch: "Batch") -> Sequence[Any]:
    """Returns the custom messages of the process, after it ended well.

    Raises:
        EncoderError: the process failed for good, or the model has no `local_command`.
        RetryRequested: the process was interrupted, or asked to be run again.
    """
    from dagster._core.errors import DagsterPipesExecutionError

    from cellassets.encoders.container.encoder import INPUT, OUTPUT, PROGRAM
    from cellassets.errors import EncoderError

    if not batch.spec.local_command:
        message = (
            f"{batch.title}: the model has no local_command, and `where` in containers.yaml is {settings.where!r}; run "
            "it on a cluster, or register it with a local_command"
        )
        raise EncoderError(message)
    hidden = sorted(name for name in os.environ if name not in PASSED_ON)
    command = ["env", *(part for name in hidden for part in ("-u", name)), *batch.spec.local_command]
    places = {
        "CELLASSETS_INPUT": str((batch.folder / INPUT).absolute()),
        "CELLASSETS_OUTPUT": str((batch.folder / OUTPUT).absolute()),
    }
    try:
        completed = dg.PipesSubprocessClient().run(
            context=context.op_execution_context,  # the other one warns of its own attributes
            command=command,
            env=places,
            cwd=str(batch.folder / PROGRAM),
        )
    except DagsterPipesExecutionError as error:
        found = EXIT_STATUS.search(str(error))
        judge_exit(batch.title, int(found[1]) if found else 1, "Its output is in the run's logs (stdout and stderr).")
        raise
    return completed.get_custom_messages()
