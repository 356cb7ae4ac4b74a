"""What the classifier of a registered network predicts for the experiments of a dataset, from published embeddings.

It is computed when somebody asks (`cellassets model classify`) and not published: the training reports the accuracy on
its validation experiments already, and models are compared by benchmarks of embeddings.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cellassets.errors import DatasetError
from cellassets.progress import Progress, no_progress
from cellassets.stages.catalogue import open_snapshot
from cellassets.stages.datasets import dataset_experiments, dataset_named, landed_wells
from cellassets.stages.snapshot import NotReady, Snapshot

if TYPE_CHECKING:
    import polars as pl

    from cellassets.benchmarks.published.rxrx1 import ScoredSites
    from cellassets.storage.deployment import Deployment
    from cellassets.training.classifier import Classifier


def classify(
    deployment: "Deployment",
    model_key: str,
    dataset_id: str,
    *,
    site_indices: Sequence[int] = (),
    progress: Progress = no_progress,
) -> "pl.DataFrame":
    """Returns what a network predicts for the sites and wells of a dataset (`benchmarks.published.rxrx1.predictions`).

    Args:
        deployment: where the model and its embeddings are.
        model_key: a network that was trained here.
        dataset_id: a cell type or a curated dataset.
        site_indices: only these sites of each well, counted from 1; empty: all.
        progress: receives the number of experiments done.

    Raises:
        RegistryError: there is no such model, or it has no classifier.
        DatasetError: there is no such dataset, it has none of these sites, or no training experiment of the model is
            stored here.
        NotReady: an experiment of the dataset is not embedded by the model yet.
        BenchmarkError: an experiment has no site of a known class.
    """
    import polars as pl

    from cellassets.benchmarks.published.rxrx1 import predictions, treatment_groups
    from cellassets.registry import Registry
    from cellassets.training.classifier import load_classifier

    snapshot = open_snapshot(deployment)
    experiments = dataset_experiments(snapshot, dataset_id)
    registry = Registry(deployment.tracking_uri, deployment.model_root)
    with tempfile.TemporaryDirectory() as scratch:
        folder = registry.fetch(model_key, Path(scratch))
        classifier, trained = load_classifier(folder), _trained_on(folder, model_key)
    groups = treatment_groups(_training_wells(snapshot, model_key, trained), classifier.class_names)
    _need_embeddings(snapshot, model_key, experiments)
    tables = []
    for done, name in enumerate(experiments):
        scored = _scored(snapshot, (name, model_key), dataset_id, classifier, tuple(site_indices))
        tables.append(predictions(scored, groups))
        progress(done + 1, len(experiments), "experiments classified")
    return pl.concat(tables)


def _trained_on(folder: Path, model_key: str) -> tuple[str, ...]:
    """The experiments whose treated wells a network was trained on, from its recipe."""
    import yaml

    from cellassets.errors import RegistryError
    from cellassets.training.outcome import RECIPE_NAME

    path = folder / RECIPE_NAME
    values = yaml.safe_load(path.read_bytes()) if path.is_file() else None
    if not isinstance(values, dict) or not values.get("train_experiments"):
        message = (
            f"model {model_key}: no {RECIPE_NAME} with train_experiments in its files; expected a network's recipe"
        )
        raise RegistryError(message)
    return tuple(values["train_experiments"])


def _training_wells(snapshot: Snapshot, model_key: str, trained: tuple[str, ...]) -> "pl.DataFrame":
    import polars as pl

    pins = [pin for name in trained if (pin := snapshot.find("raw_plates", name)) is not None]
    if not pins:
        message = (
            f"model {model_key} was trained on {', '.join(trained[:5])}, and none of its experiments is stored here: "
            "land one of them, because its plates say which treatments share a plate"
        )
        raise DatasetError(message)
    return pl.concat(landed_wells(snapshot, pin.keys[0]) for pin in pins)


def _need_embeddings(snapshot: Snapshot, model_key: str, experiments: Sequence[str]) -> None:
    addresses = [(name, model_key) for name in experiments]
    missing = [name for name, key in addresses if snapshot.find("site_embeddings", name, key) is None]
    if missing:
        message = (
            f"{len(missing)} of {len(experiments)} experiments are not embedded by {model_key} yet "
            f"({', '.join(missing[:5])}): make the dataset active in policy.yaml and let the daemon embed them, or "
            "materialise site_embeddings of these partitions"
        )
        raise NotReady(message, [("site_embeddings", address) for address in addresses if address[0] in missing])


def _scored(
    snapshot: Snapshot,
    address: tuple[str, str],
    dataset_id: str,
    classifier: "Classifier",
    site_indices: tuple[int, ...],
) -> "ScoredSites":
    """The sites of one experiment that belong to the dataset, with the scores of all classes."""
    import polars as pl

    from cellassets.benchmarks.published.rxrx1 import PLACE, ScoredSites
    from cellassets.screens.well_selection import selected_wells
    from cellassets.tables.parquet import read_tables, vectors
    from cellassets.tables.schemas import SITE_EMBEDDINGS

    published = snapshot.deployment.lake.open(snapshot.need("site_embeddings", *address))
    table = read_tables([published.file(part) for part in published.names], SITE_EMBEDDINGS)
    dataset = dataset_named(snapshot, dataset_id)
    wells = selected_wells(landed_wells(snapshot, address[0]), dataset.cell_types, dataset.perturbation_kinds)
    labels = wells.select(*PLACE[:3], "cell_type", "perturbation_id", "control_kind")
    table = table.join(labels, on=PLACE[:3], how="inner", maintain_order="left")
    if site_indices:
        there = sorted(table["site_index"].unique().to_list())
        table = table.filter(pl.col("site_index").is_in(site_indices))
        if table.is_empty():
            message = f"{address[0]} has the sites {there}, and none of {list(site_indices)}"
            raise DatasetError(message)
    sites = table.select(*PLACE, "cell_type", "perturbation_id", "control_kind")
    return ScoredSites(sites, classifier.scores(vectors(table)), classifier.class_names)
