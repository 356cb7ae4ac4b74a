"""`cellassets annotation`: known biology that maps are judged against."""

from pathlib import Path

import typer

from cellassets.cli.options import HomeOption, JsonOption, deployment_at
from cellassets.cli.output import show_rows

app = typer.Typer(no_args_is_help=True, help="Known relationships to judge maps on.")


@app.command("add")
def add_annotation(source: Path, home: HomeOption = None) -> None:
    """Adds a table of pairs, sets (also GMT), targets or chromosome arms as a source that maps are judged against."""
    from upath import UPath

    from cellassets.errors import AnnotationError
    from cellassets.knowledge.annotation_files import read_source
    from cellassets.knowledge.annotations import SUFFIXES, annotation_files
    from cellassets.storage.artifact import write_bytes

    if source.suffix not in SUFFIXES:
        message = f"{source}: suffix {source.suffix!r}; expected one of {', '.join(SUFFIXES)}: rename the file"
        raise AnnotationError(message)
    read_source(UPath(source))
    folder = deployment_at(home).lake.annotations
    target = folder / source.name
    known = annotation_files(folder).get(source.stem)
    if known is not None and known.name != source.name:
        message = f"{source}: there is a source of this name already, {known}; rename the file"
        raise AnnotationError(message)
    write_bytes(target, source.read_bytes())
    typer.echo(str(target))


@app.command("list")
def list_annotations(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Lists the sources."""
    from cellassets.knowledge.annotation_files import source_kind
    from cellassets.knowledge.annotations import annotation_files

    files = annotation_files(deployment_at(home).lake.annotations)
    rows = [{"name": name, "kind": source_kind(path) or "unknown", "path": str(path)} for name, path in files.items()]
    show_rows(rows, as_json=as_json, empty="There is no source yet. Add one with `cellassets annotation add FILE`.")
