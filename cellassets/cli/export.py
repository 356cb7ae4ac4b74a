"""`cellassets export`: images and vectors in formats that other programs open."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellassets.cli.options import HomeOption, JsonOption, deployment_at
from cellassets.cli.output import progress_bar, show_json

if TYPE_CHECKING:
    import polars as pl

    from cellassets.storage.lake import Published
    from cellassets.tables.schema import TableSchema

app = typer.Typer(no_args_is_help=True, help="Images and vectors for other programs.")
vectors = typer.Typer(no_args_is_help=True, help="Vectors with their metadata as AnnData, for scanpy and others.")
app.add_typer(vectors, name="anndata")

WELL_KEYS = ["experiment_id", "plate_id", "well_id"]
VectorsTarget = Annotated[str, typer.Argument(help="New file .h5ad, or new folder .zarr.")]


@app.command(
    "ome-zarr",
    epilog="Example: `cellassets export ome-zarr HUVEC-1 Plate1/B07 B07.ome.zarr` exports the sites of one well.",
)
def export_images(
    experiment_id: str,
    place: Annotated[str, typer.Argument(help="A plate, a well or a site: Plate1, Plate1/B07 or Plate1/B07/2.")],
    target: Annotated[str, typer.Argument(help="New folder, such as Plate1.ome.zarr.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Writes a plate, a well or a site as OME-Zarr 0.5 with image pyramids, for napari and others."""
    from cellassets.exporting.ome_zarr import export_ome_zarr
    from cellassets.exporting.selection import Place
    from cellassets.exporting.target import local_target
    from cellassets.images.reader import ExperimentStore

    folder, chosen = local_target(target), Place.of(place)
    published = deployment_at(home).lake.current("plate_store", experiment_id)
    store = ExperimentStore.open(published.folder, published.record.files, experiment_id)
    with progress_bar() as report:
        made = export_ome_zarr(store, chosen, folder, source=_source(published), progress=report)
    text = f"{folder}: {made.n_wells} wells, {made.n_sites} sites, {made.n_files} files, {made.n_bytes} bytes"
    _show({"target": str(folder), **dataclasses.asdict(made)}, text, as_json=as_json)


@vectors.command("map")
def export_map(
    dataset_id: str, model_key: str, target: VectorsTarget, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Writes a map: one row per perturbation."""
    from cellassets.tables.schemas import PERTURBATION_MAP

    path = _checked(target)
    published = deployment_at(home).lake.current("perturbation_map", dataset_id, model_key)
    table, source = _table(published, "map.parquet", PERTURBATION_MAP)
    _write(table, path, ["perturbation_id"], source, as_json=as_json)


@vectors.command("wells")
def export_wells(
    dataset_id: str,
    model_key: str,
    target: VectorsTarget,
    is_raw: Annotated[bool, typer.Option("--raw", help="The vectors before alignment instead.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Writes the aligned wells that a map was made from: one row per well."""
    from cellassets.tables.schemas import WELL_EMBEDDINGS

    path = _checked(target)
    published = deployment_at(home).lake.current("perturbation_map", dataset_id, model_key)
    table, source = _table(published, "wells_raw.parquet" if is_raw else "wells.parquet", WELL_EMBEDDINGS)
    _write(table, path, WELL_KEYS, source, as_json=as_json)


@vectors.command("sites")
def export_sites(
    experiment_id: str, model_key: str, target: VectorsTarget, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Writes the embeddings of an experiment: one row per site, with what was done to its well."""
    from cellassets.tables.parquet import read_table, read_tables
    from cellassets.tables.schemas import SITE_EMBEDDINGS, WELLS

    path, lake = _checked(target), deployment_at(home).lake
    published = lake.current("site_embeddings", experiment_id, model_key)
    sites = read_tables([published.file(name) for name in published.names], SITE_EMBEDDINGS)
    wells = read_table(lake.current("plate_store", experiment_id).file("wells.parquet"), WELLS)
    table = sites.join(wells, on=WELL_KEYS, how="left", maintain_order="left")
    source = {**_source(published), "experiment_id": experiment_id, "model_key": model_key}
    _write(table, path, [*WELL_KEYS, "site_index"], source, as_json=as_json)


def _checked(target: str) -> Path:
    """Returns the path of an AnnData export, before anything is read."""
    from cellassets.exporting.target import local_target
    from cellassets.tables.anndata_package import SUFFIXES, require_anndata

    require_anndata()
    return local_target(target, SUFFIXES)


def _table(published: "Published", name: str, schema: "TableSchema") -> tuple["pl.DataFrame", dict[str, Any]]:
    """Returns one table of a map's publication, and where it comes from."""
    from cellassets.tables.parquet import read_table

    dataset_id, model_key = published.record.keys
    source = {**_source(published), "dataset_id": dataset_id, "model_key": model_key, "table": name}
    return read_table(published.file(name), schema), source


def _write(
    table: "pl.DataFrame", path: Path, name_columns: list[str], source: dict[str, Any], *, as_json: bool
) -> None:
    from cellassets.exporting.vectors import export_anndata

    n_rows, n_features = export_anndata(table, path, name_columns=name_columns, source=source)
    made = {"target": str(path), "n_rows": n_rows, "n_features": n_features}
    _show(made, f"{path}: {n_rows} rows, {n_features} features", as_json=as_json)


def _show(made: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        show_json(made)
    else:
        typer.echo(text)


def _source(published: "Published") -> dict[str, Any]:
    """Returns where an export comes from: the artefact, its fingerprint, and the version of cellassets."""
    from importlib.metadata import version

    record = published.record
    return {
        "asset": record.kind,
        "keys": list(record.keys),
        "fingerprint": record.fingerprint,
        "generation": record.generation,
        "cellassets_version": version("cellassets"),
    }
