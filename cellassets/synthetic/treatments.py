"""What a simulated screen of wells is treated with: guides, combinations of two genes, compounds at doses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TOP_DOSE_UM = 10.0
DOSE_FACTOR = 10**0.5  # half a decade between doses, as in RxRx3


@dataclass(frozen=True)
class Treatment:
    """One thing done to wells.

    Attributes:
        perturbation_id: its name.
        genes: genes knocked out, or the gene that the compound targets.
        guide_id: guides that did it, joined by '+'.
        compound_id: compound.
        concentration_um: its dose in micromolar.
        response: share of the compound's full effect at this dose.
    """

    perturbation_id: str
    genes: tuple[str, ...]
    guide_id: str | None = None
    compound_id: str | None = None
    concentration_um: float | None = None
    response: float = 1.0

    def columns(self) -> dict[str, Any]:
        """Returns the perturbation columns of a well."""
        is_compound = self.compound_id is not None
        return {
            "perturbation_id": self.perturbation_id,
            "perturbation_kind": "compound" if is_compound else "gene",
            "gene_symbol": None if is_compound else "+".join(self.genes),
            "guide_id": self.guide_id,
            "compound_id": self.compound_id,
            "concentration_um": self.concentration_um,
        }


def treatments(
    genes: Sequence[str], *, n_guides: int, n_combinations: int, n_compounds: int, n_doses: int
) -> list[Treatment]:
    """Returns every guide of every gene, combinations of two genes, and every compound at every dose.

    Combination i is of the genes i and i + half of them; compound i targets gene i, and is half as strong as it can be
    at the (1 + i mod doses)-th dose.
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
