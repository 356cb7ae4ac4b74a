"""The declaration of a layout: where a screen's images and tables are, and what their names and columns mean.

A layout is a YAML file. Those of public datasets and of common microscopes are in the folder `shipped` beside this
file; `experiment.yaml` in a landing folder chooses one, changes parts of it, or declares one of its own. Nothing is
read here: `files.py` lists images and `metadata.py` reads tables.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from cellassets.configuration import Parameters
from cellassets.errors import ConfigError
from cellassets.screens.layouts.template import compile_template

TermName = Literal[
    "plate_id", "well_id", "site_index", "cell_type", "perturbation_id", "perturbation_kind", "gene_symbol", "guide_id",
    "compound_id", "concentration_um", "control_kind",
]  # fmt: skip
Projection = Literal["maximum", "mean", "middle"]
REQUIRED_TERMS: tuple[TermName, ...] = ("well_id", "cell_type", "perturbation_id")
IN_BRACES = re.compile(r"\{([^{}]+)\}")


def _as_text(given: Any) -> Any:
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def _kind_of_images(given: Any) -> str:
    """Returns by which key the images are found; each kind has one of its own."""
    keys = given if isinstance(given, dict) else type(given).model_fields
    return next((kind for kind in ("parquet", "table", "zarr") if kind in keys), "path")


class ChannelSpec(Parameters):
    """One channel: how files name it, and what it shows."""

    key: Annotated[str, BeforeValidator(_as_text)] = Field(
        description="the channel in file names or column names, such as 1 or DNA"
    )
    name: str = Field(min_length=1, description="the name that is used from then on, such as the stain")
    stain: str | None = Field(default=None, description="the dye and what it stains, for people")
    is_dna: bool = Field(default=False, description="true for the channel in which nuclei are found")


class Term(Parameters):
    """How one of our terms is found in a row of the metadata: from a column, from several, or one value for all."""

    column: str | None = Field(default=None, description="the column that holds it")
    format: str | None = Field(
        default=None, description="text with {column} in it; no value where one of them has none"
    )
    value: str | None = Field(default=None, description="one value for all rows")
    values: Mapping[str, str | None] | None = Field(
        default=None, description="what each value means; a key may contain *"
    )
    others: Literal["refuse", "keep", "null"] = Field(
        default="refuse", description="what is done with values that `values` does not have"
    )
    only_if_missing: str | None = Field(default=None, description="only in rows in which this column is empty")
    only_for: Literal["treatments", "controls"] | None = Field(default=None, description="only in these rows")
    required: bool = Field(default=False, description="true if a table without the column, or an empty cell, is wrong")

    @model_validator(mode="after")
    def _has_one_source(self) -> "Term":
        given = [name for name in ("column", "format", "value") if getattr(self, name) is not None]
        if len(given) != 1:
            message = f"expected one of column, format and value; found {given}"
            raise ValueError(message)
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it is made from."""
        if self.format is not None:
            return tuple(dict.fromkeys(IN_BRACES.findall(self.format)))
        return () if self.column is None else (self.column,)


def _as_terms(given: Any) -> Any:
    alternatives = given if isinstance(given, list | tuple) else [given]
    return [{"column": each} if isinstance(each, str) else each for each in alternatives]


def _as_tuple(given: Any) -> Any:
    return (given,) if isinstance(given, str) else given


Terms = Annotated[tuple[Term, ...], BeforeValidator(_as_terms), Field(min_length=1)]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]


class TableSpec(Parameters):
    """One table of the metadata.

    The file is looked for in the experiment's folder and then beside it, so one table can serve all experiments. A
    name with `*` stands for several files, whose rows are put together.
    """

    path: Names = Field(description="one name or several, of which the first that exists is read")
    where: Mapping[str, str] = Field(
        default_factory=dict, description="rows that count, by column; {experiment} is the folder's name"
    )
    join_on: Mapping[str, str] = Field(
        default_factory=dict,
        description="columns before it, and the columns of this table that equal them; file_stem: its name",
    )
    optional: bool = Field(default=False, description="true if it may be missing")


class MetadataSpec(Parameters):
    """Tables that describe the wells, and what their columns mean.

    The first table has one row per site or per well; without a plate it holds for every plate. Each later table is
    joined to it. Each term has one source or several, of which the first that gives a value counts.
    """

    tables: tuple[TableSpec, ...] = Field(min_length=1)
    terms: Mapping[TermName, Terms]

    @model_validator(mode="after")
    def _is_whole(self) -> "MetadataSpec":
        missing = [name for name in REQUIRED_TERMS if name not in self.terms]
        if missing:
            message = f"terms lacks {', '.join(missing)}"
            raise ValueError(message)
        unjoined = [table.path[0] for table in self.tables[1:] if not table.join_on]
        if unjoined:
            message = f"the table {unjoined[0]} comes after the first one and needs join_on"
            raise ValueError(message)
        return self


class ImageFiles(Parameters):
    """Images that are files, one per channel and plane; their names say which.

    With `pages: channel` one file holds all channels as its pages, in the order of `channels`. Without `{plate}` all
    images are of one plate, Plate1, and without `{channel}` of one channel, 1.
    """

    path: Names = Field(description="templates of the path below the experiment's folder")
    pages: Literal["channel"] | None = None

    @model_validator(mode="after")
    def _is_template(self) -> "ImageFiles":
        for path in self.path:
            _check_template(path, needs=())
        return self


class ImageRows(Parameters):
    """Images in the rows of Parquet files: a column with a name and one with the bytes of an image file."""

    parquet: str = Field(description="path of the Parquet files, * allowed; in the experiment's folder or beside it")
    key: str = Field(description="column with the image's name")
    content: str = Field(description="column with the image's bytes")
    path: str = Field(description="template of the names in the key column")

    @model_validator(mode="after")
    def _is_template(self) -> "ImageRows":
        _check_template(self.path, needs=())
        return self


class ImageTable(Parameters):
    """Images that a table lists, one row per site, as CellProfiler's LoadData does.

    The folders in such a table are those of another machine. So a file is found by its name and by as many of the
    last folders of its path as distinguish it from others.
    """

    table: Names = Field(description="paths of the tables below the experiment's folder, * allowed")
    plate: str = Field(description="column with the plate")
    well: str = Field(description="column with the well")
    site: str = Field(description="column with the site's number")
    folder: str = Field(description="name of the column with the folder of a channel; {channel} is its key")
    file: str = Field(description="name of the column with the file of a channel; {channel} is its key")

    @model_validator(mode="after")
    def _is_template(self) -> "ImageTable":
        missing = [name for name in ("folder", "file") if "{channel}" not in getattr(self, name)]
        if missing:
            message = f"{missing[0]}: expected {{channel}} in the name of the column"
            raise ValueError(message)
        return self


class ImagePlates(Parameters):
    """Images in OME-Zarr plates, one group per plate."""

    zarr: str = Field(description="template of the plates' path below the experiment's folder")

    @model_validator(mode="after")
    def _is_template(self) -> "ImagePlates":
        _check_template(self.zarr, needs=("plate",), has_well=False)
        return self


class Recognition(Parameters):
    """By what a layout is known. All that is given must hold."""

    files: tuple[str, ...] = Field(default=(), description="paths with *, of which each must exist")
    without_files: tuple[str, ...] = Field(default=(), description="paths with *, of which none may exist")
    columns: tuple[str, ...] = Field(default=(), description="columns that the first metadata table must have")
    without_columns: tuple[str, ...] = Field(default=(), description="columns that it must not have")


class Exclusion(Parameters):
    """Plates and wells that are left out on purpose."""

    plates: tuple[str, ...] = ()
    wells: Mapping[str, tuple[str, ...]] = Field(default_factory=dict, description="wells by plate; * for all plates")


class Layout(Parameters):
    """A declared layout."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    description: str = Field(default="", description="for people")
    recognise: Recognition | None = Field(default=None, description="null: only chosen by its name")
    refusal: str | None = Field(
        default=None, description="why experiments of this form cannot be read, and what to do; null: they are read"
    )
    images: Annotated[
        Annotated[ImageFiles, Tag("path")]
        | Annotated[ImageRows, Tag("parquet")]
        | Annotated[ImageTable, Tag("table")]
        | Annotated[ImagePlates, Tag("zarr")],
        Discriminator(_kind_of_images),
    ]
    channels: tuple[ChannelSpec, ...] | None = Field(
        default=None,
        description="in the order of the store; null: those that are found, in the order of OME metadata or by keys",
    )
    ignored_channels: tuple[str, ...] = Field(default=(), description="keys of channels that are not stored")
    ignored_files: tuple[str, ...] = Field(default=(), description="paths with * that are expected and not read")
    metadata: MetadataSpec
    pixel_size_um: float | None = Field(
        default=None, gt=0, description="width of a pixel; null: as the OME metadata of a Zarr plate say, or unknown"
    )
    top_grey_level: int | None = Field(default=None, gt=0, description="highest level that the camera gives")
    z_projection: Projection | None = Field(
        default=None, description="how the planes of a site become one image; null: there must be one plane"
    )
    illumination_path: str = Field(
        default="illumination/{plate}_{channel}.npy",
        description="template of the illumination functions (.npy), with {plate} and {channel}, the channel's key",
    )
    correct_illumination: bool = Field(default=False, description="true to divide images by their function")
    exclude: Exclusion = Exclusion()

    @model_validator(mode="after")
    def _channels_are_distinct(self) -> "Layout":
        for what in ("key", "name"):
            given = [getattr(channel, what) for channel in self.channels or ()]
            doubled = sorted({each for each in given if given.count(each) > 1})
            if doubled:
                message = f"channels: two have the {what} {doubled[0]!r}"
                raise ValueError(message)
        others = [name for name in IN_BRACES.findall(self.illumination_path) if name not in ("plate", "channel")]
        if others:
            message = f"illumination_path: unknown field {{{others[0]}}}; the fields are {{plate}} and {{channel}}"
            raise ValueError(message)
        if isinstance(self.images, ImageFiles) and self.images.pages is not None and not self.channels:
            message = "images: pages: needs `channels`, one for each page and in their order"
            raise ValueError(message)
        dna = [channel.name for channel in self.channels or () if channel.is_dna]
        if len(dna) > 1:
            message = f"channels: is_dna is set for {', '.join(dna)}; expected one"
            raise ValueError(message)
        return self


def _check_template(text: str, *, needs: tuple[str, ...], has_well: bool = True) -> None:
    try:
        fields = compile_template(text).fields
    except ConfigError as error:
        raise ValueError(str(error)) from error
    missing = [name for name in needs if name not in fields]
    if has_well and "well" not in fields and not {"row", "column"} <= set(fields):
        missing.append("well (or row and column)")
    if missing:
        message = f"{text!r} lacks the field {missing[0]}"
        raise ValueError(message)
