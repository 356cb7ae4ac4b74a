"""Names of variants: readable, valid partition keys, and the same whatever other variants there are.

optimiser.learning_rate: 0.003, loss.arcface_weight: 0.5  ->  resnet_wide-lr3e-3-arcface0.5
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

MAX_LENGTH = 100  # of a name; file systems and Kubernetes allow more for what is made of it
N_HASH = 6
SHORT = {
    "learning_rate": "lr",
    "weight_decay": "wd",
    "cross_entropy_weight": "ce",
    "arcface_weight": "arcface",
    "arcface_margin_rad": "margin",
    "batch_size": "batch",
    "embedding_dim": "dim",
    "label_smoothing": "smoothing",
    "n_epochs": "epochs",
    "warmup_frac": "warmup",
    "crop_px": "crop",
    "patch_px": "patch",
    "ema_decay": "ema",
    "has_flips": "flips",
    "has_turns": "turns",
}


def variant_name(family: str, values: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Returns the name of a variant.

    A hash of the values ends it where it would be too long, or would not show the values exactly.

    Args:
        family: name of the recipe file.
        values: values by key of the recipe.
        keys: all keys that the search varies; two with the same last part are shown with the part before it.
    """
    shown = [_part(_short(key, keys), value) for key, value in values.items()]
    name = "-".join([family, *(text for text, _ in shown)])
    if len(name) <= MAX_LENGTH and all(is_exact for _, is_exact in shown):
        return name
    digest = hashlib.sha256(json.dumps(dict(values), sort_keys=True).encode()).hexdigest()[:N_HASH]
    return f"{name[: MAX_LENGTH - N_HASH - 1].rstrip('.-')}-{digest}"


def shown_value(value: Any) -> str:
    """Returns a value as the table of variants shows it."""
    if isinstance(value, bool | None | str):
        return {True: "true", False: "false", None: "null"}.get(value, str(value))  # type: ignore[arg-type]
    return _number(value) if isinstance(value, int | float) else json.dumps(value)


def _short(key: str, keys: Sequence[str]) -> str:
    *outer, last = key.split(".")
    is_shared = sum(other.rpartition(".")[2] == last for other in keys) > 1
    short = SHORT.get(last, last)
    return "_".join([*outer[-1:], short]) if is_shared else short


def _part(short: str, value: Any) -> tuple[str, bool]:
    """The part of a name for one value, and whether it shows the value exactly."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{short}{_number(value)}", True
    if isinstance(value, list | tuple) and value and all(type(item) in (int, float) for item in value):
        return f"{short}{'x'.join(_number(item) for item in value)}", True
    text = shown_value(value)
    clean = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_")
    return f"{short}_{clean}", clean == text


def _number(value: int | float) -> str:  # noqa: PYI041  the tests check types strictly
    """Returns a number as short as it can be written: 0.5, 32, 3e-3."""
    if isinstance(value, int) or value == 0 or 0.01 <= abs(value) < 1e4:
        return repr(value)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    first, *others = map(str, digits)
    mantissa = f"{first}.{''.join(others)}" if others else first
    return f"{'-' * sign}{mantissa}e{int(exponent) + len(others)}"
