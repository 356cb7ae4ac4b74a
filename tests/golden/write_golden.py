"""Writes the golden values: `python tests/golden/write_golden.py [--into FOLDER] [--sets simulated screen]`.

Without --into they are written over the stored ones in tests/golden/data: to be done only where values are meant to
change, with the reason in the commit message. The tests run this script too, into a folder of their own.

Every number is stored to the last bit: floats by float.hex(), vectors of more than `MAX_WHOLE` values by a digest of
all of them and the first three. The last bits of exp, log and of matrix products depend on the processor's
instructions: with AVX-512 instead of AVX2 the store's channel_std, the full-precision focus of quality and texture
features differ (measured; what is made of simulated wells does not). Threads made no difference (OpenMP and OpenBLAS,
polars: one or two). To be the same on every x86-64 server, the values are computed by a process of its own in which
numpy and OpenBLAS are held to the instructions of Haswell (AVX2) and to one thread. On other architectures the values
may differ in the last bits.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
SETS = ("simulated", "screen")
PINNED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
MAX_WHOLE = 8


def main() -> None:
    """Computes the sets in a pinned process and writes a JSON file a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--into", type=Path, default=DATA)
    parser.add_argument("--as-is", action="store_true", help="do not pin threads and instructions")
    chosen = parser.parse_args()
    if not chosen.as_is:
        root = str(Path(__file__).parents[2])
        paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, __file__, "--as-is", "--into", str(chosen.into), "--sets", *chosen.sets]
        raise SystemExit(subprocess.call(command, env={**os.environ, **PINNED, "PYTHONPATH": paths}))
    for name in chosen.sets:
        write_set(name, chosen.into)


def write_set(name: str, folder: Path) -> None:
    """Computes the tables of one set and writes them, after removing those of an earlier run."""
    import driver

    tables = {"simulated": driver.simulated_tables, "screen": driver.screen_tables}[name]()
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"{name}.*.json"):
        path.unlink()
    for table_name, table in tables.items():
        (folder / f"{name}.{table_name}.json").write_text(encode(table))


def encode(table: Any) -> str:
    """Returns a polars table as JSON text, one line per row; a column with one value in all rows is written once."""
    cells = {name: [as_text(value) for value in table[name].to_list()] for name in table.columns}
    constant = {name: values[0] for name, values in cells.items() if table.height > 1 and len(set(values)) == 1}
    varying = [name for name in table.columns if name not in constant]
    rows = ",\n".join(json.dumps(row) for row in zip(*(cells[name] for name in varying), strict=True))
    head = {
        "types": {name: str(table.schema[name]) for name in table.columns},
        "n_rows": table.height,
        "in_every_row": constant,
        "columns": varying,
    }
    return f'{json.dumps(head)[:-1]},\n"rows": [\n{rows}\n]}}\n'


def decode(text: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Returns the columns' types and the rows of a table that `encode` wrote."""
    stored = json.loads(text)
    rows = [{**stored["in_every_row"], **dict(zip(stored["columns"], row, strict=True))} for row in stored["rows"]]
    return stored["types"], rows or [stored["in_every_row"]] * stored["n_rows"]


def as_text(value: Any) -> Any:
    """Returns a cell as JSON can hold it to the last bit."""
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, list):
        whole = [as_text(one) for one in value]
        if len(whole) <= MAX_WHOLE:
            return " ".join(map(str, whole))
        digest = hashlib.sha256(" ".join(map(str, whole)).encode()).hexdigest()[:16]
        return f"{len(whole)} values {digest} {' '.join(map(str, whole[:3]))} ..."
    return value


if __name__ == "__main__":
    main()
