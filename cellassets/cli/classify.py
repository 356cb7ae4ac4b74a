"""`cellassets model classify`: accuracy of a trained classifier on held-out experiments."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cellassets.cli.options import HomeOption, JsonOption, deployment_at
from cellassets.cli.output import progress_bar, show_rows

if TYPE_CHECKING:
    import polars as pl


def classify_dataset(  # noqa: PLR0913, PLR0917 - the options of the command
    model_key: Annotated[str, typer.Argument(metavar="MODEL", help="Key of a network that was trained here.")],
    dataset_id: Annotated[str, typer.Argument(metavar="DATASET", help="Dataset with the experiments to classify.")],
    sites: Annotated[
        list[int] | None, typer.Option("--site", help="Only this site of each well, from 1; may be given again.")
    ] = None,
    views: Annotated[
        int,
        typer.Option(min=1, max=8, help="Turned and mirrored views of each site to average; more than 1 read images."),
    ] = 1,
    predictions: Annotated[
        Path | None, typer.Option(help="New Parquet file for the prediction of every site and well.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows how often a network names the right perturbation, by the protocols that were published for RxRx1.

    The experiments must be embedded by the model. With `--views 8` their images are embedded turned and mirrored too,
    and the scores are averaged. Protocols: `sites` (every site among all classes, as WILDS),
    `wells` (treated wells among treatments, as the competition), `wells_of_group` and `wells_one_to_one` (with what is
    known about plates, as the competition's winners). docs/rxrx1.md explains them.

    Example: cellassets model classify rxrx1_wilds.v1 rxrx1_test
    """
    from cellassets.benchmarks.published.rxrx1 import accuracies
    from cellassets.errors import ExportError
    from cellassets.stages.classification import classify

    if predictions is not None and predictions.exists():
        message = f"{predictions}: exists already; name a new file, or remove it"
        raise ExportError(message)
    with progress_bar() as report:
        found = classify(
            deployment_at(home), model_key, dataset_id, site_indices=sites or (), n_views=views, progress=report
        )
    if predictions is not None:
        _write(predictions, found)
    show_rows(accuracies(found).to_dicts(), as_json=as_json, empty="no site of a known class")


def _write(path: Path, found: "pl.DataFrame") -> None:
    from cellassets.errors import ExportError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        found.write_parquet(path)
    except OSError as error:
        message = f"{path}: cannot be written ({error.strerror or error})"
        raise ExportError(message) from error
