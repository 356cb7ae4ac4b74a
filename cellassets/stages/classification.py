"""What the classifier of a registered network predicts for the experiments of a dataset, from published embeddings.

Further views of the sites, turned and mirrored, are embedded when they are asked for, and their scores are averaged.

It is computed when somebody asks (`cellassets model classify`) and not published: the training reports the accuracy on
its validation experiments already, and models are compared by benchmarks of embeddings.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellassets.errors import DatasetError, RegistryError, StaleArtifact
from cellassets.progress import Progress, no_progress
from cellassets.stages.catalogue import open_snapshot
from cellassets.stages.datasets import dataset_experiments, dataset_named, landed_wells
from cellassets.stages.snapshot import NotReady, Snapshot

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from jaxtyping import Float

    from cellassets.benchmarks.published.rxrx1 import ScoredSites
    from cellassets.images.reader import ExperimentStore
    from cellassets.storage.deployment import Deployment
    from cellassets.storage.lake import Published
    from cellassets.training.classifier import Classifier


@dataclass(frozen=True)
class _Asked:
    """What somebody asks of a network, and where its files are."""

    snapshot: Snapshot
    model_key: str
    dataset_id: str
    site_indices: tuple[int, ...]
    n_views: int
    folder: Path
    classifier: "Classifier"
    progress: Progress


def classify(
    deployment: "Deployment",
    model_key: str,
    dataset_id: str,
    *,
    site_indices: Sequence[int] = (),
    n_views: int = 1,
    progress: Progress = no_progress,
) -> "pl.DataFrame":
    """Returns what a network predicts for the sites and wells of a dataset (`benchmarks.published.rxrx1.predictions`).

    Args:
        deployment: where the model and its embeddings are.
        model_key: a network that was trained here.
        dataset_id: a cell type or a curated dataset.
        site_indices: only these sites of each well, counted from 1; empty: all.
        n_views: turned and mirrored views of each site whose scores are averaged, 1 to 8 (`encoders.views`). 1: images
            are not read.
        progress: receives the number of experiments done, and of sites where images are read.

    Raises:
        RegistryError: there is no such model, or it has no classifier.
        DatasetError: there is no such dataset, it has none of these sites, or no training experiment of the model is
            stored here.
        NotReady: an experiment of the dataset is not embedded by the model yet.
        BenchmarkError: an experiment has no site of a known class.
        EncoderError: the sites cannot be seen in this number of views.
        StaleArtifact: there are further views, and an experiment was stored again after it was embedded.
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
        try:
            classifier, recipe = load_classifier(folder), _recipe(folder)
        except RegistryError as error:
            message = f"model {model_key}: {error}"
            raise RegistryError(message) from error
        groups = treatment_groups(
            _training_wells(snapshot, model_key, tuple(recipe["train_experiments"])), classifier.class_names
        )
        _need_embeddings(snapshot, model_key, experiments)
        asked = _Asked(snapshot, model_key, dataset_id, tuple(site_indices), n_views, folder, classifier, progress)
        tables = []
        for done, name in enumerate(experiments):
            tables.append(predictions(_scored(asked, name), groups, seen=_seen(recipe, name)))
            progress(done + 1, len(experiments), "experiments classified")
    return pl.concat(tables)


def _seen(recipe: dict[str, Any], experiment_id: str) -> str:
    """What a network saw of an experiment, in a word; `no` for nothing."""
    of_keys = {
        "train_experiments": "training",
        "validation_experiments": "validation",
        "control_experiments": "controls",
    }
    return next((word for key, word in of_keys.items() if experiment_id in (recipe.get(key) or ())), "no")


def _recipe(folder: Path) -> dict[str, Any]:
    """The recipe that a network was trained by."""
    import yaml

    from cellassets.training.outcome import RECIPE_NAME

    path = folder / RECIPE_NAME
    values = yaml.safe_load(path.read_bytes()) if path.is_file() else None
    if not isinstance(values, dict) or not values.get("train_experiments"):
        message = f"no {RECIPE_NAME} with train_experiments in its files; expected a network's recipe"
        raise RegistryError(message)
    return values


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


def _scored(asked: _Asked, experiment_id: str) -> "ScoredSites":
    """The sites of one experiment that belong to the dataset, with the scores of all classes."""
    import polars as pl

    from cellassets.benchmarks.published.rxrx1 import PLACE, ScoredSites
    from cellassets.screens.well_selection import selected_wells
    from cellassets.tables.parquet import read_tables
    from cellassets.tables.schemas import SITE_EMBEDDINGS

    snapshot = asked.snapshot
    published = snapshot.deployment.lake.open(snapshot.need("site_embeddings", experiment_id, asked.model_key))
    table = read_tables([published.file(part) for part in published.names], SITE_EMBEDDINGS)
    dataset = dataset_named(snapshot, asked.dataset_id)
    wells = selected_wells(landed_wells(snapshot, experiment_id), dataset.cell_types, dataset.perturbation_kinds)
    labels = wells.select(*PLACE[:3], "cell_type", "perturbation_id", "control_kind")
    table = table.join(labels, on=PLACE[:3], how="inner", maintain_order="left")
    if asked.site_indices:
        there = sorted(table["site_index"].unique().to_list())
        table = table.filter(pl.col("site_index").is_in(asked.site_indices))
        if table.is_empty():
            message = f"{experiment_id} has the sites {there}, and none of {list(asked.site_indices)}"
            raise DatasetError(message)
    sites = table.select(*PLACE, "cell_type", "perturbation_id", "control_kind")
    return ScoredSites(sites, _scores(asked, published, table), asked.classifier.class_names)


def _scores(asked: _Asked, published: "Published", table: "pl.DataFrame") -> "Float[np.ndarray, 'site class']":
    """The class scores of embedded sites: means over the views."""
    import numpy as np
    import polars as pl

    from cellassets.benchmarks.published.rxrx1 import PLACE
    from cellassets.encoders.network import open_network
    from cellassets.encoders.summary import SiteEmbeddingsSummary
    from cellassets.encoders.views import embed_views
    from cellassets.tables.parquet import vectors

    scores = asked.classifier.scores(vectors(table))
    if asked.n_views == 1:
        return scores
    store = _store_of(asked, published)
    numbered = store.sites.select(*PLACE, pl.int_range(pl.len()).alias("row"))
    rows = table.join(numbered, on=PLACE, how="left", maintain_order="left")["row"].to_numpy()
    backend = SiteEmbeddingsSummary.model_validate(published.record.summary).backend
    encoder, n_done = open_network(asked.folder), 0
    for embedded in embed_views(
        store, encoder, rows, n_views=asked.n_views, model_key=asked.model_key, backend=backend
    ):
        block = slice(n_done, n_done + len(embedded[0]))
        scores[block] += np.sum([asked.classifier.scores(view) for view in embedded], axis=0)
        n_done = block.stop
        asked.progress(n_done, len(rows), f"sites of {store.experiment_id} in {asked.n_views} views")
    return scores / asked.n_views


def _store_of(asked: _Asked, published: "Published") -> "ExperimentStore":
    """The images that were embedded."""
    from cellassets.stages.stores import open_store

    experiment_id = published.record.keys[0]
    stored = asked.snapshot.need("plate_store", experiment_id)
    if published.record.inputs["plate_store"] != stored.fingerprint:
        message = (
            f"{experiment_id} was stored again after {asked.model_key} embedded it, so further views would be of other "
            "images: materialise its site_embeddings again, or ask for one view"
        )
        raise StaleArtifact(message)
    return open_store(asked.snapshot.deployment.lake, stored)
