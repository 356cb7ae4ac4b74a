"""What a table holds, as a short hash."""

import hashlib
import json

import polars as pl


def frame_fingerprint(frame: pl.DataFrame) -> str:
    """Returns the fingerprint of a table's column names, types and rows, whatever the order of its rows."""
    ordered = frame.select(sorted(frame.columns))
    ordered = ordered.sort(ordered.columns, nulls_last=True)
    digest = hashlib.sha256(json.dumps({k: str(v) for k, v in ordered.schema.items()}).encode())
    digest.update(ordered.write_csv(float_precision=9).encode())
    return digest.hexdigest()[:32]
