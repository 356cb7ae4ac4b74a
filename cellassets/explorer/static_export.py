"""The explorer as a folder of files: opened from disk or from a bucket, without a server.

Every document is a script that hands itself to the page, since a page from `file://` may load scripts but not data.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import polars as pl

from cellassets.access import OpenMap
from cellassets.errors import ExportError
from cellassets.explorer.bundle_files import FILES, bundle_file, page
from cellassets.explorer.documents import Documents
from cellassets.explorer.map_documents import BLOCK_ROWS, n_blocks
from cellassets.explorer.server import report_of
from cellassets.exporting.target import complete_or_absent
from cellassets.progress import Progress, no_progress

MAX_ROWS = 20_000
DATA = "data"


@dataclass(frozen=True)
class Exported:
    """What was written."""

    n_maps: int
    n_documents: int
    n_images: int
    n_bytes: int


def export_explorer(
    documents: Documents,
    target: Path,
    maps: Sequence[tuple[str, str]],
    *,
    n_image_wells: int = 0,
    progress: Progress = no_progress,
) -> Exported:
    """Returns what was written into a new folder, which appears when it is complete.

    Args:
        documents: of the deployment.
        target: new folder.
        maps: dataset and model of each map.
        n_image_wells: wells of each perturbation whose images are written, with as many negative controls of their
            plates; 0 for no images.
        progress: told after every document.

    Raises:
        ArtifactMissing: a map is not published.
        ExportError: a map has more than 20,000 perturbations, or the folder exists or cannot be written.
    """
    opened = [documents.open_map(*keys) for keys in maps]
    for each in opened:
        if each.table.height > MAX_ROWS:
            message = (
                f"the map of {each.dataset_id} by {each.model_key} has {each.table.height} perturbations; a page "
                f"without a server holds {MAX_ROWS} at most: use the server, `cellassets explore`"
            )
            raise ExportError(message)
    images = sorted({path for each in opened for path in image_paths(documents, each, n_image_wells)})
    paths = [path for each in opened for path in map_paths(each)]
    with complete_or_absent(target) as partial:
        partial.mkdir()
        written = _write_page(documents, partial, maps)
        written += _write(partial, "home.json", _front(documents, maps))
        for done, path in enumerate([*paths, *images], start=1):
            written += _write(partial, path, documents.get(path))
            progress(done, len(paths) + len(images), "documents")
    return Exported(len(maps), 1 + len(paths) + len(images), len(images), written)


def map_paths(opened: OpenMap) -> Iterator[str]:
    """Yields the paths of all documents about a map."""
    root = f"maps/{opened.dataset_id}/{opened.model_key}"
    yield f"{root}/index.json"
    yield f"{root}/sets.json"
    for kind in BLOCK_ROWS:
        for block in range(n_blocks(opened.table.height, kind)):
            yield f"{root}/{kind}/{block}.json"


def image_paths(documents: Documents, opened: OpenMap, n_wells: int) -> Iterator[str]:
    """Yields the paths of the images of the first wells of each perturbation, and of controls of the same plates.

    Wells of different plates come first. Every level of detail of the first site of each well is written.
    """
    if not n_wells:
        return
    wells = opened.wells[0].sort("experiment_id", "plate_id", "well_id")
    key = pl.coalesce("gene_symbol", "perturbation_id")
    on_plate = wells.with_columns(turn=pl.int_range(pl.len()).over(key, "experiment_id", "plate_id"))
    treated = on_plate.filter(pl.col("control_kind").is_null()).sort("turn", maintain_order=True)
    chosen = treated.group_by(key, maintain_order=True).head(n_wells)
    plates = chosen.select("experiment_id", "plate_id").unique()
    controls = on_plate.filter(pl.col("control_kind") == "negative").join(
        plates, on=["experiment_id", "plate_id"], how="semi"
    )
    controls = controls.group_by("experiment_id", "plate_id", maintain_order=True).head(n_wells)
    for experiment_id, plate_id in plates.rows():
        yield f"images/{experiment_id}/{plate_id}.json"
    columns = ["experiment_id", "plate_id", "well_id"]
    for experiment_id, plate_id, well_id in pl.concat([chosen.select(columns), controls.select(columns)]).rows():
        place = f"images/{experiment_id}/{plate_id}"
        plate = documents.get(f"{place}.json")
        site = plate["wells"][well_id]["sites"][0]
        for level in range(plate["n_levels"]):
            yield f"{place}/{well_id}/{site}/{level}.json"


def _front(documents: Documents, maps: Sequence[tuple[str, str]]) -> dict[str, object]:
    front = documents.front()
    chosen = [line for line in front["maps"] if (line["dataset_id"], line["model_key"]) in maps]
    for line in chosen:
        if line["links"]["report"]:
            line["links"]["report"] += ".html"
    return {**front, "maps": chosen}


def _write_page(documents: Documents, folder: Path, maps: Sequence[tuple[str, str]]) -> int:
    """Writes the page and the reports of the models; returns the number of bytes."""
    content = {"index.html": page(is_static=True).encode(), **{name: bundle_file(name) for name in FILES}}
    records = documents.home.deployment.lake.records()
    for model_key in sorted({model for _, model in maps}):
        if records.find("model_report", model_key) is not None:
            content[f"reports/{model_key}.html"] = report_of(documents, model_key)
    for name, each in content.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(each)
    return sum(len(each) for each in content.values())


def _write(folder: Path, path: str, document: dict[str, object]) -> int:
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    content = f"cellassetsDocument({json.dumps(path)},{text});\n".encode()
    target = folder / DATA / f"{quote(path)}.js"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return len(content)
