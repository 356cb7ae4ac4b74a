"""The curves of a training on their way to MLflow, also of one that diverges: its error says where they are."""

from collections.abc import Iterator
from contextlib import contextmanager

from cellassets.errors import TrainingError
from cellassets.registry.curves import Curves
from cellassets.stages.stage import Context


@contextmanager
def curves_kept(context: Context, run_id: str) -> Iterator[Curves]:
    """Yields the curves of a training's MLflow run. A training that diverges sends those that wait before it ends.

    Raises:
        TrainingError: the training diverged; the message names the run that has its curves.
    """
    curves = Curves(context.registry, run_id)
    try:
        yield curves
    except TrainingError as error:
        curves.finish()
        link = context.deployment.mlflow_link(run_id)
        place = f"{context.registry.tracking_uri}, run {run_id}" if link is None else link
        message = f"{error}. No model is registered; the curves of the epochs before are in MLflow at {place}"
        raise TrainingError(message) from error
