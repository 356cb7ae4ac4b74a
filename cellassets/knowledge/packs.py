"""Annotation packs: sources of the literature that are declared with address, checksum, licence and citation.

They stand in `packs.yaml` beside this file. The files themselves are not part of this package; `installation.py` puts
them into a lake.
"""

import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from pydantic import Field, model_validator
from upath import UPath

from cellassets.configuration import Parameters, load_yaml
from cellassets.errors import AnnotationError
from cellassets.knowledge.annotation_files import COLUMNS, AnnotationKind

SHA256_PATTERN = r"^[0-9a-f]{64}$"
DECLARED = Path(__file__).with_name("packs.yaml")


class Licence(Parameters):
    """The terms of a source: name, SPDX identifier, address of the text, and what else has to be known."""

    name: str
    spdx: str
    url: str = Field(pattern="^https://")
    is_non_commercial: bool
    note: str = ""

    def describe(self) -> str:
        """Returns the licence on one line."""
        return f"{self.spdx}{', not for commercial use' if self.is_non_commercial else ''}"


class ColumnRule(Parameters):
    """How a column of ours is read from a column of another table.

    Attributes:
        source: name of the other table's column.
        split_by: separator of several values in one cell; each becomes a row.
        extract: regular expression whose first group is the value; cells that do not match have no value.
    """

    source: str
    split_by: str | None = None
    extract: str | None = None


class Pack(Parameters):
    """One source of the literature.

    Attributes:
        name: name of the pack and of the source that it installs.
        title: what it holds, in a few words.
        kind: pairs, sets, targets or gene_arms.
        url: where its file is.
        version: which version of the source that is.
        sha256: checksum of that file; None if the file at `url` changes.
        n_bytes: size of that file.
        n_rows: distinct rows that reading it gives.
        licence: its terms.
        citation: what to cite.
        columns: how our columns are read from the file's; None if the file is in a form that cellassets reads.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    title: str
    kind: AnnotationKind
    url: str = Field(pattern="^https://")
    version: str
    sha256: str | None = Field(default=None, pattern=SHA256_PATTERN)
    n_bytes: int | None = Field(default=None, ge=1)
    n_rows: int | None = Field(default=None, ge=1)
    licence: Licence
    citation: str
    columns: dict[str, ColumnRule] | None = None

    @model_validator(mode="after")
    def _check(self) -> "Pack":
        if self.columns is not None and set(self.columns) != set(COLUMNS[self.kind]):
            message = f"{self.name}: columns are {sorted(self.columns)}; {self.kind} need {list(COLUMNS[self.kind])}"
            raise ValueError(message)
        if len({self.sha256 is None, self.n_bytes is None, self.n_rows is None}) > 1:
            message = f"{self.name}: sha256, n_bytes and n_rows are known together or not at all"
            raise ValueError(message)
        return self

    @property
    def file_name(self) -> str:
        """Name of the file that is installed: as at `url` if it is taken over, otherwise a CSV of our columns."""
        return f"{self.name}{'.csv' if self.columns is not None else Path(self.url).suffix}"


class _Declared(Parameters):
    """All of `packs.yaml`."""

    packs: tuple[Pack, ...]


@cache
def packs() -> dict[str, Pack]:
    """Returns all packs by name, in the order of `packs.yaml`."""
    return {pack.name: pack for pack in load_yaml(UPath(DECLARED), _Declared).packs}


def find_pack(name: str) -> Pack:
    """Returns a pack.

    Raises:
        AnnotationError: there is none of this name.
    """
    known = packs()
    if name in known:
        return known[name]
    by_folded = {_folded(found): found for found in known}
    close = get_close_matches(_folded(name), by_folded, n=1)
    hint = f"; did you mean {by_folded[close[0]]}?" if close else ""
    message = f"no annotation pack {name!r}; there are {', '.join(known)}{hint}"
    raise AnnotationError(message)


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
