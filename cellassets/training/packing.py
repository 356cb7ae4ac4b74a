"""The state of a training as bytes: nested values with tensors, in the format safetensors. Nothing is ever unpickled.

Lightning gives the state to `fit.py` as nested dictionaries, lists, numbers and tensors. `attempts.py` stores the
bytes.
"""

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from cellassets.errors import CorruptArtifact

TREE = "tree"  # the values without the tensors, as JSON in the header of the file


def pack(state: Mapping[str, Any]) -> bytes:
    """Returns a state as bytes. Tensors keep their dtype and strides; dictionaries may have keys of any simple type."""
    tensors: dict[str, torch.Tensor] = {}
    tree = json.dumps(_described(state, tensors))
    return save(tensors, metadata={TREE: tree})


def unpack(content: bytes) -> dict[str, Any]:
    """Returns the state that `pack` was given, with its tensors on the CPU.

    Raises:
        CorruptArtifact: the bytes are not a packed state.
    """
    try:
        tensors, tree = load(content), _header(content)[TREE]
        state: dict[str, Any] = _restored(json.loads(tree), tensors)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        message = f"not the state of a training ({type(error).__name__}: {error}); delete the file"
        raise CorruptArtifact(message) from error
    return state


def _header(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file: 8 bytes with the length of the JSON header, then the header."""
    n_bytes = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + n_bytes])["__metadata__"]
    return found


def _described(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Replaces dictionaries, lists, tuples and tensors by JSON objects that name their type; collects the tensors."""
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().to("cpu").clone(memory_format=torch.contiguous_format)
        return {"tensor": name, "stride": value.stride()}
    if isinstance(value, Mapping):
        return {"dict": [[key, _described(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_described(item, tensors) for item in value]}
    return value


def _restored(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        stored = tensors[value["tensor"]]
        # arithmetic over another memory layout can have other last digits
        return torch.empty_strided(stored.shape, value["stride"], dtype=stored.dtype).copy_(stored)
    if "dict" in value:
        return {key: _restored(item, tensors) for key, item in value["dict"]}
    made_of = list if "list" in value else tuple
    return made_of(_restored(item, tensors) for item in value[made_of.__name__])
