"""Folders of Hugging Face: no pickle, no code of their own, and every weight that is needed."""

import json
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

from cellassets.encoders.elsewhere.declaration import ElsewhereSpec
from cellassets.encoders.elsewhere.open_phenom import PREFIX, OpenPhenom, open_phenom_forward
from cellassets.encoders.registering import check_model
from cellassets.errors import ConfigError, EncoderError
from cellassets.training.backbone import seeded


@pytest.fixture
def folder(declare):
    """A masked autoencoder of six channels, with its declaration beside it."""
    file, _ = declare("huggingface")
    return file.parent / "mae"


def check(folder):
    return check_model(folder.parent / "huggingface_model.yaml")


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_code_in_the_folder_is_never_executed(folder):
    code = {"AutoModel": "modeling.Model", "AutoConfig": "modeling.Config"}
    (folder / "modeling.py").write_text(f"open({str(folder / 'harmed')!r}, 'w')")
    change(folder, auto_map=code)
    assert check(folder)["embedding_dim"] == 24  # an architecture of transformers itself: the code is not needed
    change(folder, model_type="cell_oracle")
    with pytest.raises(
        EncoderError, match=r"'cell_oracle' is not a model of .*\(auto_map\), which is never executed.*kind: onnx"
    ):
        check(folder)
    assert not (folder / "harmed").exists()


@pytest.mark.parametrize("key", ["quantization_config", "use_timm_backbone", "backbone"])
def test_a_configuration_that_would_load_more_is_refused(folder, key):
    change(folder, **{key: {"quant_method": "gptq"}})
    with pytest.raises(EncoderError, match=f"{key} would load what is not in the folder"):
        check(folder)


def test_kernels_that_would_be_downloaded_are_left_out(folder):
    change(folder, _attn_implementation="somebody/kernels", attn_implementation="somebody/kernels")
    assert check(folder)["embedding_dim"] == 24


def test_pickles_are_refused_whatever_their_name(folder):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (folder / "harmed",))

    weights = folder / "model.safetensors"
    weights.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(EncoderError, match="weights in pickles are never opened"):
        check(folder)
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(
        ConfigError, match=r"found config.json, pytorch_model.bin. Weights in pickles .* are never opened"
    ):
        check(folder)
    assert not (folder / "harmed").exists()


def test_a_weight_that_is_missing_is_named_and_not_made_up(folder):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    del weights["vit.layernorm.weight"]
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    with pytest.raises(EncoderError, match=r"ViTMAEModel needs layernorm.weight, missing or of another shape"):
        check(folder)


def test_channels_that_differ_are_refused(folder):
    change(folder, num_channels=3)
    with pytest.raises(EncoderError, match="num_channels is 3, and 6 are declared"):
        check(folder)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{}", b'{"model_type": ["vit"]}', b"[" * 200_000])
def test_a_configuration_that_is_none_is_refused(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(EncoderError, match=r"expected the configuration of a model|expected a mapping with model_type"):
        check(folder)


def test_a_hidden_layer_can_be_the_embedding(folder):
    file = folder.parent / "huggingface_model.yaml"
    declared = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**declared, "output": {"layer": 1, "pool": "first"}}))
    assert check(folder)["embedding_dim"] == 24
    file.write_text(yaml.safe_dump({**declared, "output": {"name": "pooler_output"}}))
    with pytest.raises(EncoderError, match="no output 'pooler_output'; it has last_hidden_state"):
        check(folder)


INPUT = {"normalisation": "fixed", "scale": {"divide_by": 1}, "size": "centre_crop", "height_px": 256, "width_px": 256}


def spec(n_channels, **output):
    return ElsewhereSpec.model_validate(
        {"kind": "huggingface", "embedding_dim": 1, "input": {"n_channels": n_channels, **INPUT}, "output": output}
    )


@pytest.fixture(scope="module")
def open_phenom():
    """Weights as OpenPhenom's file has them, with random numbers."""
    with seeded(1):
        network = OpenPhenom()
        weights = {name: torch.randn_like(tensor) * 0.05 for name, tensor in network.state_dict().items()}
    cls = torch.zeros(1, 1, network.positions.shape[2])
    weights["pos_embed"] = torch.cat([cls, network.positions.repeat(1, 11, 1)], dim=1)
    weights["fc_norm.weight"] = torch.ones(1)
    return {f"{PREFIX}{name}": tensor for name, tensor in weights.items()} | {"decoder.mask_token": torch.zeros(1)}


def test_open_phenoms_format_gives_one_mean_per_channel_or_one_for_all(open_phenom):
    images = torch.randint(0, 256, (1, 2, 256, 256), generator=torch.Generator().manual_seed(2)).float()
    tokens = open_phenom_forward({}, open_phenom, spec(2, pool="mean", skip_tokens=1))(images)
    each = open_phenom_forward({}, open_phenom, spec(2, pools_each_channel=True))(images)
    assert tokens.shape == (1, 1 + 2 * 256, 384)
    torch.testing.assert_close(each.view(2, 384).mean(dim=0), tokens[0, 1:].mean(dim=0))
    swapped = open_phenom_forward({}, open_phenom, spec(2, pools_each_channel=True))(images.flip(1))
    torch.testing.assert_close(swapped.view(2, 384), each.view(2, 384).flip(0))  # it knows no channel by its place


@pytest.mark.parametrize(
    ("changes", "output", "message"),
    [
        ({}, {"pool": "mean"}, "declare output: {pool: mean, skip_tokens: 1}"),
        ({"trim_encoder_blocks": 3}, {"pool": "mean", "skip_tokens": 1}, "config.json trims the encoder"),
    ],
)
def test_what_open_phenoms_format_cannot_do_is_refused(open_phenom, changes, output, message):
    with pytest.raises(EncoderError, match=message):
        open_phenom_forward(changes, open_phenom, spec(2, **output))
    with pytest.raises(EncoderError, match="at most 11 channels"):
        open_phenom_forward({}, open_phenom, spec(12, **output))
    with pytest.raises(EncoderError, match="not those of a channel-agnostic ViT-S/16"):
        open_phenom_forward({}, {f"{PREFIX}pos_embed": torch.zeros(1)}, spec(2, pool="mean", skip_tokens=1))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"patch_size": 0}, "can be built by config.json .ZeroDivisionError"),
        ({"hidden_act": "nope"}, "can be built by config.json .KeyError"),
        ({"hidden_size": 48}, "needs .*cls_token of .1, 1, 48. in place of .1, 1, 24."),
    ],
)
def test_a_configuration_of_another_model_is_refused_in_words(folder, values, words):
    change(folder, **values)
    with pytest.raises(EncoderError, match=words):
        check(folder)
