"""Fingerprint of a table's content: a short hash."""

import hashlib
import json

import polars as pl


def frame_fingerprint(frame: pl.DataFrame) -> str:
    """Returns the fingerprint of a table's column names, types and rows: 32 hexadecimal digits.

    The order of rows and columns makes no difference. Floating-point values count with 9 decimal places.
    """
    ordered = frame.select(sorted(frame.columns))
    ordered = ordered.sort(ordered.columns, nulls_last=True)
    digest = hashlib.sha256(json.dumps({k: str(v) for k, v in ordered.schema.items()}).encode())
    digest.update(ordered.write_csv(float_precision=9).encode())
    return digest.hexdigest()[:32]
