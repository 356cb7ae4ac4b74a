"""What a trained classifier says about a dataset: the accuracy of the training's own validation, and who is refused."""

import json

import numpy as np
import polars as pl
import pytest

from cellassets import cli
from cellassets.benchmarks.published.rxrx1 import PLACE, PREDICTIONS, accuracies
from cellassets.encoders.moments import moments_of
from cellassets.encoders.network import open_network
from cellassets.encoders.views import check_views, further_views
from cellassets.errors import DatasetError, EncoderError, RegistryError
from cellassets.stages.catalogue import open_snapshot
from cellassets.stages.classification import classify
from cellassets.stages.snapshot import NotReady
from cellassets.stages.stores import open_store
from cellassets.training.classifier import load_classifier

pytestmark = pytest.mark.usefixtures("one_thread")
RECIPE = {
    "kind": "network",
    "train_experiments": ["HUVEC-1"],
    "validation_experiments": ["HUVEC-2"],
    "channels": ["Phalloidin", "Hoechst"],
    "backbone": {"family": "resnet", "stem_width": 8, "widths": [8, 16], "depths": [1, 1]},
    "embedding_dim": 8,
    "augmentation": {"crop_px": 48, "crop_from": "centre", "min_zoom_frac": 0.5},
    "centre_crop_px": 48,
    "loss": {"cross_entropy_weight": 0.8, "arcface_weight": 0.2},
    "classes": {"perturbation_kinds": ["compound"]},
    "sampling": "uniform",
    "optimiser": {"name": "adam", "learning_rate": 1e-2},
    "uses_flagged_sites": True,
    "n_epochs": 6,
}


@pytest.fixture
def trained(screen):
    """The screen with a network on two of its six channels, and a dataset of the experiment that is held out."""
    screen.set("recipes/two.yaml", RECIPE)
    screen.set("datasets/held_out.yaml", {"experiment_ids": ["HUVEC-2"]})
    return screen, screen.make("checkpoint", "two").record


def test_held_out_sites_are_classified_as_in_the_validation_of_the_training(trained, capsys, tmp_path):
    screen, record = trained
    with pytest.raises(NotReady, match=r"1 of 1 experiments are not embedded by two.v1 yet \(HUVEC-2\): make the"):
        classify(screen.deployment, "two.v1", "held_out")
    screen.make("site_embeddings", "HUVEC-2", "two.v1")

    found = classify(screen.deployment, "two.v1", "held_out")
    assert found.schema == PREDICTIONS
    of_sites = accuracies(found).filter(protocol="sites", part="all")
    assert of_sites["seen"].item() == "validation"
    assert of_sites["accuracy"].item() == pytest.approx(record.summary["metrics"]["validation_top1"], abs=1e-9)
    assert of_sites["accuracy"].item() > 2 * of_sites["chance"].item(), "by chance, a mistake would not show"
    assert of_sites["n"].item() == record.summary["n_validation_sites"]

    one_site = classify(screen.deployment, "two.v1", "held_out", site_indices=[2])
    assert one_site.filter(protocol="sites").equals(
        found.filter(pl.col("protocol") == "sites", pl.col("site_index") == 2)
    )
    with pytest.raises(DatasetError, match=r"HUVEC-2 has the sites \[1, 2\], and none of \[3\]"):
        classify(screen.deployment, "two.v1", "held_out", site_indices=[3])

    (screen.home / "deployment.yaml").write_text("configs: configs\n")
    file = tmp_path / "predictions.parquet"
    asked = [
        "model",
        "classify",
        "two.v1",
        "held_out",
        "--home",
        str(screen.home),
        "--json",
        "--predictions",
        str(file),
    ]
    with pytest.raises(SystemExit) as ended:
        cli.main(asked)
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out) == accuracies(found).to_dicts()
    assert pl.read_parquet(file).equals(found)
    with pytest.raises(SystemExit) as ended:
        cli.main(asked)
    assert ended.value.code == 1
    assert "exists already; name a new file" in capsys.readouterr().err


def test_scores_of_further_views_are_averaged(trained):
    """Every view is made here from the stored pixels; a site that looks the same in all views keeps its scores."""
    screen, _ = trained
    screen.make("site_embeddings", "HUVEC-2", "two.v1")
    asked = (screen.deployment, "two.v1", "held_out")
    assert classify(*asked, n_views=1).equals(classify(*asked))

    snapshot = open_snapshot(screen.deployment)
    store = open_store(screen.deployment.lake, snapshot.need("plate_store", "HUVEC-2"))
    encoder, classifier = open_network(folder := screen.registry.fetch("two.v1", screen.home)), load_classifier(folder)
    encoder.choose_channels(store.channel_names)
    mean, std = moments_of(store, encoder)
    images, views = store.read(range(store.n_sites)), []
    for mirrored in (images, images[..., ::-1]):  # in another order than the project's own
        views += [np.rot90(mirrored, n, axes=(2, 3)) for n in range(4)]
    of_view = np.stack([classifier.scores(encoder.embed(view.copy(), mean, std)) for view in views])
    assert np.abs(of_view - of_view[0]).max() > 0.01, "the network is not invariant"
    names = np.array(classifier.class_names)
    for n_views, expected in ((1, of_view[0]), (2, of_view[[0, 4]].mean(axis=0)), (8, of_view.mean(axis=0))):
        sites = classify(*asked, n_views=n_views).filter(protocol="sites")
        best = pl.DataFrame({"expected": names[expected.argmax(axis=1)]})
        labelled = store.sites.with_columns(best).join(sites, on=PLACE, how="inner", validate="1:1")
        assert labelled.height == sites.height > 0
        assert labelled["expected"].equals(labelled["predicted_id"], check_names=False)

    symmetric = np.max(
        [np.rot90(view, n, axes=(2, 3)) for view in (images, images[..., ::-1]) for n in range(4)], axis=0
    )
    for view in further_views(symmetric, 8):
        np.testing.assert_array_equal(view, symmetric)
    with pytest.raises(EncoderError, match=r"9 views: expected 1 to 8"):
        classify(*asked, n_views=9)
    with pytest.raises(EncoderError, match=r"32 x 48 pixels cannot be turned by 90 degrees, as 5 views.*at most 4"):
        check_views(5, 32, 48)


def test_a_model_without_a_classifier_is_refused_and_a_damaged_one_too(trained, tmp_path):
    screen, _ = trained
    with pytest.raises(RegistryError, match=r"no classifier.safetensors, so it cannot name classes.*train the recipe"):
        classify(screen.deployment, "random.v1", "held_out")
    folder = screen.registry.fetch("two.v1", tmp_path)
    (tmp_path / "copy").mkdir()
    whole = (folder / "classifier.safetensors").read_bytes()
    (tmp_path / "copy/classifier.safetensors").write_bytes(whole[:-10])
    with pytest.raises(RegistryError, match="damaged, or not the classifier of a network"):
        load_classifier(tmp_path / "copy")
