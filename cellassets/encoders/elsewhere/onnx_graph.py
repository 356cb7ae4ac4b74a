"""An ONNX graph in ONNX Runtime, an optional package. It computes on the CPU.

ONNX Runtime reads external data only from the folder of the graph: absolute paths, `..` and links that leave it are
refused by ONNX Runtime 1.32 (`tests/encoders/test_onnx.py`). Libraries with operators of their own are never loaded.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float

from cellassets.encoders.elsewhere.declaration import Output
from cellassets.errors import EncoderError, RegistryError
from cellassets.machine import n_cores

if TYPE_CHECKING:
    from cellassets.encoders.elsewhere.forward import Fixed

MISSING = "models in ONNX need the package onnxruntime: pip install 'cellassets[onnx]', also in the image of the runs"
N_CHARACTERS = 400  # of a message of ONNX Runtime


class OnnxGraph:
    """One output of an ONNX graph with one input of images."""

    device = "cpu"

    def __init__(self, path: Path, output: Output) -> None:
        self.session = _session(path)
        taken = self.session.get_inputs()
        if len(taken) != 1 or taken[0].type != "tensor(float)" or len(taken[0].shape) != 4:
            found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in taken) or "none"
            message = f"{path}: its inputs are {found}; expected one tensor(float) with the axes site channel y x"
            raise EncoderError(message)
        self.input_name = taken[0].name
        self.shape: Fixed = tuple(side if isinstance(side, int) else None for side in taken[0].shape)  # type: ignore[assignment]
        names = [one.name for one in self.session.get_outputs()]
        if output.layer is not None or (output.name is not None and output.name not in names):
            message = f"{path}: no output {output.name or output.layer!r}; its outputs are {', '.join(names)}"
            raise EncoderError(message)
        self.output_name = output.name or names[0]

    def __call__(self, images: Float[torch.Tensor, "site channel h w"]) -> torch.Tensor:
        """Returns the output of images.

        Raises:
            EncoderError: the graph cannot compute it.
        """
        try:
            (found,) = self.session.run([self.output_name], {self.input_name: images.numpy()})
        except Exception as error:  # ONNX Runtime's errors have no other common base
            if not _is_of_onnx(error):
                raise
            message = (
                f"ONNX Runtime cannot compute the graph for images of shape {tuple(images.shape)}: {_short(error)}"
            )
            raise EncoderError(message) from error
        return torch.from_numpy(found)


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EncoderError(f"{path}: {MISSING}") from error
    if not path.is_file():
        message = f"{path}: no such file; register the model again"
        raise RegistryError(message)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_cores()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if not _is_of_onnx(error):
            raise
        message = (
            f"{path}: ONNX Runtime {onnxruntime.__version__} cannot load the graph: {_short(error)}. If its opset or "
            "IR version is too new, export it again with a lower one; files with external data belong into `files`"
        )
        raise EncoderError(message) from error


def _is_of_onnx(error: Exception) -> bool:
    return type(error).__module__.startswith("onnxruntime")


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= N_CHARACTERS else f"{text[:N_CHARACTERS]}…"
