"""OpenVINO on the CPU, an optional package.

The network is traced by torch and converted in memory. OpenVINO's package for telemetry would send statistics when
OpenVINO is imported; it is kept from being imported.
"""

import importlib.util
import sys
import warnings
from types import ModuleType

import torch
from jaxtyping import Float
from torch import nn

from cellassets.encoders.inference.backend import Backend, Forward, Precision, in_batches_of

TELEMETRY = "openvino_telemetry"
HINTS = {"fp32": "f32", "bf16": "bf16"}
CAPABILITIES = {"fp32": "FP32", "bf16": "BF16"}  # as OpenVINO names what a CPU has units for
MIN_TABLE_S = 120.0  # tracing and converting a ResNet-50 takes 10 s
Images = Float[torch.Tensor, "site channel h w"]


def openvino_backend(precision: Precision) -> Backend:
    """Returns OpenVINO in a precision."""

    def prepare(network: nn.Module, example: Images) -> Forward:
        return _compiled(network, example, precision)

    def absence() -> str | None:
        return openvino_absence(precision)

    return Backend(f"openvino-{precision}", precision, prepare, MIN_TABLE_S, absence, is_channels_last=False)


def openvino_absence(precision: Precision) -> str | None:
    """Returns why OpenVINO cannot be used in a precision, or None."""
    if importlib.util.find_spec("openvino") is None:
        return "openvino is not installed (pip install 'cellassets[openvino]')"
    capabilities = imported_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return None if CAPABILITIES[precision] in capabilities else f"this CPU has no units for {precision}"


def imported_openvino() -> ModuleType:
    """Returns the module `openvino`, imported without its telemetry."""
    sys.modules.setdefault(TELEMETRY, None)  # type: ignore[arg-type]  # an import of it fails, as if it were not there
    import openvino

    return openvino


def _compiled(network: nn.Module, example: Images, precision: Precision) -> Forward:
    openvino = imported_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    contiguous = example.contiguous()
    with warnings.catch_warnings(), torch.no_grad():
        # tracing is deprecated, and warns of branches on sizes, which are fixed here
        warnings.simplefilter("ignore")
        front_end = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(network, example_input=(contiguous,))  # nothing else keeps it alive
        model = front_end.convert(front_end.load(decoder))
    model.reshape({0: list(contiguous.shape)})
    options = {"INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()

    def forward(images: Images) -> Float[torch.Tensor, "site feature"]:
        found = request.infer([images.contiguous().numpy()], share_inputs=True)
        return torch.from_numpy(found[0].copy())  # the memory belongs to the request

    return in_batches_of(len(example), forward)
