"""Fingerprints: what a thing was made from, as a short hash.

A fingerprint covers the inputs' fingerprints, the parameters and the code version. Equal fingerprint, equal thing.
Nothing here touches a file.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from cellassets.errors import PartitionKeyError

MAX_KEY_LENGTH = 200  # it becomes the name of folders and files, which may have 255 characters
KEY_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Returns the fingerprint of named parts: 32 hexadecimal digits.

    Args:
        parts: JSON-like values, pydantic models and nested mappings of them. The order of keys does not matter.

    Raises:
        TypeError: a part is not JSON-like, so that nothing is hashed by its memory address.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_plain, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def check_partition_key(key: str, what: str) -> str:
    """Returns `key` where it can be a partition key.

    Dagster does not validate dynamic keys: one with a comma, `|` or a line break is accepted and breaks later.

    Raises:
        PartitionKeyError: naming the key and the characters that are allowed.
    """
    if len(key) > MAX_KEY_LENGTH:
        message = f"{what} {key[:20]}… has {len(key)} characters; expected at most {MAX_KEY_LENGTH}"
        raise PartitionKeyError(message)
    if not KEY_PATTERN.fullmatch(key) or ".." in key:
        message = f"{what} {key!r} cannot be a partition key: use letters, digits, '_', '-' and single '.' only"
        raise PartitionKeyError(message)
    return key


def check_model_name(name: str) -> str:
    """Returns the name of a model where it can be part of a model key.

    Raises:
        PartitionKeyError: naming the name and the characters that are allowed.
    """
    if len(name) > MAX_KEY_LENGTH:
        message = f"the name {name[:20]}… of a model has {len(name)} characters; expected at most {MAX_KEY_LENGTH}"
        raise PartitionKeyError(message)
    if not KEY_PATTERN.fullmatch(name):
        message = f"{name!r} cannot be part of a model key: use letters, digits, '_', '-' and '.'"
        raise PartitionKeyError(message)
    return name


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    message = f"cannot fingerprint a {type(value).__name__}"
    raise TypeError(message)
