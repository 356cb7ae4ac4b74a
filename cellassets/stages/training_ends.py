"""What a training leaves beside its checkpoint: states in the lake, and a run in MLflow. Here both are ended.

The stage `checkpoint` calls `settle` after every publication, and again whenever somebody asks for a checkpoint that is
published. So a process that is killed after the publication leaves nothing for ever.
"""

import logging

from upath import UPath

from cellassets.errors import RegistryError
from cellassets.registry.patience import PATIENCE_S
from cellassets.stages.stage import Context
from cellassets.storage.artifact import Record
from cellassets.storage.lake import shared_folder
from cellassets.training.attempts import remove_attempts
from cellassets.training.summary import CheckpointSummary

PLAN_TAG = "plan"  # of MLflow runs
STATES = "training"  # folder of the training's states, beside the published models of the recipe
logger = logging.getLogger(__name__)


def settle(context: Context, record: Record) -> None:
    """Removes the states of a published training from the lake, and ends its run in MLflow as FINISHED.

    If MLflow does not answer, the run is ended when the checkpoint is asked for again.
    """
    from mlflow.exceptions import MlflowException

    data = context.lake.artifact(record.kind, *record.keys).data
    generations = range(1, record.generation + 1)  # a later one belongs to a process that trains again
    folders = [shared_folder(record.plan_fingerprint, generation) for generation in generations]
    were_there = [remove_attempts(data / folder / STATES) for folder in folders]
    summary = CheckpointSummary.model_validate(record.summary)
    try:
        context.registry.finish_runs(
            record.keys[0],
            {PLAN_TAG: record.plan_fingerprint},
            run_id=summary.run_id,
            patience_s=PATIENCE_S if any(were_there) else 0.0,  # without states the run ended before, as a rule
        )
    except (MlflowException, RegistryError) as error:
        logger.warning("the run of %s is not marked as FINISHED in MLflow yet: %s", record.keys[0], error)


def remove_outdated_states(data: UPath, *, but: UPath) -> None:
    """Removes the states of trainings by earlier plans of a recipe. A process that still trains by one stops.

    Args:
        data: data folder of the recipe's checkpoints.
        but: the folder in it whose states stay.
    """
    for folder in data.iterdir() if data.exists() else ():
        if folder.name != but.name:
            remove_attempts(folder / STATES)
