"""The file that declares a table of profiles, and what a registered model keeps of it.

`steps.py` has the steps that a declaration lists. docs/profiles.md explains both with an example.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from cellassets.configuration import Parameters
from cellassets.fingerprint import check_model_name
from cellassets.profiles.steps import Normalisation, Step

RowKind = Literal["well", "site", "cell"]
Lacking = Literal["nothing", "sites", "wells"]
MATRIX = re.compile(r"X|(layers|obsm)/.+")


class KeyColumns(Parameters):
    """Columns of the table that say which well or site a row is about."""

    experiment_id: str | None = Field(
        default=None, description="Column with the experiment; null where `experiment` names the only one"
    )
    plate_id: str = Field(default="Metadata_Plate", description="Column with the plate")
    well_id: str = Field(default="Metadata_Well", description="Column with the well, as a1, A1 or A01")
    site_index: str | None = Field(
        default=None, description="Column with the number of the site, as the image files count it; null: per well"
    )


class Names(Parameters):
    """Other names in the table than here. A name that is not listed is used unchanged."""

    experiment_id: dict[str, str] = Field(default={}, description="Experiment in the table to experiment here")
    plate_id: dict[str, str] = Field(
        default={}, description="Plate in the table to plate here, such as BR00117006 to Plate1"
    )


class Controls(Parameters):
    """The rows of negative controls, for steps with `fit_on: controls`."""

    column: str = Field(description="Column that says what a well is, such as Metadata_control_type")
    values: tuple[str, ...] = Field(min_length=1, description="Its values for negative controls, such as negcon")


class AnndataMatrix(Parameters):
    """Where the features of an AnnData file are. Its key columns are those of `obs`, and `_index`, its index."""

    matrix: str = Field(default="X", description="X, layers/NAME or obsm/NAME")
    var_column: str | None = Field(
        default=None, description="Column of `var` with the names of the features; null: its index, `var_names`"
    )

    @model_validator(mode="after")
    def _is_in_anndata(self) -> "AnndataMatrix":
        if not MATRIX.fullmatch(self.matrix):
            message = f"matrix: found {self.matrix!r}; expected X, layers/NAME or obsm/NAME"
            raise ValueError(message)
        if self.var_column is not None and self.matrix.startswith("obsm/"):
            message = f"var_column names the columns of X and of layers; leave it out for {self.matrix}"
            raise ValueError(message)
        return self


class ProfilesSpec(Parameters):
    """What decides the vectors, together with the table."""

    rows: RowKind = Field(
        description="What one row of the table is. Cells become sites (wells without `site_index`) by their median"
    )
    experiment: str | None = Field(
        default=None, description="The experiment of all rows, where no column of the table names it"
    )
    keys: KeyColumns = Field(default=KeyColumns(), description="Columns with the names of wells and sites")
    names: Names = Field(default=Names(), description="Experiments and plates that have other names here")
    features: str = Field(
        default=r"(Cells|Cytoplasm|Nuclei)_.+",
        description="Regular expression for the whole name of a feature column. The default matches CellProfiler's",
    )
    anndata: AnndataMatrix | None = Field(
        default=None, description="For tables in AnnData: which matrix has the features; null: X"
    )
    controls: Controls | None = Field(default=None, description="Which rows are negative controls")
    steps: tuple[Step, ...] = Field(description="Steps of normalisation and feature selection, in order; [] for none")
    may_lack: Lacking = Field(
        default="nothing",
        description="What may be left out where the table has no row for it. A plate without any row is always refused",
    )

    @field_validator("features")
    @classmethod
    def _is_an_expression(cls, features: str) -> str:
        try:
            re.compile(features)
        except re.error as error:
            message = f"{features!r} is not a regular expression: {error}"
            raise ValueError(message) from error
        return features

    @model_validator(mode="after")
    def _fits_together(self) -> "ProfilesSpec":
        if (self.experiment is None) == (self.keys.experiment_id is None):
            message = "expected either experiment, or the column keys.experiment_id, and not both"
            raise ValueError(message)
        if (self.rows == "site") and self.keys.site_index is None:
            message = "rows: site needs the column keys.site_index"
            raise ValueError(message)
        if (self.rows == "well") and self.keys.site_index is not None:
            message = "rows: well and keys.site_index exclude each other; write rows: site, or leave the column out"
            raise ValueError(message)
        needs_controls = [
            step.kind for step in self.steps if isinstance(step, Normalisation) and step.fit_on == "controls"
        ]
        if needs_controls and self.controls is None:
            message = f"{needs_controls[0]} is fitted on controls: say which rows they are, in `controls`"
            raise ValueError(message)
        return self

    @property
    def is_per_well(self) -> bool:
        """True where a vector is of a well; false where it is of a site."""
        return self.keys.site_index is None


class ProfilesDeclaration(ProfilesSpec):
    """A table of profiles as people declare it. `cellassets model register FILE` registers it as a model.

    The name of the file is the name of the model.
    """

    kind: Literal["profiles"] = "profiles"
    name: Annotated[str, AfterValidator(check_model_name)]
    table: str = Field(
        description="CSV, Parquet, AnnData (.h5ad, .zarr) or CellProfiler's SQLite; relative to this file. "
        "`plates/*.parquet` for several files"
    )

    def spec(self) -> ProfilesSpec:
        """Returns the part that decides the vectors."""
        return ProfilesSpec.model_validate(self.model_dump(include=set(ProfilesSpec.model_fields)))
