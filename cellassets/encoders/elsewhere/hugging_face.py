"""A folder of Hugging Face: `config.json` and `model.safetensors`, for architectures of the installed `transformers`.

No file of the folder is executed and nothing is downloaded: the architecture comes from `model_type`, and keys of the
configuration that would fetch code, kernels or other weights are refused or left out.
"""

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cellassets.encoders.elsewhere.declaration import ElsewhereSpec, Output
from cellassets.encoders.elsewhere.forward import CONFIG, HF_WEIGHTS
from cellassets.encoders.elsewhere.open_phenom import MODEL_TYPE, open_phenom_forward
from cellassets.encoders.elsewhere.torch_modules import ModuleForward, read_safetensors
from cellassets.errors import EncoderError
from cellassets.training.backbone import seeded

MAX_CONFIG_BYTES = 1 << 20
N_NAMED = 5
# they make `transformers` load something that is not in the folder
FETCHING = ("quantization_config", "use_timm_backbone", "backbone", "use_pretrained_backbone", "timm_model")
LEFT_OUT = ("auto_map", "attn_implementation", "architectures")


def hugging_face_forward(folder: Path, spec: ElsewhereSpec) -> ModuleForward:
    """Returns the model of a folder.

    Raises:
        EncoderError: the architecture is not known here, or the weights do not fit it.
        RegistryError: a file is missing or damaged.
    """
    values = read_config(folder / CONFIG)
    if values.get("model_type") == MODEL_TYPE:
        return open_phenom_forward(values, read_safetensors(folder / HF_WEIGHTS), spec)
    if spec.output.pools_each_channel:
        message = f"{folder / CONFIG}: pools_each_channel is for model_type {MODEL_TYPE}"
        raise EncoderError(message)
    config = _config(folder / CONFIG, values)
    n_channels = getattr(config, "num_channels", None)
    if n_channels not in (None, spec.input.n_used):
        message = f"{folder / CONFIG}: num_channels is {n_channels}, and {spec.input.n_used} are declared in `input`"
        raise EncoderError(message)
    if hasattr(config, "mask_ratio"):
        config.mask_ratio = 0.0  # of a masked autoencoder: it sees the whole image
    network = _network(folder, config, spec.output)
    return ModuleForward(network, (None, n_channels, None, None), _Call(network, config, spec.output))


def read_config(path: Path) -> dict[str, Any]:
    """Returns the content of `config.json`.

    Raises:
        EncoderError: it is missing or not JSON, or names what is not in the folder.
    """
    try:
        content = path.read_bytes()[: MAX_CONFIG_BYTES + 1]
        values = json.loads(content) if len(content) <= MAX_CONFIG_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        message = f"{path}: missing, or not JSON ({error}); expected the configuration of a model"
        raise EncoderError(message) from error
    if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
        message = f"{path}: expected a mapping with model_type, of at most {MAX_CONFIG_BYTES:,} bytes"
        raise EncoderError(message)
    found = [key for key in FETCHING if values.get(key)] if values["model_type"] != MODEL_TYPE else []
    if found:
        message = (
            f"{path}: {', '.join(found)} would load what is not in the folder; export the model to ONNX or torch.export"
        )
        raise EncoderError(message)
    return values


def _config(path: Path, values: dict[str, Any]) -> Any:
    """The configuration as `transformers` has it."""
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    name = values["model_type"]
    if name not in CONFIG_MAPPING or CONFIG_MAPPING[name] not in MODEL_MAPPING:
        has_code = " and names code of its own (auto_map), which is never executed" if "auto_map" in values else ""
        message = (
            f"{path}: model_type {name!r} is not a model of the installed transformers{has_code}. Export the model to "
            "ONNX or torch.export and register it as kind: onnx or kind: exported"
        )
        raise EncoderError(message)
    try:
        return CONFIG_MAPPING[name].from_dict(_without_fetching(values))
    except Exception as error:  # configurations validate themselves with errors of many packages
        message = f"{path}: transformers refuses it: {str(error)[:300]}"
        raise EncoderError(message) from error


def _without_fetching(values: dict[str, Any]) -> dict[str, Any]:
    """The values without private keys and what names code, at every depth."""
    kept = {key: value for key, value in values.items() if not key.startswith("_") and key not in LEFT_OUT}
    return {key: _without_fetching(value) if isinstance(value, dict) else value for key, value in kept.items()}


def _network(folder: Path, config: Any, output: Output) -> nn.Module:
    """The network with the weights of the folder; every weight that the output needs must be there."""
    from transformers import MODEL_MAPPING

    class_: Any = MODEL_MAPPING[type(config)]
    weights = read_safetensors(folder / HF_WEIGHTS)
    try:
        with seeded(0), _quiet():
            network, report = class_.from_pretrained(
                None,
                config=config,
                state_dict=weights,
                output_loading_info=True,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # they are refused below, by their names
            )
    except (RuntimeError, ValueError, OSError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        message = (
            f"{folder / HF_WEIGHTS}: no {class_.__name__} with these weights can be built by {CONFIG} "
            f"({type(error).__name__}: {str(error)[:600]})"
        )
        raise EncoderError(message) from error
    is_pooler_used = output.name == "pooler_output"
    missing = sorted(key for key in report["missing_keys"] if is_pooler_used or not key.startswith("pooler."))
    mismatched = sorted(report.get("mismatched_keys", ()))
    wrong = [*missing, *(f"{key} of {tuple(wanted)} in place of {tuple(found)}" for key, found, wanted in mismatched)]
    if wrong:
        more = f" and {len(wrong) - N_NAMED} more" if len(wrong) > N_NAMED else ""
        needed = f"{', '.join(wrong[:N_NAMED])}{more}"
        message = f"{folder / HF_WEIGHTS}: {class_.__name__} needs {needed}, missing or of another shape"
        raise EncoderError(message)
    return network.float()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps progress bars and reports of `transformers` off the screen inside the block."""
    from transformers.utils import logging

    level, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if has_bars:
            logging.enable_progress_bar()


class _Call:
    """Calls a model of `transformers` and takes one of its outputs."""

    def __init__(self, network: nn.Module, config: Any, output: Output) -> None:
        self.output, self.config = output, config
        parameters = inspect.signature(network.forward).parameters
        self.options: dict[str, Any] = {"return_dict": True}
        if "interpolate_pos_encoding" in parameters:
            self.options["interpolate_pos_encoding"] = True
        if output.layer is not None:
            self.options["output_hidden_states"] = True
        self.has_noise = "noise" in parameters

    def __call__(self, network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        options = {**self.options, "noise": self._order(images)} if self.has_noise else self.options
        found = network(pixel_values=images, **options)
        if self.output.layer is not None:
            return found.hidden_states[self.output.layer]
        name = self.output.name or "last_hidden_state"
        if found.get(name) is None:
            message = f"the model has no output {name!r}; it has {', '.join(found.keys())}"
            raise EncoderError(message)
        return found[name].flatten(1) if name == "pooler_output" else found[name]

    def _order(self, images: torch.Tensor) -> torch.Tensor:
        """The order of the patches of a masked autoencoder, which is random otherwise."""
        n_patches = (images.shape[2] // self.config.patch_size) * (images.shape[3] // self.config.patch_size)
        return torch.arange(n_patches, device=images.device, dtype=torch.float32).expand(len(images), -1)
