"""The simulated screens of the calibration study: null scenarios with nuisances, and planted effects of several sizes.

Each screen has guides, combinations, compounds at doses, positive controls, two cell types, batches and plates, so that
every benchmark applies to it.
"""

from pydantic import ConfigDict, Field

from cellassets.benchmarks.definition import Subject
from cellassets.configuration import Parameters
from cellassets.mapping.build import MapParameters
from cellassets.studies.simulated import SIMULATED_MAP, STEPS
from cellassets.synthetic.embeddings import SimulatedWells

SCREEN = SimulatedWells(
    n_batches=4,
    n_complexes=6,
    n_lone_genes=6,
    n_guides_per_gene=2,
    n_combinations=8,
    n_compounds=8,
    n_doses=4,
    n_positive_controls=4,
    n_annotated_compounds=24,
    n_controls_per_plate=16,
    n_features=20,
    batch_effect=6.0,
    plate_effect=3.0,
)
WITH_POSITION = MapParameters.model_validate({"steps": ({"kind": "well_position"}, *STEPS), "n_judged_wells": 10})
NOT_ALIGNED = SIMULATED_MAP.model_copy(update={"steps": ()})
NOTHING = {"gene_effect": 0.0, "compound_effect": 0.0}
FIELDS = {"field_effect": 4.0, "n_wells_per_plate": 2, "layout": "new"}
ONE_WELL = {"is_one_well_per_plate": True}
SHOWN_FRAC = 0.25


class Scenario(Parameters):
    """One kind of simulated screen, its alignment, and its planted effects.

    `of_benchmarks` are settings of the benchmarks that have such parameters. A scenario that only shows a known fault
    has a `seeds_frac` below 1: it gets this part of the screens.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str
    words: str
    design: SimulatedWells
    parameters: MapParameters = SIMULATED_MAP
    of_benchmarks: dict[str, object] = Field(default_factory=dict)
    is_null: bool = True
    effect: float = 0.0
    seeds_frac: float = 1.0


def scenarios_of(subject: Subject) -> tuple[Scenario, ...]:
    """Returns the scenarios for benchmarks that measure a subject, null scenarios first."""
    return {"perturbations": _perturbations, "batches": _batches, "chromosome_arms": _arms}[subject]()


def _perturbations() -> tuple[Scenario, ...]:
    nulls = (
        _null("shuffled", "labels are shuffled within plates", gene_effect=3.0, is_shuffled=True),
        _null("nothing planted", "no perturbation has an effect", **NOTHING),
        _null("unequal replicates", "each treatment is on 40 to 100% of the plates", plate_share=(0.4, 1.0), **NOTHING),
        _null("two of four batches", "each treatment is in two batches only", n_batches_per_treatment=2, **NOTHING),
        _null("position", "row, column and edge effects; every treatment has one place", position_effect=4.0, **NOTHING)
        .model_copy(update={"parameters": WITH_POSITION}),
        _null("position left in", "the same without the step `well_position`, on a quarter of the screens",
              position_effect=4.0, **NOTHING)
        .model_copy(update={"seeds_frac": SHOWN_FRAC}),
        _null("neighbours", "two wells of a treatment side by side, at new places of every plate, and smooth "
              "differences over plates; with `is_one_well_per_plate`", **FIELDS, **NOTHING)
        .model_copy(update={"of_benchmarks": ONE_WELL}),
        _null("neighbours left in", "the same without `is_one_well_per_plate`, on a quarter of the screens",
              **FIELDS, **NOTHING)
        .model_copy(update={"seeds_frac": SHOWN_FRAC}),
        _null("guides", "no gene has an effect, and every guide has one of its own. Benchmarks that ask what one guide "
              "does see it: activity, classification, generalisation, grit, magnitude, mp-value, percent replicating",
              guide_effect=3.0, **NOTHING),
    )  # fmt: skip
    return (*nulls, *(_planted(effect, n) for n in (1, 2) for effect in (0.5, 1.0, 2.0, 3.0)))


def _batches() -> tuple[Scenario, ...]:
    """Screens without alignment: alignment by batch would itself make the plates of one batch unlike others."""
    same = {"batch_effect": 0.0, "plate_effect": 0.0, **NOTHING}
    nulls = tuple(
        null.model_copy(update={"parameters": NOT_ALIGNED})
        for null in (
            _null("nothing planted", "neither batches nor plates nor perturbations differ", **same),
            _null(
                "unequal replicates", "each treatment is on 40 to 100% of the plates", plate_share=(0.4, 1.0), **same
            ),
        )
    )
    planted = (
        Scenario(
            name=f"batch effect {effect:g}",
            words="batches differ by this distance, and nothing is aligned",
            design=SCREEN.model_copy(update={"batch_effect": effect, "plate_effect": 0.0}),
            parameters=NOT_ALIGNED,
            is_null=False,
            effect=effect,
        )
        for effect in (0.5, 1.0, 2.0, 4.0)
    )
    return (*nulls, *planted)


def _arms() -> tuple[Scenario, ...]:
    """Genes without complexes: the simulation puts the genes of a complex on different arms, which is not random."""
    genes = {
        "n_complexes": 0,
        "n_lone_genes": 36,
        "n_guides_per_gene": 1,
        "n_combinations": 0,
        "n_compounds": 0,
        "n_positive_controls": 0,
    }
    nulls = (
        _null("nothing planted", "arms share nothing; genes have effects", gene_effect=2.0, **genes),
        _null("no effects", "no gene has an effect", gene_effect=0.0, **genes),
        _null("unequal replicates", "each treatment is on 40 to 100% of the plates", plate_share=(0.4, 1.0), **genes),
        _null("one axis", "all genes share one direction, in different strengths", common_effect=3.0, **genes),
    )
    planted = (
        Scenario(
            name=f"arm effect {effect:g}",
            words="genes of one arm share a direction of this length",
            design=SCREEN.model_copy(update={"arm_effect": effect, **genes}),
            is_null=False,
            effect=effect,
        )
        for effect in (0.5, 1.0, 2.0, 3.0)
    )
    return (*nulls, *planted)


def _null(name: str, words: str, **changes: object) -> Scenario:
    return Scenario(name=name, words=words, design=SCREEN.model_copy(update=changes))


def _planted(effect: float, n_plates_per_batch: int) -> Scenario:
    changes = {"gene_effect": effect, "compound_effect": effect, "n_plates_per_batch": n_plates_per_batch}
    return Scenario(
        name=f"effect {effect:g}, {4 * n_plates_per_batch} replicates",
        words="every perturbation moves its wells so far, in standard deviations of a well's noise",
        design=SCREEN.model_copy(update=changes),
        is_null=False,
        effect=effect,
    )
