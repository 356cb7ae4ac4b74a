"""The planted biology: every perturbation of a design as a vector over the morphological axes.

Genes of one complex share a direction, opposite complexes have opposite directions, inert genes have no effect.
Strength varies by gene, guide and dose. Plates, nuisances and images are not known here; `truth.py` writes the biology
to files.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from cellassets.synthetic.axes import AXIS_NAMES, N_AXES
from cellassets.synthetic.design import ScreenDesign
from cellassets.synthetic.seeds import stream

NEGATIVE_CONTROL = "EMPTY"  # RxRx1's name for a well without siRNA
GREEK = ("ALPHA", "BETA", "GAMMA", "DELTA", "EPSIL", "ZETA", "ETA", "THETA", "IOTA", "KAPPA", "LAMBDA", "SIGMA")
N_CANDIDATE_DIRECTIONS = 256
N_AXES_OF_A_DIRECTION = 4
GENE_JITTER = 0.25
GUIDE_JITTER = 0.15
GENE_STRENGTHS = (0.6, 1.4)
GUIDE_STRENGTHS = (0.7, 1.0)
POSITIVE_CONTROL_STRENGTH = 1.8
UNIT_STRENGTH = 3.2  # axis units of effect_strength 1; the tests compare it with the nuisances

Vector = Float64[np.ndarray, " axis"]


@dataclass(frozen=True)
class Complex:
    """Genes that act in one direction. `sign` is -1 for the second of two opposite complexes, 1 otherwise."""

    name: str
    gene_symbols: tuple[str, ...]
    direction: Vector
    sign: int
    opposite_of: str | None


@dataclass(frozen=True)
class Compound:
    """A compound, the complex that it targets (None: it has its own direction) and its dose response."""

    compound_id: str
    target: str | None
    direction: Vector
    ec50_um: float
    hill: float


@dataclass(frozen=True)
class Perturbation:
    """A perturbation of a well. `effect` is in axis units and includes the strength."""

    perturbation_id: str
    class_index: int
    well_type: str
    perturbation_kind: str
    effect: Vector
    gene_symbol: str | None = None
    guide_id: str | None = None
    compound_id: str | None = None
    concentration_um: float | None = None
    complex_name: str | None = None

    @property
    def strength(self) -> float:
        """Length of the effect in axis units."""
        return float(np.linalg.norm(self.effect))


@dataclass(frozen=True)
class Biology:
    """The planted biology of a screen.

    `perturbations` are in class order: treatments, positive controls, negative control.
    """

    complexes: tuple[Complex, ...]
    compounds: tuple[Compound, ...]
    inert_genes: tuple[str, ...]
    perturbations: tuple[Perturbation, ...]

    def of_well_type(self, well_type: str) -> tuple[Perturbation, ...]:
        """Returns the perturbations of one well type: treatment, positive_control or negative_control."""
        return tuple(p for p in self.perturbations if p.well_type == well_type)


def plant_biology(design: ScreenDesign) -> Biology:
    """Returns the biology of a design, drawn from its seed; it is the same for every experiment of the screen."""
    rng = stream(design.seed, "directions")
    n_lone_genes = design.n_genes - sum(design.complex_sizes) - design.n_inert_genes
    n_directions = len(design.complex_sizes) + n_lone_genes + design.n_compounds
    directions = spread_directions(n_directions, rng)
    complexes = _complexes(design, directions)
    lone = {f"SOLO{n + 1}": directions[len(complexes) + n] for n in range(n_lone_genes)}
    inert = tuple(f"INERT{n + 1}" for n in range(design.n_inert_genes))
    compounds = _compounds(design, complexes, directions[len(complexes) + n_lone_genes :])
    treatments = [
        *_gene_perturbations(design, complexes, lone, inert),
        *_compound_perturbations(design, compounds),
        *_controls(design),
    ]
    numbered = tuple(replace(treatment, class_index=index) for index, treatment in enumerate(treatments))
    return Biology(complexes, compounds, inert, numbered)


def spread_directions(n_directions: int, rng: np.random.Generator) -> Float64[np.ndarray, "direction axis"]:
    """Returns unit vectors with few non-zero axes, far from each other.

    Each direction is the one among many random draws that is farthest from the earlier ones. A direction and its
    opposite count as near, so that only planted pairs are parallel.
    """
    chosen = np.zeros((n_directions, N_AXES))
    for index in range(n_directions):
        candidates = _sparse_directions(N_CANDIDATE_DIRECTIONS, rng)
        nearest = np.abs(candidates @ chosen[:index].T).max(axis=1, initial=0.0)
        chosen[index] = candidates[nearest.argmin()]
    return chosen


def dose_response(dose_um: float, ec50_um: float, hill: float) -> float:
    """Returns the fraction of the full effect at a dose, from 0 to 1.

    Source: Hill equation, dose^h / (dose^h + EC50^h).
    """
    return dose_um**hill / (dose_um**hill + ec50_um**hill)


def _sparse_directions(n_directions: int, rng: np.random.Generator) -> Float64[np.ndarray, "direction axis"]:
    ranks = rng.random((n_directions, N_AXES)).argsort(axis=1).argsort(axis=1)
    weights = rng.choice([-1.0, 1.0], size=ranks.shape) * rng.uniform(0.5, 1.0, size=ranks.shape)
    return _unit(np.where(ranks < N_AXES_OF_A_DIRECTION, weights, 0.0))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _jittered(direction: Vector, jitter: float, rng: np.random.Generator) -> Vector:
    return _unit(direction + jitter * _unit(rng.standard_normal(N_AXES)))


def _complexes(design: ScreenDesign, directions: np.ndarray) -> tuple[Complex, ...]:
    complexes: list[Complex] = []
    for index, size in enumerate(design.complex_sizes):
        name = GREEK[index] if index < len(GREEK) else f"CX{index + 1:03d}N"
        genes = tuple(f"{name}{n + 1}" for n in range(size))
        is_second = index % 2 == 1 and index // 2 < design.n_opposite_pairs
        if is_second:
            first = complexes[-1]
            complexes.append(Complex(name, genes, -first.direction, -1, first.name))
        else:
            complexes.append(Complex(name, genes, directions[index], 1, None))
    return tuple(complexes)


def _compounds(design: ScreenDesign, complexes: tuple[Complex, ...], directions: np.ndarray) -> tuple[Compound, ...]:
    rng = stream(design.seed, "compounds")
    n_targeted = round(design.n_compounds * design.targeted_frac) if complexes else 0
    order = rng.permutation(len(complexes))
    compounds = []
    for index in range(design.n_compounds):
        target = complexes[order[index % len(complexes)]] if index < n_targeted else None
        direction = directions[index] if target is None else _jittered(target.direction, GENE_JITTER, rng)
        ec50_um = float(np.exp(np.log(np.array(design.doses_um)).mean() + rng.normal(0.0, 0.4)))
        name = None if target is None else target.name
        compounds.append(Compound(f"CMPD{index + 1}", name, direction, ec50_um, float(rng.uniform(1.0, 2.0))))
    return tuple(compounds)


def _gene_perturbations(
    design: ScreenDesign, complexes: tuple[Complex, ...], lone: dict[str, Vector], inert: tuple[str, ...]
) -> list[Perturbation]:
    members: list[tuple[str, Vector, str | None]] = [
        (gene, c.direction, c.name) for c in complexes for gene in c.gene_symbols
    ]
    members += [(gene, direction, None) for gene, direction in lone.items()]
    members += [(gene, np.zeros(N_AXES), None) for gene in inert]
    return [p for gene, direction, name in members for p in _guides(design, gene, direction, name)]


def _guides(design: ScreenDesign, gene: str, direction: Vector, complex_name: str | None) -> list[Perturbation]:
    rng = stream(design.seed, "gene", gene)
    is_inert = not direction.any()
    own = direction if is_inert else _jittered(direction, GENE_JITTER, rng)
    strength = UNIT_STRENGTH * design.effect_strength * rng.uniform(*GENE_STRENGTHS)
    guides = []
    for n in range(design.n_guides_per_gene):
        hit = own if is_inert else _jittered(own, GUIDE_JITTER, rng)
        guide_id = f"{gene}_g{n + 1}"
        guides.append(
            Perturbation(
                guide_id,
                0,
                "treatment",
                "gene",
                strength * rng.uniform(*GUIDE_STRENGTHS) * hit,
                gene_symbol=gene,
                guide_id=guide_id,
                complex_name=complex_name,
            )
        )
    return guides


def _compound_perturbations(design: ScreenDesign, compounds: tuple[Compound, ...]) -> list[Perturbation]:
    full = UNIT_STRENGTH * design.effect_strength * GENE_STRENGTHS[1]
    return [
        Perturbation(
            f"{compound.compound_id}_{dose:g}uM",
            0,
            "treatment",
            "compound",
            full * dose_response(dose, compound.ec50_um, compound.hill) * compound.direction,
            compound_id=compound.compound_id,
            concentration_um=dose,
            complex_name=compound.target,
        )
        for compound in compounds
        for dose in design.doses_um
    ]


def _controls(design: ScreenDesign) -> list[Perturbation]:
    """Returns the controls: positive ones have a strong effect and lose cells, the negative one has no effect."""
    positive = []
    for n in range(design.n_positive_control_kinds):
        rng = stream(design.seed, "positive control", n)
        direction = _sparse_directions(1, rng)[0]
        direction[AXIS_NAMES.index("cell_number")] = -0.6
        effect = UNIT_STRENGTH * design.effect_strength * POSITIVE_CONTROL_STRENGTH * _unit(direction)
        positive.append(Perturbation(f"POSITIVE{n + 1}", 0, "positive_control", "control", effect))
    return [*positive, Perturbation(NEGATIVE_CONTROL, 0, "negative_control", "control", np.zeros(N_AXES))]
