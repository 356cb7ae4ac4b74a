"""The operators that a program from elsewhere may use: those of ATen that only compute, and arithmetic of sizes.

An operator is looked up by its name in ATen and nowhere else. Its declared arguments decide: ATen also has `save` and
`from_file`, which open files.
"""

import operator
import re
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket

from cellassets.errors import EncoderError

NAME = re.compile(r"torch\.ops\.aten\.([A-Za-z0-9_]+)\.([A-Za-z0-9_]+)")
TYPE = re.compile(r"(List|Optional)\[(.+)\]")
PLAIN_TYPES = frozenset({"Tensor", "int", "float", "bool", "number", "Device"})
CHOICES = frozenset(  # arguments of type str that choose how something is computed
    {
        "approximate",
        "equation",
        "indexing",
        "interpolation",
        "mode",
        "norm",
        "padding",
        "reduce",
        "rounding_mode",
        "side",
    }
)
ASSERTION = "assert_msg"  # text of an error
ARITHMETIC: dict[str, Callable[..., Any]] = {
    f"_operator.{function.__name__}": function
    for function in (
        *(operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv, operator.mod, operator.neg),
        *(operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge, operator.getitem),
    )
}
ARITHMETIC |= {f"torch.sym_{name}": getattr(torch, f"sym_{name}") for name in ("max", "min", "not", "int", "float")}


def operator_named(target: str) -> Callable[..., Any]:
    """Returns the operator that a node of a program names.

    Raises:
        EncoderError: it is not an operator of ATen that only computes.
    """
    if target in ARITHMETIC:
        return ARITHMETIC[target]
    match = NAME.fullmatch(target)
    packet = getattr(torch.ops.aten, match[1], None) if match else None
    found = getattr(packet, match[2], None) if match and isinstance(packet, OpOverloadPacket) else None
    if not isinstance(found, OpOverload) or not _only_computes(found):
        message = (
            f"the program uses {target[:100]}; allowed are operators of ATen (torch.ops.aten) that only compute. "
            "`exported.run_decompositions()` before torch.export.save replaces many others"
        )
        raise EncoderError(message)
    return found


def _only_computes(found: OpOverload) -> bool:
    schema = found._schema  # noqa: SLF001  torch has no public name for it
    arguments = [(argument.name, str(argument.type)) for argument in schema.arguments]
    results = [("", str(result.type)) for result in schema.returns]
    return all(_is_plain(name, type_) for name, type_ in [*arguments, *results])


def _is_plain(name: str, type_: str) -> bool:
    """True for numbers, tensors, and texts that choose a way to compute; also lists of them, or none."""
    while match := TYPE.fullmatch(type_):
        type_ = match[2]
    return type_ in PLAIN_TYPES or type_ == "Generator" or (type_ == "str" and (name in CHOICES or name == ASSERTION))
