"""Designs that are ready to use: a tiny one for tests, and the design of the demo."""

from typing import Any

from cellassets.configuration import validate
from cellassets.synthetic.design import ScreenDesign


def tiny_design(**changes: Any) -> ScreenDesign:
    """Returns a screen that is rendered in seconds: two experiments of HUVEC and one of U2OS, one plate each.

    Args:
        changes: fields of `ScreenDesign` with other values.

    Raises:
        ConfigError: the changed design is not valid.
    """
    values: dict[str, Any] = {
        "cell_types": [{"name": "HUVEC", "n_experiments": 2}, {"name": "U2OS", "n_experiments": 1}],
        "n_plates_per_experiment": 1,
        "n_rows": 6,
        "n_columns": 8,
        "n_sites_per_well": 1,
        "image_size": 96,
        "n_genes": 20,
        "complex_sizes": [3, 3, 3, 3],
        "n_opposite_pairs": 1,
        "inert_frac": 0.2,
        "n_compounds": 2,
        "doses_um": [0.3, 3.0],
        "targeted_frac": 0.5,
        "n_wells_per_perturbation": 1,
        "n_negative_controls": 14,
        "n_positive_controls": 4,
    }
    return validate({**values, **changes}, ScreenDesign, source="tiny_design")


def demo_design(**changes: Any) -> ScreenDesign:
    """Returns the demo's screen: HUVEC in six experiments and U2OS in one, 2,688 sites of 160 pixels in all.

    Networks are trained on two of the experiments and validated on a third, so that models can be compared on three.

    Every plate holds each of 50 genes and 3 compounds at 4 doses once. 36 genes form 9 complexes of 4; the first two
    complexes are opposite. 6 genes have no effect.

    Args:
        changes: fields of `ScreenDesign` with other values.

    Raises:
        ConfigError: the changed design is not valid.
    """
    values: dict[str, Any] = {
        "cell_types": [{"name": "HUVEC", "n_experiments": 6}, {"name": "U2OS", "n_experiments": 1}],
        "n_plates_per_experiment": 2,
        "n_rows": 8,
        "n_columns": 12,
        "n_sites_per_well": 2,
        "image_size": 160,
        "n_genes": 50,
        "complex_sizes": [4] * 9,
        "n_opposite_pairs": 1,
        "inert_frac": 0.12,
        "n_compounds": 3,
        "doses_um": [0.1, 0.5, 2.5, 12.5],
        "targeted_frac": 0.67,
        "n_wells_per_perturbation": 2,
        "n_negative_controls": 26,
        "n_positive_controls": 8,
    }
    return validate({**values, **changes}, ScreenDesign, source="demo_design")
