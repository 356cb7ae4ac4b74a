"""The backends that are tried on a device. Torch in float32 is the reference that they are compared with."""

from cellassets.encoders.inference.backend import Backend
from cellassets.encoders.inference.onnx_backend import onnx_backend
from cellassets.encoders.inference.openvino_backend import openvino_backend
from cellassets.encoders.inference.torch_backends import compiled_backend, torch_backend


def reference(device: str) -> Backend:
    """Returns torch in float32."""
    return torch_backend(device, "fp32")


def candidates(device: str) -> tuple[Backend, ...]:
    """Returns what may be faster than the reference on a device, `cpu` or `cuda`."""
    if device == "cuda":
        return (
            torch_backend(device, "bf16"),
            torch_backend(device, "fp16"),
            compiled_backend(device, "bf16"),
            compiled_backend(device, "fp16"),
        )
    return (
        torch_backend(device, "bf16"),
        openvino_backend("fp32"),
        openvino_backend("bf16"),
        onnx_backend(),
        compiled_backend(device, "fp32"),
        compiled_backend(device, "bf16"),
    )
