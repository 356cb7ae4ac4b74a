"""Treatments of simulated wells: guides, combinations of two genes, and compounds at several doses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TOP_DOSE_UM = 10.0
DOSE_FACTOR = 10**0.5  # half a decade between doses, as in RxRx3


@dataclass(frozen=True)
class Treatment:
    """One treatment of wells.

    Attributes:
        perturbation_id: name of the treatment.
        genes: genes that are knocked out, or the gene that the compound targets.
        guide_id: guides, joined by '+'; None for a compound.
        compound_id: compound; None for genes.
        concentration_um: concentration of the compound in micromolar.
        response: fraction of the compound's full effect at this concentration.
        control_kind: "positive" for a positive control, whose genes are not known; None for a treatment.
    """

    perturbation_id: str
    genes: tuple[str, ...]
    guide_id: str | None = None
    compound_id: str | None = None
    concentration_um: float | None = None
    response: float = 1.0
    control_kind: str | None = None

    def columns(self) -> dict[str, Any]:
        """Returns the values of a well's perturbation columns, by column name."""
        is_compound = self.compound_id is not None
        return {
            "perturbation_id": self.perturbation_id,
            "perturbation_kind": "compound" if is_compound else "gene",
            "gene_symbol": None if is_compound else "+".join(self.genes),
            "guide_id": self.guide_id,
            "compound_id": self.compound_id,
            "concentration_um": self.concentration_um,
            "control_kind": self.control_kind,
        }


def treatments(
    genes: Sequence[str], *, n_guides: int, n_combinations: int, n_compounds: int, n_doses: int
) -> list[Treatment]:
    """Returns every guide of every gene, combinations of two genes, and every compound at every dose.

    Combination i consists of gene i and gene i + n / 2, where n is the number of genes. Compound i targets gene i and
    reaches half of its full effect at dose number i modulo `n_doses`.
    """
    found = [
        Treatment(f"{gene}_g{guide}", (gene,), guide_id=f"{gene}_g{guide}")
        for gene in genes
        for guide in range(1, n_guides + 1)
    ]
    for number in range(n_combinations):
        parts = genes[number % len(genes)], genes[(number + len(genes) // 2) % len(genes)]
        guides = "+".join(f"{gene}_g1" for gene in parts)
        found.append(Treatment(guides, parts, guide_id=guides))
    doses = [TOP_DOSE_UM / DOSE_FACTOR ** (n_doses - 1 - number) for number in range(n_doses)]
    for number in range(n_compounds):
        name, half_dose = f"CMPD{number:03d}", doses[number % n_doses]
        found += [
            Treatment(
                f"{name}@{dose:.3g}uM",
                (genes[number % len(genes)],),
                compound_id=name,
                concentration_um=dose,
                response=dose / (dose + half_dose),
            )
            for dose in doses
        ]
    return found


def positive_controls(n_controls: int) -> list[Treatment]:
    """Returns compounds that are positive controls."""
    names = [f"POSITIVE{number:02d}" for number in range(n_controls)]
    return [Treatment(name, (), compound_id=name, control_kind="positive") for name in names]
