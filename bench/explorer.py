"""The server of the explorer on a map of 20,000 perturbations of 1,024 dimensions.

A deployment is made with such a map, its hits, 80,000 wells and 2,000 annotated sets, and `cellassets explore` is
started on it. Limits, on a laptop: a query below 200 ms, memory of the server below 1.5 GiB.

- `server`: milliseconds from a request to its last byte, for the documents that a view needs, median and largest.
- `memory_mib`: the largest resident memory of the server.

Prints JSON, and writes it to bench/results/explorer.json.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import RootModel

from cellassets.explorer.map_documents import BLOCK_ROWS
from cellassets.mapping.build import MapParameters
from cellassets.mapping.summary import PerturbationMapSummary
from cellassets.storage.deployment import Deployment
from cellassets.storage.plan import Plan
from cellassets.tables.parquet import with_vectors, write_tables
from cellassets.tables.schema import TableSchema
from cellassets.tables.schemas import CLUSTERS, ENRICHMENT, HITS, MAP_POINTS, PERTURBATION_MAP, WELL_EMBEDDINGS

RESULT = Path(__file__).parent / "results" / "explorer.json"
DATASET, MODEL = "BIG", "net.v1"
N_SETS, SET_SIZE, N_WELLS = 2000, 10, 4
LIMITS = {"query_ms": 200.0, "memory_mib": 1536}
N_QUERIES = 20
Tables = dict[str, tuple[pl.DataFrame, TableSchema]]


def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--perturbations", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, default=1024)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "big"
        write_home(home, chosen.perturbations, chosen.dimensions)
        result: dict[str, Any] = {
            "map": f"{chosen.perturbations} perturbations x {chosen.dimensions}, {N_WELLS} wells each",
            "load_average": round(os.getloadavg()[0], 1),
            "limits_below": LIMITS,
        }
        with served(home) as (address, memory_mib):
            result["server"] = server_times(address, chosen.perturbations)
            result["memory_mib"] = round(memory_mib())
    text = json.dumps(result, indent=1)
    print(text)
    RESULT.write_text(text + "\n")


def write_home(home: Path, n_rows: int, n_dimensions: int) -> None:
    """Publishes a map with planted sets, its wells, hits and points."""
    rng = np.random.default_rng(0)
    (home / "landing").mkdir(parents=True)
    deployment = Deployment.of({}, home=home)
    names = [f"GENE{number:05d}" for number in range(n_rows)]
    group = np.arange(n_rows) // SET_SIZE % N_SETS
    centres = rng.normal(size=(N_SETS, n_dimensions)).astype(np.float32)
    values = 0.7 * centres[group] + rng.standard_normal((n_rows, n_dimensions), dtype=np.float32)
    labels = _labels(names)
    table = with_vectors(labels.with_columns(n_wells=pl.lit(N_WELLS), n_batches=pl.lit(2)), values)
    _publish(deployment, "perturbation_map", map_tables(table, labels, values, rng), summary_of(n_rows, n_dimensions))
    hits = table.drop("embedding").with_columns(is_active=pl.lit(value=True), distance_sd=pl.lit(3.0))
    _publish(deployment, "active_perturbations", {"hits.parquet": (_filled(hits, HITS), HITS)}, RootModel({}))
    places = values @ rng.normal(size=(n_dimensions, 2)).astype(np.float32)
    points = table.select("perturbation_id").with_columns(
        x=pl.Series(places[:, 0]), y=pl.Series(places[:, 1]), agreement=pl.lit(0.5)
    )
    clusters = {
        "points.parquet": (_filled(points, MAP_POINTS), MAP_POINTS),
        "clusters.parquet": (CLUSTERS.empty(), CLUSTERS),
        "enrichment.parquet": (ENRICHMENT.empty(), ENRICHMENT),
    }
    _publish(deployment, "map_clusters", clusters, RootModel({}))
    annotations = Path(str(deployment.lake.annotations))
    annotations.mkdir(parents=True)
    sets = pl.DataFrame({"set_id": [f"set{number:04d}" for number in group], "member": names})
    sets.write_csv(annotations / "planted.csv")


def map_tables(table: pl.DataFrame, labels: pl.DataFrame, values: np.ndarray, rng: np.random.Generator) -> Tables:
    """Returns the tables of the map: its rows, and the wells that they are the means of, nearly."""
    wells = pl.concat(
        [
            labels.with_columns(
                experiment_id=pl.lit(f"BIG-{turn + 1}"), plate_id=pl.lit("Plate1"), batch_id=pl.lit(f"BIG-{turn + 1}"),
                well_id=pl.Series([f"A{row % 24 + 1:02d}" for row in range(labels.height)]),
                cell_type=pl.lit("BIG"), n_sites=pl.lit(2),
            )
            for turn in range(N_WELLS)
        ]
    )  # fmt: skip
    noisy = np.concatenate([values + rng.standard_normal(values.shape, dtype=np.float32) for _ in range(N_WELLS)])
    return {
        "map.parquet": (_filled(table, PERTURBATION_MAP), PERTURBATION_MAP),
        "wells.parquet": (_filled(with_vectors(wells, noisy), WELL_EMBEDDINGS), WELL_EMBEDDINGS),
    }


def summary_of(n_rows: int, n_dimensions: int) -> PerturbationMapSummary:
    """Returns the summary of the map."""
    return PerturbationMapSummary(
        dataset_fingerprint="a", protocol_fingerprint="b", experiments=("BIG-1",), cell_types=("BIG",),
        n_perturbations=n_rows, n_wells=n_rows * N_WELLS, n_wells_dropped=0, n_sites_flagged=0, n_batches=N_WELLS,
        one_place_frac=0.0, n_controls_held_out=0, embedding_dim=n_dimensions, has_position_step=False, batch_effect={},
    )  # fmt: skip


@contextmanager
def served(home: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    """Yields the address of a running explorer, and a function for the peak of its memory in MiB."""
    command = [
        sys.executable,
        "-c",
        "from cellassets.cli import main; main()",
        "explore",
        "--home",
        str(home),
        "--port",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = "" if process.stdout is None else process.stdout.readline()
            address = re.search(r"http://\S+", line)
            if address is None:
                message = f"the explorer did not start: {line}"
                raise RuntimeError(message)
            status = Path(f"/proc/{process.pid}/status")
            yield address[0], lambda: int(re.findall(r"VmHWM:\s+(\d+)", status.read_text())[0]) / 1024
        finally:
            process.terminate()


def server_times(address: str, n_rows: int) -> dict[str, dict[str, float]]:
    """Returns the milliseconds of requests of each kind of document; the first one opens the map or its wells."""
    root = f"{address}api/maps/{DATASET}/{MODEL}"
    blocks = BLOCK_ROWS
    rows = np.random.default_rng(1).integers(n_rows, size=N_QUERIES)
    found = {"index": _times([f"{root}/index.json"] * 4)}
    for kind, size in blocks.items():
        found[kind] = _times([f"{root}/{kind}/{row // size}.json" for row in rows])
    return found


def _times(urls: list[str]) -> dict[str, float]:
    times = []
    for url in urls:
        start = time.perf_counter()
        with urllib.request.urlopen(url, timeout=120) as answer:  # noqa: S310
            answer.read()
        times.append(1000 * (time.perf_counter() - start))
    return {"first_ms": round(times[0], 1), "median_ms": round(statistics.median(times[1:]), 1),
            "largest_ms": round(max(times[1:]), 1)}  # fmt: skip


def _labels(names: list[str]) -> pl.DataFrame:
    columns = {
        "perturbation_id": names, "perturbation_kind": ["gene"] * len(names), "gene_symbol": names,
        "guide_id": [f"{name}_g1" for name in names],
    }  # fmt: skip
    return pl.DataFrame(columns)


def _filled(table: pl.DataFrame, schema: TableSchema) -> pl.DataFrame:
    """The table with the columns of a schema: the deployment's labels, and nulls or zeros where nothing is known."""
    labels = {"dataset_id": DATASET, "model_key": MODEL}
    missing = [column for column in schema.columns if column.name not in table.columns]
    added = [
        pl.lit(labels.get(column.name, None if column.is_nullable else "-"), column.dtype).alias(column.name)
        for column in missing
    ]
    return schema.conform(table.with_columns(added), source=schema.name)


def _publish(deployment: Deployment, kind: str, tables: Tables, summary: Any) -> None:
    inputs = {"parameters": MapParameters().model_dump(mode="json")}
    with deployment.lake.draft(Plan(kind, (DATASET, MODEL), inputs)) as draft:
        draft.publish(write_tables(tables, draft.folder), summary)


if __name__ == "__main__":
    main()
