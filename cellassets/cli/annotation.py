"""`cellassets annotation`: known biology that maps are judged against."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cellassets.cli.annotation_install import covered_datasets, install, warn_of_no_match
from cellassets.cli.options import HomeOption, JsonOption, deployment_at
from cellassets.cli.output import show_rows

if TYPE_CHECKING:
    from upath import UPath

    from cellassets.knowledge.annotation_files import Source
    from cellassets.knowledge.installed_sources import InstalledSource
    from cellassets.knowledge.packs import Pack

app = typer.Typer(no_args_is_help=True, help="Known relationships to judge maps on.")
app.command("install")(install)


@app.command("add")
def add_annotation(source: Path, home: HomeOption = None) -> None:
    """Adds a table of pairs, sets (also GMT), targets or chromosome arms as a source that maps are judged against."""
    from cellassets.errors import AnnotationError
    from cellassets.knowledge.annotations import SUFFIXES, annotation_files
    from cellassets.storage.artifact import write_bytes

    if source.suffix not in SUFFIXES:
        message = f"{source}: suffix {source.suffix!r}; expected one of {', '.join(SUFFIXES)}: rename the file"
        raise AnnotationError(message)
    found = _read(source)
    deployment = deployment_at(home)
    folder = deployment.lake.annotations
    target = folder / source.name
    known = annotation_files(folder).get(source.stem)
    if known is not None and known.name != source.name:
        message = f"{source}: there is a source of this name already, {known}; rename the file"
        raise AnnotationError(message)
    write_bytes(target, source.read_bytes())
    warn_of_no_match(source.stem, covered_datasets(deployment, found))
    typer.echo(str(target))


@app.command("list")
def list_annotations(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Lists the sources of the lake, and the packs that can be installed, with versions and licences."""
    from cellassets.knowledge.installed_sources import installed_sources
    from cellassets.knowledge.packs import packs

    found = installed_sources(deployment_at(home).lake.annotations)
    rows = [_source_row(source) for source in found.values()]
    rows += [_pack_row(pack) for name, pack in packs().items() if name not in found]
    if not found and not as_json:
        typer.echo(
            "There is no source yet. Install one of these packs with `cellassets annotation install NAME`, or add a "
            "table of your own with `cellassets annotation add FILE`."
        )
    show_rows(rows, as_json=as_json, empty="")


@app.command("remove")
def remove_annotation(name: str, home: HomeOption = None) -> None:
    """Removes a source from the lake. Scores that were computed with it become stale."""
    from cellassets.knowledge.installed_sources import remove_source

    typer.echo(f"removed {remove_source(deployment_at(home).lake.annotations, name)}")


def _read(source: Path) -> "Source":
    """The source in a file; a file that cannot be opened or is not a table of annotations is refused."""
    from upath import UPath

    from cellassets.errors import AnnotationError
    from cellassets.knowledge.annotation_files import read_source

    try:
        return read_source(UPath(source))
    except OSError as error:
        message = f"{source}: cannot be read ({error.strerror}); expected a file with a table of annotations"
        raise AnnotationError(message) from error


def _source_row(source: "InstalledSource") -> dict[str, Any]:
    found = source.provenance
    state = "installed" if found is not None else "changed after installation" if source.is_changed else "added"
    kind, n_rows = _kind_and_rows(source.path)
    return {
        "name": source.name,
        "state": state,
        "kind": kind,
        "n_rows": n_rows,
        "licence": "not recorded" if found is None else found.licence.describe(),
        "version": None if found is None else found.version,
        "path": str(source.path),
    }


def _kind_and_rows(path: "UPath") -> tuple[str, int | None]:
    from cellassets.errors import AnnotationError
    from cellassets.knowledge.annotation_files import read_source

    try:
        source = read_source(path)
    except AnnotationError:
        return "unknown", None
    return source.kind, source.rows.height


def _pack_row(pack: "Pack") -> dict[str, Any]:
    return {
        "name": pack.name,
        "state": "available",
        "kind": pack.kind,
        "n_rows": pack.n_rows,
        "licence": pack.licence.describe(),
        "version": pack.version,
        "path": None,
    }
