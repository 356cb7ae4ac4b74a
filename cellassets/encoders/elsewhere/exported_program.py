"""A program of `torch.export`, carried out node by node. `pt2_archive.py` reads it; no Python is generated from it.

Sizes are computed while it runs, so the symbolic expressions of dynamic sizes are never looked at.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float

from cellassets.encoders.elsewhere.aten_operators import operator_named
from cellassets.encoders.elsewhere.declaration import Output
from cellassets.encoders.elsewhere.forward import best_device
from cellassets.encoders.elsewhere.pt2_archive import DTYPES, read_archive
from cellassets.errors import EncoderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellassets.encoders.elsewhere.forward import Fixed

Values = dict[str, Any]
STATE = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
# Source: MemoryFormat and Layout of the schema
MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
STRIDED = 7
CONSTANTS: dict[str, dict[int, Any]] = {
    "as_scalar_type": DTYPES,
    "as_memory_format": MEMORY_FORMATS,
    "as_layout": {STRIDED: torch.strided},
}
PLAIN = ("as_int", "as_ints", "as_floats", "as_bool", "as_bools", "as_string", "as_int_lists")
NAMED = ("as_sym_int", "as_sym_float", "as_sym_bool")


class ExportedProgram:
    """One output of an exported program with one input of images."""

    def __init__(self, path: Path, output: Output) -> None:
        self.device = best_device()
        archive = read_archive(path)
        try:
            self._read(archive.graph, archive.tensors, output)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            message = f"{path}: its graph is not as torch.export writes it ({type(error).__name__}: {error})"
            raise EncoderError(message) from error
        except EncoderError as error:
            message = f"{path}: {error}"
            raise EncoderError(message) from error

    def __call__(self, images: Float[torch.Tensor, "site channel h w"]) -> torch.Tensor:
        """Returns the output of images.

        Raises:
            EncoderError: an operator cannot compute it.
        """
        values: Values = {**self.state, self.input_name: images.to(self.device)}
        with torch.inference_mode():
            for node in self.nodes:
                node.run(values, self.device)
        found = values.get(self.output_name)
        if not isinstance(found, torch.Tensor):
            message = f"its output {self.output_name} is not a tensor"
            raise EncoderError(message)
        return found

    def _read(self, module: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], output: Output) -> None:
        graph, signature = module["graph"], module["signature"]
        self.state: Values = {}
        taken = []
        for spec in signature["input_specs"]:
            ((kind, described),) = spec.items()
            if kind == "user_input":
                taken.append(described["arg"]["as_tensor"]["name"])
            elif kind in STATE:
                self.state[described["arg"]["name"]] = tensors[described[STATE[kind]]].to(self.device)
            else:
                message = f"the program has an input of the kind {kind!r}; expected weights and one image tensor"
                raise EncoderError(message)
        if len(taken) != 1:
            message = f"the program has {len(taken)} inputs; expected one: images with the axes site channel y x"
            raise EncoderError(message)
        self.input_name = taken[0]
        self.shape = _shape(graph["tensor_values"][self.input_name])
        self.output_name = _output_name(signature["output_specs"], output)
        self.nodes = [_Node(node) for node in graph["nodes"]]


class _Node:
    """One operator with its arguments."""

    def __init__(self, described: Mapping[str, Any]) -> None:
        self.target = str(described["target"])
        self.operator: Callable[..., Any] = operator_named(self.target)
        self.arguments = [(one["name"], one["arg"], one["kind"] == 2) for one in described["inputs"]]
        self.outputs = [_names(one) for one in described["outputs"]]

    def run(self, values: Values, device: str) -> None:
        """Adds the results of the operator to the values."""
        try:
            positional = [_value(arg, values, device) for _, arg, is_named in self.arguments if not is_named]
            named = {name: _value(arg, values, device) for name, arg, is_named in self.arguments if is_named}
            found = self.operator(*positional, **named)
            results = [found] if len(self.outputs) == 1 else found
            for names, result in zip(self.outputs, results if self.outputs else (), strict=True):
                values |= {names: result} if isinstance(names, str) else dict(zip(names, result, strict=True))
        except (RuntimeError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            if isinstance(error, (EncoderError, torch.OutOfMemoryError)):
                raise
            message = f"{self.target} of the program failed: {str(error).strip().partition(chr(10))[0][:300]}"
            raise EncoderError(message) from error


def _names(described: Mapping[str, Any]) -> str | list[str]:
    """The name of a result, or those of a list of results."""
    ((kind, value),) = described.items()
    if kind in ("as_tensor", "as_optional_tensor"):
        return str(value.get("as_tensor", value)["name"])
    if kind in NAMED:
        return str(value["as_name"])
    if kind == "as_tensors":
        return [str(one["name"]) for one in value]
    if kind == "as_none":
        return "(none)"
    message = f"a result of the kind {kind!r} is not supported here"
    raise EncoderError(message)


def _value(described: Mapping[str, Any], values: Values, device: str) -> Any:
    """The value of an argument."""
    ((kind, value),) = described.items()
    if kind in ("as_tensor", *NAMED, "as_optional_tensor"):
        return _one(value, values)
    if kind in ("as_tensors", "as_optional_tensors", *(f"{name}s" for name in NAMED)):
        return [_one(one, values) for one in value]
    return _constant(kind, value, device)


def _constant(kind: str, value: Any, device: str) -> Any:
    """The value of an argument that is written out."""
    if kind == "as_float":
        return float(value)  # infinite ones are written as text
    if kind in PLAIN:
        return value
    if kind in ("as_none", "as_device"):
        return None if kind == "as_none" else torch.device(device)
    known: dict[Any, Any] = CONSTANTS.get(kind, {})
    if value not in known:
        message = f"an argument of the kind {kind!r} with the value {str(value)[:60]} is not supported here"
        raise EncoderError(message)
    return known[value]


def _one(described: Mapping[str, Any], values: Values) -> Any:
    """A tensor or number that an operator made before, or a number that is written out, or none."""
    if "as_tensor" in described:
        described = described["as_tensor"]
    for key in ("name", "as_name"):
        if key in described:
            return values[described[key]]
    return next((described[key] for key in ("as_int", "as_float", "as_bool") if key in described), None)


def _output_name(specs: list[Mapping[str, Any]], output: Output) -> str:
    """The name of the tensor that becomes the embedding."""
    kinds = {kind for spec in specs for kind in spec}
    if kinds != {"user_output"}:
        message = f"the program changes its own state ({', '.join(sorted(kinds))}); export the model after model.eval()"
        raise EncoderError(message)
    number = output.name or "0"
    if not number.isdecimal() or int(number) >= len(specs) or output.layer is not None:
        message = f"output.name is {number!r}; expected the number of an output from 0 to {len(specs) - 1}"
        raise EncoderError(message)
    return str(specs[int(number)]["user_output"]["arg"]["as_tensor"]["name"])


def _shape(meta: Mapping[str, Any]) -> "Fixed":
    sides = [side.get("as_int") for side in meta["sizes"]]
    if len(sides) != 4 or meta["dtype"] != 7:  # float32
        message = f"the input of the program has {len(sides)} axes of type {meta['dtype']}; expected 4 of float32"
        raise EncoderError(message)
    return (sides[0], sides[1], sides[2], sides[3])
