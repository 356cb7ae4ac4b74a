"""Morphological axes: a perturbation acts on them, and the planted truth is a vector over them.

Their order is the order of every effect vector in this package and of the columns in `perturbations.csv`.
`morphology.py` says what one unit of an axis changes in the image.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """One interpretable direction of morphology."""

    name: str
    meaning: str


AXES: tuple[Axis, ...] = (
    Axis("cell_number", "cells in the field of view"),
    Axis("cell_size", "area that a cell covers"),
    Axis("cell_elongation", "spindle-shaped (positive) or round (negative) cells"),
    Axis("nuclear_size", "nuclear area"),
    Axis("nuclear_elongation", "elongated (positive) or round (negative) nuclei"),
    Axis("chromatin_texture", "clumped (positive) or even (negative) chromatin"),
    Axis("er_intensity", "brightness of the endoplasmic reticulum"),
    Axis("actin_intensity", "brightness of cortical actin"),
    Axis("actin_fibres", "stress fibres in the cell body"),
    Axis("nucleolar_size", "size of nucleoli"),
    Axis("rna_intensity", "brightness of cytoplasmic RNA"),
    Axis("mito_spread", "mitochondria in the periphery (positive) or around the nucleus (negative)"),
    Axis("mito_fragmentation", "punctate (positive) or filamentous (negative) mitochondria"),
    Axis("golgi_intensity", "brightness of the Golgi apparatus"),
)
AXIS_NAMES: tuple[str, ...] = tuple(axis.name for axis in AXES)
N_AXES = len(AXES)
