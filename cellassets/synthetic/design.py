"""Design of a simulated screen: its plates, planted biology and nuisances as one frozen model.

Everything else in this package is a function of a `ScreenDesign` and of ids. Nothing is drawn or written here.
`presets.py` contains designs that are ready to use.
"""

from typing import Annotated

from pydantic import Field, model_validator

from cellassets.configuration import Parameters, added_field
from cellassets.fingerprint import check_partition_key

MAX_DIAMETER_FRAC = 0.5


class CellTypeBatches(Parameters):
    """One cell type, and the number of experiments (batches) with it."""

    name: str = Field(description="Cell type; experiments are named after it")
    n_experiments: int = Field(ge=1, description="Experiments (batches)")


class NuisanceStrengths(Parameters):
    """Strength of each nuisance: 0 switches it off, 1 is about as strong as the planted biology."""

    batch: float = Field(default=1.0, ge=0, description="Differences between experiments")
    plate: float = Field(default=1.0, ge=0, description="Differences between plates")
    well_position: float = Field(default=1.0, ge=0, description="Differences between positions on a plate")
    well: float = Field(default=1.0, ge=0, description="Differences between wells")
    cell_type: float = Field(default=1.0, ge=0, description="Differences between cell types")


class ScreenDesign(Parameters):
    """A screen: plate layout, planted biology, nuisances and random seed.

    Complexes 2k and 2k + 1 act in opposite directions for k < `n_opposite_pairs`. Genes that are in no complex and not
    inert have their own direction. Experiments are named `<cell type>-<n>` and plates `Plate<n>`, as in RxRx1.
    """

    seed: int = Field(default=0, ge=0, description="Seed of everything random")
    cell_types: tuple[CellTypeBatches, ...] = Field(
        default=(
            CellTypeBatches(name="HUVEC", n_experiments=2),
            CellTypeBatches(name="U2OS", n_experiments=2),
        ),
        description="Cell types, with their numbers of experiments",
    )
    n_plates_per_experiment: int = Field(default=4, ge=1, description="Plates of an experiment")
    n_rows: int = Field(default=16, ge=1, le=52, description="Rows of a plate")
    n_columns: int = Field(default=24, ge=1, le=99, description="Columns of a plate")
    n_sites_per_well: int = Field(default=2, ge=1, description="Sites of a well")
    image_size: int = Field(default=512, ge=48, le=4096, description="height and width in pixels")
    cell_diameter_px: float | None = Field(
        default=None, gt=8, description="diameter of an average cell in pixels; null: derived from image_size"
    )

    n_genes: int = Field(default=240, ge=0, description="Genes that are knocked out")
    complex_sizes: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        default=(4,) * 30, description="Number of genes in each complex"
    )
    n_opposite_pairs: int = Field(default=6, ge=0, description="Pairs of complexes that act in opposite directions")
    inert_frac: float = Field(default=0.2, ge=0, le=1, description="fraction of the genes without an effect")
    n_guides_per_gene: int = Field(default=1, ge=1, description="Guides of a gene")
    n_compounds: int = Field(default=8, ge=0, description="Compounds")
    doses_um: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(0.1, 0.3, 1.0, 3.0, 10.0), description="Doses of every compound in micromolar"
    )
    targeted_frac: float = Field(
        default=0.75, ge=0, le=1, description="fraction of the compounds that target a complex"
    )
    n_wells_per_perturbation: int = Field(default=4, ge=1, description="wells per experiment, over all its plates")

    n_negative_controls: int = Field(default=32, ge=1, description="wells on every plate")
    n_positive_controls: int = Field(default=16, ge=1, description="wells on every plate")
    n_positive_control_kinds: int = Field(default=2, ge=1, description="Different positive controls")

    effect_strength: float = Field(default=1.0, ge=0, description="Strength of all planted effects")
    nuisances: NuisanceStrengths = Field(default=NuisanceStrengths(), description="Strength of each nuisance")

    n_empty_border: int = added_field(
        0, ge=0, description="Rows and columns at each edge of a plate that stay empty; 1 in RxRx1"
    )
    experiment_digits: int = added_field(
        1, ge=1, le=4, description="Digits of an experiment's number, filled with zeros; 2 in RxRx1, as in HUVEC-01"
    )

    @property
    def experiments(self) -> dict[str, str]:
        """Cell type by experiment id."""
        digits = self.experiment_digits
        return {f"{t.name}-{n + 1:0{digits}}": t.name for t in self.cell_types for n in range(t.n_experiments)}

    @property
    def plate_ids(self) -> tuple[str, ...]:
        """Plate ids of every experiment."""
        return tuple(f"Plate{n + 1}" for n in range(self.n_plates_per_experiment))

    @property
    def n_wells(self) -> int:
        """Number of wells of a plate that can be used."""
        n_rows, n_columns = (max(0, n - 2 * self.n_empty_border) for n in (self.n_rows, self.n_columns))
        return n_rows * n_columns

    @property
    def n_inert_genes(self) -> int:
        """Number of genes without an effect."""
        return round(self.n_genes * self.inert_frac)

    @property
    def n_perturbations(self) -> int:
        """Number of treatments: all guides of all genes, and all compounds at all doses."""
        return self.n_genes * self.n_guides_per_gene + self.n_compounds * len(self.doses_um)

    @property
    def n_treatment_wells(self) -> int:
        """Largest number of treatment wells on a plate."""
        return -(-self.n_perturbations * self.n_wells_per_perturbation // self.n_plates_per_experiment)

    @property
    def diameter_px(self) -> float:
        """Diameter of an average cell in pixels.

        By default it grows more slowly than the image size: 80 pixels at 512 (about 45 cells per image), 44 at 192
        (about 20 cells), since a small image must show enough cells and enough detail of each.
        """
        return self.cell_diameter_px if self.cell_diameter_px is not None else 1.78 * self.image_size**0.61

    @model_validator(mode="after")
    def _check(self) -> "ScreenDesign":
        names = [cell_type.name for cell_type in self.cell_types]
        if not names or len(set(names)) < len(names):
            message = f"cell_types: expected at least one, each named once; found {names}"
            raise ValueError(message)
        for experiment_id in self.experiments:
            check_partition_key(experiment_id, "experiment_id")
        self._check_genes()
        self._check_plates()
        if self.diameter_px > MAX_DIAMETER_FRAC * self.image_size:
            message = f"cell_diameter_px is {self.diameter_px:g} in images of {self.image_size}: expected at most half"
            raise ValueError(message)
        return self

    def _check_genes(self) -> None:
        n_needed = sum(self.complex_sizes) + self.n_inert_genes
        if n_needed > self.n_genes:
            message = (
                f"n_genes is {self.n_genes}, but complexes need {sum(self.complex_sizes)} genes and inert_frac "
                f"{self.inert_frac:g} takes {self.n_inert_genes}: expected at least {n_needed} genes"
            )
            raise ValueError(message)
        if 2 * self.n_opposite_pairs > len(self.complex_sizes):
            message = (
                f"n_opposite_pairs is {self.n_opposite_pairs}: expected at most half of "
                f"{len(self.complex_sizes)} complexes"
            )
            raise ValueError(message)
        if len(set(self.doses_um)) < len(self.doses_um) or (self.n_compounds and not self.doses_um):
            message = (
                f"doses_um: expected different doses, and at least one if n_compounds is above 0; found {self.doses_um}"
            )
            raise ValueError(message)

    def _check_plates(self) -> None:
        n_controls = self.n_negative_controls + self.n_positive_controls
        n_needed = self.n_treatment_wells + n_controls
        if n_needed > self.n_wells:
            border = f" with an empty border of {self.n_empty_border}" if self.n_empty_border else ""
            message = (
                f"a plate of {self.n_rows} x {self.n_columns}{border} has {self.n_wells} wells, but "
                f"{self.n_treatment_wells} treatments and {n_controls} controls need {n_needed}: use more plates, "
                "fewer perturbations or a smaller n_wells_per_perturbation"
            )
            raise ValueError(message)
        if self.n_positive_control_kinds > self.n_positive_controls:
            message = (
                f"n_positive_control_kinds is {self.n_positive_control_kinds}: expected at most the "
                f"{self.n_positive_controls} positive control wells of a plate"
            )
            raise ValueError(message)
