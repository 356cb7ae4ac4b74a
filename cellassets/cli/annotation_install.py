"""`cellassets annotation install`: a source of the literature, after its licence was shown and accepted."""

import getpass
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellassets.cli.options import HomeOption, JsonOption, deployment_at
from cellassets.cli.output import show_json

if TYPE_CHECKING:
    from cellassets.knowledge.annotation_files import Source
    from cellassets.knowledge.installation import Installed
    from cellassets.knowledge.packs import Pack
    from cellassets.storage.deployment import Deployment

N_NAMED = 5


def install(  # noqa: PLR0913, PLR0917 - the options of the command
    name: Annotated[str, typer.Argument(help="Pack; `cellassets annotation list` shows all.")],
    source: Annotated[
        str | None, typer.Option("--from", help="Local file or https address, instead of the pack's own address.")
    ] = None,
    is_accepted: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence without being asked.")
    ] = False,
    sha256: Annotated[str | None, typer.Option("--sha256", help="Checksum, for a pack that declares none.")] = None,
    is_first_trusted: Annotated[
        bool, typer.Option("--trust-first-use", help="Trust what is fetched first, for a pack without a checksum.")
    ] = False,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", help="Read a column from another one of the file: compound_id=pert_iname."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetches a source of the literature, compares its checksum and adds it to the lake with its licence and version.

    The licence is shown first. Without a terminal it must be accepted with --accept-licence.
    """
    from cellassets.knowledge.installation import Order, install_pack
    from cellassets.knowledge.packs import find_pack

    pack, deployment = find_pack(name), deployment_at(home)
    _show_terms(pack, source)
    if not is_accepted and sys.stdin.isatty():
        is_accepted = typer.confirm("Do you accept the licence?", err=True)
    order = Order(
        is_licence_accepted=_required(pack, is_accepted),
        installed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        installed_by=_account(),
        source=source,
        sha256=None if sha256 is None else sha256.lower(),
        is_first_trusted=is_first_trusted,
        columns=dict(_pair(text) for text in column or ()),
    )
    installed = install_pack(deployment.lake.annotations, pack, order)
    _warn_of_first_use(installed)
    covered = covered_datasets(deployment, installed.source)
    warn_of_no_match(installed.provenance.name, covered)
    if as_json:
        show_json({**installed.provenance.model_dump(), "path": str(installed.path), "datasets": covered})
        return
    typer.echo(str(installed.path))
    for dataset_id, found in covered.items():
        typer.echo(_in_words(dataset_id, found, installed.source.kind))


def _show_terms(pack: "Pack", source: str | None) -> None:
    size = "unknown size" if pack.n_bytes is None else f"{pack.n_bytes:,} bytes, {pack.n_rows:,} rows of {pack.kind}"
    lines = [
        f"{pack.name}: {pack.title}",
        f"  version   {pack.version}",
        f"  from      {source or pack.url} ({size})",
        f"  licence   {pack.licence.name} ({pack.licence.spdx}), {pack.licence.url}",
        *(["            not for commercial use"] if pack.licence.is_non_commercial else []),
        *([f"            {pack.licence.note}"] if pack.licence.note else []),
        f"  cite      {pack.citation}",
    ]
    typer.echo("\n".join(lines), err=True)


def _required(pack: "Pack", is_accepted: bool) -> bool:
    """True, or an error that says how to accept."""
    from cellassets.errors import AnnotationError

    if not is_accepted:
        message = (
            f"{pack.name}: the licence ({pack.licence.describe()}) was not accepted, so nothing was fetched. Read "
            f"{pack.licence.url}, then give --accept-licence"
        )
        raise AnnotationError(message)
    return True


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "unknown"


def _pair(text: str) -> tuple[str, str]:
    ours, is_given, theirs = text.partition("=")
    if not (is_given and ours and theirs):
        message = f"--column {text!r}: expected OURS=THEIRS, such as compound_id=pert_iname"
        raise typer.BadParameter(message)
    return ours, theirs


def _warn_of_first_use(installed: "Installed") -> None:
    found = installed.provenance
    if found.checksum_from == "first use":
        typer.echo(
            f"WARNING: nobody named a checksum for {found.name}. What came from {found.source} was trusted; its "
            f"SHA-256 is {found.source_sha256}. Give it with --sha256 to get the same file elsewhere.",
            err=True,
        )


def covered_datasets(deployment: "Deployment", source: "Source") -> dict[str, dict[str, Any]]:
    """Returns the coverage of each dataset by a source, as plain values."""
    from dataclasses import asdict

    from cellassets.stages.annotation_coverage import coverage_of_datasets
    from cellassets.stages.catalogue import open_snapshot

    found = coverage_of_datasets(open_snapshot(deployment), source)
    return {dataset_id: asdict(one) for dataset_id, one in found.items()}


def warn_of_no_match(name: str, covered: dict[str, dict[str, Any]]) -> None:
    """Prints a warning on standard error if there are datasets, and the source names nothing of any of them."""
    if covered and not any(found["n_covered"] for found in covered.values()):
        typer.echo(
            f"WARNING: {name}: none of its names is a gene or compound of a dataset ({', '.join(covered)}), so it "
            "changes no score. Names must be equal to the letter, in upper and lower case too.",
            err=True,
        )


def _in_words(dataset_id: str, found: dict[str, Any], kind: str) -> str:
    other = found["in_other_case"]
    more = f", … ({len(other)})" if len(other) > N_NAMED else ""
    case = f"; not counted, in another letter case: {', '.join(other[:N_NAMED])}{more}" if other else ""
    return (
        f"{dataset_id}: {found['n_covered']} of {found['n_names']} names are in the source, {found['n_rows']} of its "
        f"rows ({kind}) have all names in the dataset{case}"
    )
