"""Installs an annotation pack: licence, fetch, checksum, table, publication. A refusal installs nothing."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from upath import UPath

from cellassets.errors import AnnotationError
from cellassets.knowledge.annotation_files import COLUMNS, Source
from cellassets.knowledge.installed_sources import ChecksumFrom, Provenance, installed_sources, publish_pack
from cellassets.knowledge.pack_files import Limits, check_file, fetch_file
from cellassets.knowledge.pack_tables import pack_content, pack_source
from cellassets.knowledge.packs import Pack


@dataclass(frozen=True)
class Order:
    """How a person wants a pack to be installed.

    Attributes:
        is_licence_accepted: true if the licence was shown and accepted.
        installed_at: time in UTC, ISO 8601.
        installed_by: account of the person.
        source: address or local file to read instead of the pack's address.
        sha256: checksum of a pack that declares none.
        is_first_trusted: true if the first file of a pack without a checksum is trusted.
        columns: columns of ours to read from another column than the pack declares: compound_id from pert_iname.
        limits: what the download may take.
    """

    is_licence_accepted: bool
    installed_at: str
    installed_by: str
    source: str | None = None
    sha256: str | None = None
    is_first_trusted: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Installed:
    """What was installed: its table's path, its provenance, and its rows."""

    path: UPath
    provenance: Provenance
    source: Source


def install_pack(folder: UPath, pack: Pack, order: Order) -> Installed:
    """Returns what was installed in a lake. A pack that is there already in this form is left as it is.

    Args:
        folder: the lake's annotations.
        pack: the pack.
        order: how it is to be installed.

    Raises:
        AnnotationError: the licence was not accepted, no checksum is known, the file cannot be fetched, has another
            checksum or is not the table that the pack declares, or another source has the name. Nothing is installed.
    """
    if not order.is_licence_accepted:
        message = f"{pack.name}: its licence ({pack.licence.describe()}, {pack.licence.url}) was not accepted"
        raise AnnotationError(message)
    expected, checksum_from = _expected_checksum(folder, pack, order)
    chosen = _with_columns(pack, order.columns)
    address = order.source or pack.url
    content = fetch_file(address, replace(order.limits, max_bytes=pack.n_bytes or order.limits.max_bytes))
    if expected is not None:
        check_file(content, sha256=expected, n_bytes=pack.n_bytes, source=address)
    table = pack_content(chosen, content)
    source = pack_source(chosen, table)
    provenance = Provenance(
        name=pack.name,
        version=pack.version,
        source=address,
        source_sha256=hashlib.sha256(content).hexdigest(),
        checksum_from=checksum_from,
        sha256=hashlib.sha256(table).hexdigest(),
        n_rows=source.rows.height,
        licence=pack.licence,
        citation=pack.citation,
        columns=dict(order.columns),
        installed_at=order.installed_at,
        installed_by=order.installed_by,
    )
    return Installed(publish_pack(folder, pack, table, provenance), provenance, source)


def _expected_checksum(folder: UPath, pack: Pack, order: Order) -> tuple[str | None, ChecksumFrom]:
    """The checksum to compare with, and who named it; None where what comes first is trusted."""
    if pack.sha256 is not None:
        if order.sha256 not in (None, pack.sha256):
            message = (
                f"{pack.name}: the pack declares SHA-256 {pack.sha256}, --sha256 is {order.sha256}; leave it out. Add "
                "another version under a name of its own with `cellassets annotation add`"
            )
            raise AnnotationError(message)
        return pack.sha256, "pack"
    if order.sha256 is not None:
        return order.sha256, "given"
    if not order.is_first_trusted:
        message = (
            f"{pack.name}: no checksum is known, because the file at {pack.url} changes. Give the checksum of the file "
            "that you want with --sha256, or trust what is fetched first with --trust-first-use"
        )
        raise AnnotationError(message)
    known = installed_sources(folder).get(pack.name)
    return (None if known is None or known.provenance is None else known.provenance.source_sha256), "first use"


def _with_columns(pack: Pack, columns: Mapping[str, str]) -> Pack:
    """The pack with other columns of its file; its number of rows is then not known."""
    if not columns:
        return pack
    unknown = sorted(set(columns) - set(pack.columns or {}))
    if unknown:
        known = sorted(pack.columns) if pack.columns else f"none: the file has the columns {list(COLUMNS[pack.kind])}"
        message = f"{pack.name}: cannot choose the column of {unknown}; columns that can be chosen: {known}"
        raise AnnotationError(message)
    rules = pack.columns or {}
    chosen = {name: rule.model_copy(update={"source": columns.get(name, rule.source)}) for name, rule in rules.items()}
    return pack.model_copy(update={"columns": chosen, "n_rows": None})
