"""ONNX Runtime on the CPU: the network is exported to ONNX by torch. Both packages are optional."""

import importlib.util
import tempfile
import warnings
from pathlib import Path

import torch
from jaxtyping import Float
from torch import nn

from cellassets.encoders.elsewhere.declaration import Output
from cellassets.encoders.elsewhere.onnx_graph import OnnxGraph
from cellassets.encoders.inference.backend import Backend, Forward, in_batches_of

MIN_TABLE_S = 120.0
OPSET = 18
Images = Float[torch.Tensor, "site channel h w"]


def onnx_backend() -> Backend:
    """Returns ONNX Runtime in float32."""
    return Backend("onnxruntime-fp32", "fp32", _compiled, MIN_TABLE_S, onnx_absence, is_channels_last=False)


def onnx_absence() -> str | None:
    """Returns which package is missing, or None."""
    for package in ("onnxruntime", "onnx"):  # torch's exporter needs the second one
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed (pip install 'cellassets[onnx]' onnx)"
    return None


def _compiled(network: nn.Module, example: Images) -> Forward:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter by tracing is deprecated; the other one needs onnxscript
            torch.onnx.export(
                network, (example.contiguous(),), str(path), dynamo=False, opset_version=OPSET, input_names=["images"]
            )
        graph = OnnxGraph(path, Output())

    def forward(images: Images) -> Float[torch.Tensor, "site feature"]:
        return graph(images.contiguous())

    return in_batches_of(len(example), forward)
