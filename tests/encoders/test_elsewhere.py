"""A model from elsewhere has the vectors of plain torch, in the platform and in the hands of people."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from upath import UPath

import cellassets
from cellassets.encoders.elsewhere.registering import tried
from cellassets.encoders.embed import embed_store
from cellassets.encoders.getting import get_model
from cellassets.encoders.loading import load_encoder
from cellassets.encoders.registering import check_model, register
from cellassets.errors import (
    ConfigError,
    CorruptArtifact,
    EncoderError,
    ExportError,
    OutOfMemory,
    PartitionKeyError,
    RegistryError,
)
from cellassets.tables.parquet import read_tables, vectors
from cellassets.tables.schemas import SITE_EMBEDDINGS
from cellassets.training.normalisation import channel_statistics


def embedded(folder, store, target, **options):
    encoder = load_encoder(folder)
    found = embed_store(store, encoder, UPath(target), model_key="it.v1", **options)
    return vectors(read_tables([UPath(target / name) for name in found.names], SITE_EMBEDDINGS)), found.summary


def normalised(store, indices, crop=slice(8, 56)):
    """Sites as networks get them, in double precision."""
    mean, std = (values[indices][:, :, None, None] for values in channel_statistics(store.sites, "site"))
    z = (store.read(indices).astype(np.float64) - mean) / np.maximum(std.astype(np.float64), 1)
    return torch.from_numpy(z[..., crop, crop]).float()


def test_every_kind_gives_the_vectors_of_plain_torch(registry, store, declare, kind, tmp_path):
    file, plain = declare(kind)
    entry = register(registry, file)
    assert (entry.key, entry.kind) == (f"{kind}_model.v1", kind)
    assert register(registry, file).key == entry.key  # the same files are the same version
    table, summary = embedded(registry.fetch(entry.key, tmp_path), store, tmp_path / "table")
    with torch.inference_mode():
        expected = plain(normalised(store, np.arange(20))).numpy()
    assert table.shape == (store.n_sites, expected.shape[1])
    assert summary.precision == "fp32"
    assert entry.tags["embedding_dim"] == str(expected.shape[1])
    np.testing.assert_allclose(table[:20], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_what_people_get_computes_bit_for_bit_what_the_platform_does(registry, store, declare, kind, tmp_path):
    entry = register(registry, declare(kind)[0])
    table, _ = embedded(registry.fetch(entry.key, tmp_path), store, tmp_path / "table")
    registry.client().set_registered_model_alias(entry.name, "champion", "1")
    folder = tmp_path / "mine"
    assert get_model(registry, f"{entry.name}@champion", folder).key == entry.key
    n = 40
    np.save(folder / "images.npy", store.read(np.arange(n)))
    (_, code, _) = (folder / "README.md").read_text().split("```")
    code = code.removeprefix("python\n")
    assert code.count("\n") == 3
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    program = f"{code}numpy.save('vectors.npy', vectors)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=folder, env=environment)
    whole = n // 16 * 16  # the last batch of the platform has other sites too
    np.testing.assert_array_equal(np.load(folder / "vectors.npy")[:whole], table[:whole])
    one = cellassets.load_model(folder).embed_images(store.read([3]))
    np.testing.assert_allclose(one[0], table[3], rtol=1e-4, atol=1e-5)


def test_a_network_that_was_trained_here_is_given_in_the_same_way(registry, store, save_network, tmp_path):
    save_network(tmp_path / "trained", normalisation="plate")
    entry = registry.register(tmp_path / "trained", name="ours", run_id=None, tags={"kind": "network"})
    table, summary = embedded(registry.fetch(entry.key, tmp_path), store, tmp_path / "table")
    get_model(registry, "ours@latest", tmp_path / "mine")
    model = cellassets.load_model(tmp_path / "mine", precision=summary.precision)
    mean, std = channel_statistics(store.sites, "plate")
    given = model.embed_images(store.read(np.arange(32)), moments=(mean[:32], std[:32]))
    np.testing.assert_array_equal(given, table[:32])
    rows = np.flatnonzero((store.sites["plate_id"] == store.sites["plate_id"][0]).to_numpy())
    whole_plate = model.embed_images(store.read(rows))  # its statistics are those of the plate
    np.testing.assert_allclose(whole_plate, table[rows], rtol=1e-3, atol=1e-4 if summary.precision == "fp32" else 5e-2)
    again = register(registry, tmp_path / "mine")  # and it can be registered elsewhere, without its README
    assert (again.key, again.fingerprint) == ("mine.v1", entry.fingerprint)


def test_channels_come_in_the_order_that_the_model_wants(store, declare, tmp_path):
    file, plain = declare("exported", input={
        "channels": [["DNA", "hoechst"], *reversed(store.channel_names[1:])],
        "size": "centre_crop", "height_px": 48, "width_px": 48,
    })  # fmt: skip
    with tried(file, "exported") as found:
        table, _ = embedded(found.folder, store, tmp_path / "table")
        model = cellassets.load_model(found.folder)
    order = [0, *range(store.n_channels - 1, 0, -1)]
    with torch.inference_mode():
        expected = plain(normalised(store, np.arange(16))[:, order]).numpy()
    np.testing.assert_allclose(table[:16], expected, rtol=1e-4, atol=1e-5)
    images = store.read(np.arange(16))
    np.testing.assert_array_equal(model.embed_images(images, channel_names=store.channel_names), table[:16])
    model = cellassets.load_model(found.folder) if found.folder.exists() else model
    with pytest.raises(EncoderError, match="its channel DNA or hoechst is missing among A, B"):
        model.embed_images(images[:, :2], channel_names=["A", "B"])


def test_a_fixed_scale_and_a_resize_are_carried_out(store, declare, tmp_path):
    file, plain = declare("exported", input={
        "n_channels": 6, "normalisation": "fixed", "scale": {"divide_by": 255, "mean": [0.4], "std": [0.2] * 6},
        "size": "resize", "height_px": 48, "width_px": 48,
    })  # fmt: skip
    with tried(file, "exported") as found:
        table, _ = embedded(found.folder, store, tmp_path / "table")
    images = (torch.from_numpy(store.read(np.arange(8))).double() / 255 - 0.4) / 0.2
    smaller = torch.nn.functional.interpolate(images, (48, 48), mode="bilinear", antialias=True).float()
    with torch.inference_mode():
        np.testing.assert_allclose(table[:8], plain(smaller).numpy(), rtol=1e-4, atol=1e-5)


SIZE = {"size": "centre_crop", "height_px": 48, "width_px": 48}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"channels": [f"stain {n}" for n in range(6)], **SIZE}, r"its channel stain 0 is missing among Hoechst"),
        ({"n_channels": 6, "size": "centre_crop", "height_px": 48, "width_px": 80}, "too small: `centre_crop` needs"),
        ({"n_channels": 6, "size": "resize", "height_px": 48, "width_px": 40}, "would be distorted by `resize`"),
        ({"n_channels": 6, **SIZE, "pixel_types": ["uint16"]}, None),
    ],
)
def test_an_experiment_that_does_not_fit_is_refused_before_an_image_is_read(
    store, declare, tmp_path, given, message, monkeypatch
):
    file, _ = declare("onnx", input=given)
    with tried(file, "onnx") as found:
        if message is None:  # wider pixels can be read
            embedded(found.folder, store, tmp_path / "table")
            return
        monkeypatch.setattr(type(store), "read", None)
        with pytest.raises(EncoderError, match=f"model it.v1, experiment HUVEC-1: .*{message}"):
            embedded(found.folder, store, tmp_path / "table")
    assert not (tmp_path / "table").exists()


def test_sixteen_bits_are_refused_by_a_fixed_scale_of_eight(scaled_store, declare, tmp_path):
    file, _ = declare("exported", input={"n_channels": 6, **SIZE, "normalisation": "fixed"})
    with (
        tried(file, "exported") as found,
        pytest.raises(EncoderError, match="takes pixels of uint8, experiment HUVEC-1 has uint16"),
    ):
        embedded(found.folder, scaled_store("HUVEC-1", "16 bit"), tmp_path / "table")


def test_a_network_is_not_given_its_channels_in_another_order(store, save_network, tmp_path):
    folder = save_network(tmp_path / "trained")
    spec = json.loads((folder / "encoder.json").read_text())
    spec["channel_names"] = list(reversed(store.channel_names))
    (folder / "encoder.json").write_text(json.dumps(spec))
    with pytest.raises(
        EncoderError, match=r"was trained on the channels .*; experiment HUVEC-1 has them in another order"
    ):
        embedded(folder, store, tmp_path / "table")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": {"n_channels": 5, **SIZE}}, "the file takes 6 channels, and 5 are declared"),
        ({"input": {"n_channels": 6, "least_px": 40}}, "the file fixes the height 48, and the declaration has 40"),
        ({"output": {"pool": "mean"}}, r"its output has the shape \(3, 8\), and `pool` is mean"),
        ({"output": {"name": "7"}}, "expected the number of an output from 0 to 0"),
        ({"input": {"n_channels": 6, "channels": ["a"]}}, "either channels or n_channels, and not both"),
        ({"input": {"n_channels": 6, "size": "resize"}}, "size: resize needs height_px and width_px"),
        ({"input": {"n_channels": 6, "scale": {"mean": [1, 2]}}}, "scale is for normalisation: fixed"),
        ({"file": "../program.pt2"}, "expected a path inside the folder of the declaration"),
        ({"file": "other.pt2"}, "no such file inside the folder of the declaration"),
        (
            {"kind": "pickle"},
            "kind 'pickle'; expected one of network, exported, onnx, huggingface, container, profiles",
        ),
    ],
)
def test_a_wrong_declaration_is_refused_and_registers_nothing(registry, declare, changes, message):
    file, _ = declare("exported", **changes)
    with pytest.raises((ConfigError, EncoderError), match=message):
        register(registry, file)
    assert registry.list_models() == []


def test_a_trial_registers_nothing(registry, declare):
    file, _ = declare("onnx")
    assert check_model(file) == {"kind": "onnx", "name": "onnx_model", "embedding_dim": 8, "device": "cpu"}
    assert registry.list_models() == []


def test_a_model_that_is_random_or_mixes_its_batch_is_refused(declare):
    class Mixing(torch.nn.Module):
        def forward(self, images):
            features = images.mean(dim=(2, 3)) + images.amax(dim=(2, 3))
            return features - features.mean(dim=0)

    class Random(torch.nn.Module):
        def forward(self, images):
            return torch.nn.functional.dropout(images.amax(dim=(2, 3)), training=True)

    file, _ = declare("exported")
    for model, message in ((Mixing(), "depends on the other sites of its batch"), (Random(), "it is random")):
        sizes = ({0: torch.export.Dim("n", min=1, max=4096)},)
        program = torch.export.export(model, (torch.zeros(2, 6, 48, 48),), dynamic_shapes=sizes)
        torch.export.save(program, file.parent / "program.pt2")
        with pytest.raises(EncoderError, match=message):
            check_model(file)


def test_what_is_not_there_and_what_was_changed_is_refused(registry, declare, tmp_path):
    entry = register(registry, declare("onnx")[0])
    with pytest.raises(
        RegistryError,
        match=r"'onnx_model@champion' is not registered: no version of onnx_model has the alias champion; reg",
    ):
        get_model(registry, "onnx_model@champion", tmp_path / "mine")
    (tmp_path / "full").mkdir()
    with pytest.raises(ExportError, match="exists already"):
        get_model(registry, entry.key, tmp_path / "full")
    kept = registry.fetch(entry.key, tmp_path) / "model.onnx"
    kept.write_bytes(kept.read_bytes() + b" ")
    with pytest.raises(CorruptArtifact, match="have the fingerprint"):
        get_model(registry, entry.key, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    assert not list(tmp_path.glob(".get-*"))


def test_everybody_may_read_the_files_of_a_model(registry, declare, tmp_path):
    file, _ = declare("onnx")
    for path in file.parent.iterdir():
        path.chmod(0o600)
    entry = register(registry, file)
    get_model(registry, entry.key, tmp_path / "mine")
    for folder in (registry.fetch(entry.key, tmp_path), tmp_path / "mine"):
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
        assert folder.stat().st_mode & 0o055 == 0o055


def test_models_that_need_more_than_images_say_so(models):
    with pytest.raises(EncoderError, match="cannot embed an array of images"):
        cellassets.load_model(models["classical.v1"])


def test_importing_cellassets_imports_nothing_heavy():
    heavy = ("torch", "numpy", "polars", "pydantic")
    code = f"import sys, cellassets; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_the_declaration_is_in_the_model(declare):
    file, _ = declare("network")
    with tried(file, "network") as found:
        spec = json.loads((found.folder / "encoder.json").read_text())
    declared = yaml.safe_load(file.read_text())
    assert spec["input"]["n_channels"] == declared["input"]["n_channels"]
    assert (spec["kind"], spec["format_version"], spec["embedding_dim"]) == ("network", 2, 12)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ("nan", EncoderError, "vectors for 3 made-up sites are not finite"),
        ("link", ConfigError, "notes.txt: is a link; expected the files themselves"),
        ("text", ConfigError, "encoder.json: not JSON that can be read"),
        ("huge", OutOfMemory, "needs more memory than there is"),
        ("spaced name", PartitionKeyError, "cannot be part of a model key"),
        ("classifier", RegistryError, "classifier.safetensors: damaged, or not the classifier of a network"),
        ("keys", RegistryError, r"can read: n_channels: this key is missing; extra: unknown key[^\n]*$"),
    ],
)
def test_a_damaged_or_hostile_folder_is_refused_before_it_is_registered(changed, error, words, save_network, tmp_path):
    folder = save_network(tmp_path / ("a b" if changed == "spaced name" else "copy"))
    weights, spec = folder / "weights.safetensors", folder / "encoder.json"
    if changed == "nan":
        tensors = safetensors.torch.load_file(weights)
        safetensors.torch.save_file({name: tensor * float("nan") for name, tensor in tensors.items()}, weights)
    elif changed == "link":
        (folder / "notes.txt").symlink_to("/etc/hostname")
    elif changed == "text":
        spec.write_bytes(b"\xff\xfe")
    elif changed == "huge":
        spec.write_text(json.dumps(json.loads(spec.read_text()) | {"n_channels": 10**13}))
    elif changed == "classifier":
        (folder / "classifier.safetensors").write_bytes(b"\x08" + bytes(7) + b"{}      ")
    elif changed == "keys":
        described = json.loads(spec.read_text()) | {"extra": 1}
        spec.write_text(json.dumps({key: value for key, value in described.items() if key != "n_channels"}))
    with pytest.raises(error, match=words):
        check_model(folder)


def test_a_file_that_cannot_be_one_is_refused(declare):
    file, _ = declare("network", file="a" * 300)
    with pytest.raises(ConfigError, match="no such file inside the folder of the declaration"):
        check_model(file)
    (file.parent / "loop").symlink_to("loop")
    file, _ = declare("network", file="loop")
    with pytest.raises(ConfigError, match="no such file inside the folder of the declaration"):
        check_model(file)
