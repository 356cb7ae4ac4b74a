"""Reads the archive of `torch.export.save` as data: JSON and the raw bytes of tensors. Nothing is unpickled.

`torch.export.load` is not used. In torch 2.13 it opens pickles without a restriction (weights and constants that are
marked so, opaque objects, and example inputs after a first attempt), evaluates symbolic expressions as Python, and
looks up operators anywhere below `torch`, so that a graph can name `torch.os.system`.

Source: torch/_export/serde/schema.py and torch/export/pt2_archive of torch 2.13, schema version 8.
"""

import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cellassets.errors import EncoderError

SCHEMA_MAJOR = 8
MAX_JSON_BYTES = 256 << 20
GRAPH_NAME = "models/model.json"
HOLDERS = {"weights": "data/weights/", "constants": "data/constants/"}
# Source: ScalarType of the schema
DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}


@dataclass(frozen=True)
class Archive:
    """The content of an archive.

    Attributes:
        graph: `graph_module` of the JSON, not checked.
        tensors: weights, buffers and constants by the names that the signature of the graph uses.
        torch_version: the release of torch that wrote it, as it says.
    """

    graph: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    torch_version: str


def read_archive(path: Path) -> Archive:
    """Returns the content of a `.pt2` archive.

    Raises:
        EncoderError: it is not an archive of a known version, or it has something that only a pickle could hold.
    """
    try:
        with zipfile.ZipFile(path) as opened:
            return _read(path, opened)
    except (
        OSError,
        zipfile.BadZipFile,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        RecursionError,
    ) as error:
        if isinstance(error, EncoderError):
            raise
        message = f"{path}: not an archive of torch.export.save that can be read ({type(error).__name__}: {error})"
        raise EncoderError(message) from error


def _read(path: Path, opened: zipfile.ZipFile) -> Archive:
    entries = {info.filename.partition("/")[2]: info for info in opened.infolist()}
    if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in entries.values()):
        message = f"{path}: has compressed or encrypted entries; torch.export.save writes none"
        raise EncoderError(message)
    if GRAPH_NAME not in entries:
        found = ", ".join(sorted(entries)[:5]) or "nothing"
        message = (
            f"{path}: no {GRAPH_NAME} ({found}); expected the file of torch.export.save, and not of torch.save, "
            "torch.jit.save or of torch before 2.8"
        )
        raise EncoderError(message)
    described = _json(opened, entries[GRAPH_NAME])
    major = described["schema_version"]["major"]
    if major != SCHEMA_MAJOR:
        message = (
            f"{path}: schema version {major}, of torch {described.get('torch_version')}; expected {SCHEMA_MAJOR}: "
            f"export it again with torch {torch.__version__.partition('+')[0]}"
        )
        raise EncoderError(message)
    tensors: dict[str, torch.Tensor] = {}
    for holder, folder in HOLDERS.items():
        config = _json(opened, entries[f"{folder}model_{holder}_config.json"])["config"]
        for name, payload in config.items():
            tensors[name] = _tensor(path, opened, entries, folder, (name, payload))
    return Archive(described["graph_module"], tensors, str(described.get("torch_version")))


def _json(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    if info.file_size > MAX_JSON_BYTES:
        message = f"{info.filename}: {info.file_size:,} bytes; expected at most {MAX_JSON_BYTES:,}"
        raise ValueError(message)
    return json.loads(opened.read(info))


def _tensor(
    path: Path,
    opened: zipfile.ZipFile,
    entries: dict[str, zipfile.ZipInfo],
    folder: str,
    named: tuple[str, dict[str, Any]],
) -> torch.Tensor:
    """A tensor from its raw bytes."""
    name, payload = named
    meta = payload["tensor_meta"]
    if payload["use_pickle"] or meta is None or not payload["path_name"].startswith(("weight_", "tensor_")):
        message = (
            f"{path}: {name} is stored as a pickle or is not a tensor, and pickles are never opened; export the model "
            "with plain tensors only"
        )
        raise EncoderError(message)
    if meta["dtype"] not in DTYPES or meta["layout"] != 7:  # strided
        message = f"{path}: {name} has a type or layout of numbers that is not supported here"
        raise EncoderError(message)
    content = bytearray(opened.read(entries[folder + payload["path_name"]]))
    sizes, strides = ([int(side["as_int"]) for side in meta[key]] for key in ("sizes", "strides"))
    offset, dtype = int(meta["storage_offset"]["as_int"]), DTYPES[meta["dtype"]]
    if not content:
        return torch.empty(sizes if math.prod(sizes) == 0 else [0], dtype=dtype)
    flat = torch.frombuffer(content, dtype=dtype)
    return torch.as_strided(flat, sizes, strides, offset)
