"""`cellassets explore`: the map explorer in a browser, or as a folder of files."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cellassets.cli.options import HomeOption, JsonOption, deployment_at
from cellassets.cli.output import progress_bar, show_json

if TYPE_CHECKING:
    from cellassets.access import OpenHome

EXAMPLE = (
    "Example: `cellassets explore --home demo --open`. Without a server: `cellassets explore --home demo --static map "
    "--map HUVEC/resnet_ce.v1 --images 2`, then open map/index.html."
)


def explore(  # noqa: PLR0913
    home: HomeOption = None,
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen on. There is no login: keep it on loopback.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 chooses a free one.")] = 3001,
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", help="A further name under which it may be asked, such as that of a proxy."),
    ] = None,
    is_opened: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    static: Annotated[
        Path | None, typer.Option("--static", help="Write it into this new folder instead; it needs no server then.")
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", help="With --static: a map, as DATASET/MODEL; all maps of active models by default."),
    ] = None,
    n_image_wells: Annotated[
        int,
        typer.Option("--images", min=0, help="With --static: wells per perturbation whose images are written."),
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Shows maps in a browser: neighbours, images, replicates, doses, and what is enriched in a group."""
    from cellassets.access import OpenHome

    opened = OpenHome(deployment_at(home))
    if static is not None:
        _export(opened, static, maps or [], n_image_wells, as_json=as_json)
        return
    if maps or n_image_wells:
        message = "--map and --images belong to --static"
        raise typer.BadParameter(message)
    _serve(opened, host, port, allowed_hosts or [], is_opened=is_opened)


def _serve(opened: "OpenHome", host: str, port: int, allowed: list[str], *, is_opened: bool) -> None:
    from cellassets.explorer.documents import Documents
    from cellassets.explorer.server import listening, serve

    with listening(host, port) as (socket, address):
        typer.echo(f"The explorer is at {address} (Ctrl+C stops it)")
        if is_opened:
            typer.launch(address)
        serve(Documents(opened), socket, hosts=[host, *allowed])


def _export(opened: "OpenHome", target: Path, asked: list[str], n_image_wells: int, *, as_json: bool) -> None:
    from cellassets.explorer.documents import Documents
    from cellassets.explorer.static_export import export_explorer
    from cellassets.exporting.target import local_target

    chosen = [_keys(name) for name in asked] or [tuple(row) for row in opened.maps()["dataset_id", "model_key"].rows()]
    with progress_bar() as report:
        made = export_explorer(
            Documents(opened), local_target(str(target)), chosen, n_image_wells=n_image_wells, progress=report
        )
    if as_json:
        show_json({"target": str(target), **dataclasses.asdict(made)})
    else:
        typer.echo(
            f"{target}: {made.n_maps} maps in {made.n_documents} documents, {made.n_images} of them images, "
            f"{made.n_bytes / 1e6:.1f} MB. Open {target / 'index.html'} in a browser."
        )


def _keys(name: str) -> tuple[str, str]:
    dataset_id, separator, model_key = name.partition("/")
    if not (dataset_id and separator and model_key):
        message = f"--map {name!r}: expected DATASET/MODEL, such as HUVEC/resnet_ce.v1"
        raise typer.BadParameter(message)
    return dataset_id, model_key
