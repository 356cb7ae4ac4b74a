"""An ONNX graph reads no file outside its folder, and says what is wrong with it."""

import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from cellassets.encoders.elsewhere.declaration import Output
from cellassets.encoders.elsewhere.onnx_graph import OnnxGraph
from cellassets.encoders.loading import load_encoder
from cellassets.encoders.registering import check_model, register
from cellassets.errors import ConfigError, EncoderError


@pytest.fixture
def graph(declare):
    """The declaration of a graph, its file, and what it computes."""
    file, plain = declare("onnx")
    return file, file.parent / "small.onnx", plain


def with_external_data(path, location):
    """Moves the weights of the convolution out of a graph, to where `location` says."""
    model = onnx.load_model_from_string(path.read_bytes())
    (weight,) = [one for one in model.graph.initializer if one.name == "convolution.weight"]
    content = weight.raw_data
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(content)))):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    return content


def test_external_data_beside_the_graph_belongs_to_the_model(graph, registry, declare, tmp_path):
    file, path, plain = graph
    content = with_external_data(path, "weights.data")
    (path.parent / "weights.data").write_bytes(content)
    file, _ = declare("onnx", files=["weights.data"])
    with_external_data(path, "weights.data")
    folder = registry.fetch(register(registry, file).key, tmp_path)
    images = torch.randn(2, 6, 48, 48)
    with torch.inference_mode():
        expected = plain(images).numpy()
    np.testing.assert_allclose(load_encoder(folder).vectors(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("location", ["../secret.data", "{absolute}", "link.data", "sub/../../secret.data"])
def test_data_outside_the_folder_is_never_read(graph, location):
    _, path, _ = graph
    secret = path.parent.parent / "secret.data"
    content = with_external_data(path, location.format(absolute=secret))
    secret.write_bytes(content)
    (path.parent / "sub").mkdir()
    (path.parent / "link.data").symlink_to(secret)
    with pytest.raises(EncoderError, match="External data path"):
        OnnxGraph(path, Output())


@pytest.mark.parametrize("name", ["../secret.data", "/etc/passwd", "model.onnx", "link.data"])
def test_a_declaration_names_no_file_outside_its_folder(declare, tmp_path, name):
    file, _ = declare("onnx", files=[name])
    (tmp_path / "secret.data").write_text("secret")
    (file.parent / "link.data").symlink_to(tmp_path / "secret.data")
    with pytest.raises(ConfigError, match=r"inside the folder of the declaration|is a name of the model folder itself"):
        check_model(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: setattr(model.opset_import[0], "version", 999), "opset"),
        (lambda model: setattr(model, "ir_version", 999), r"Unsupported model IR version: 999.*export it again"),
        (lambda model: setattr(model.graph.node[0], "op_type", "Oracle"), "Oracle"),
        (lambda model: setattr(model.graph.node[0], "domain", "com.example"), "com.example"),
    ],
)
def test_a_graph_that_cannot_be_loaded_says_why(graph, change, message):
    file, path, _ = graph
    model = onnx.load_model_from_string(path.read_bytes())
    change(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(
        EncoderError, match=f"model onnx_model: model.onnx: ONNX Runtime .* cannot load the graph: .*{message}"
    ):
        check_model(file)


def test_a_file_that_is_not_a_graph_is_refused(graph):
    file, path, _ = graph
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(EncoderError, match="cannot load the graph"):
        check_model(file)


def test_outputs_and_inputs_are_named(graph):
    _, path, _ = graph
    assert OnnxGraph(path, Output(name="features")).shape == (None, 6, None, None)
    with pytest.raises(EncoderError, match="no output 'pooled'; its outputs are features"):
        OnnxGraph(path, Output(name="pooled"))
    model = onnx.load_model_from_string(path.read_bytes())
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    path.write_bytes(model.SerializeToString())
    with pytest.raises(EncoderError, match=r"cannot load|expected one tensor"):
        OnnxGraph(path, Output())


def test_without_the_package_it_says_what_to_install(graph, monkeypatch):
    file, _, _ = graph
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EncoderError, match=r"need the package onnxruntime: pip install 'cellassets\[onnx\]'"):
        check_model(file)
