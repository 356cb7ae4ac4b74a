"""Accuracy of estimated illumination functions, compared with the one that the simulator planted.

Fields of cells without a gradient are cut from larger simulated fields of 512 x 512 pixels, with about 45 cells each,
turned and mirrored, and photographed by the simulated camera with one uneven illumination. So cells are everywhere
equally frequent, and the truth is known at every pixel. Errors are of the ratio of estimated and planted function, both
divided by their means, in percent. Each number is the mean of the six channels, a maximum is the largest of them. The
published filter is that of references/illumination.py. What correction gives is measured on images that the functions
were not estimated from: the same fields, turned otherwise.

    python bench/illumination.py

Takes 15 minutes of one core. Prints JSON and writes it to bench/results/illumination.json.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from references.illumination import published_function

from cellassets.images.illumination_estimate import IlluminationEstimate, MeanImage
from cellassets.quality.measures import illumination_cv
from cellassets.synthetic import camera
from cellassets.synthetic.biology import plant_biology
from cellassets.synthetic.cells import draw_cells
from cellassets.synthetic.morphology import well_morphology
from cellassets.synthetic.nuisances import Conditions
from cellassets.synthetic.presets import demo_design
from cellassets.synthetic.screen import experiment_wells
from cellassets.synthetic.seeds import stream
from cellassets.synthetic.site import Well
from cellassets.synthetic.stains import Stainer
from cellassets.synthetic.textures import texture_bank

RESULT = Path(__file__).parent / "results" / "illumination.json"
SIDE, MARGIN, DIAMETER_PX = 512, 64, 80.0
DESIGN = demo_design(image_size=SIDE + 2 * MARGIN, cell_diameter_px=DIAMETER_PX)
PLANTED = {"vignette": 0.25, "centre_y": 0.15, "centre_x": -0.1}
N_SITES = 200
N_IMAGES = (8, 16, 32, 64, 128, 256, 512, 1024, 1600)
WIDTHS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
WIDTH = 0.25
OFFSETS = (0.1, 0.25, 0.5)  # of the mean grey level
N_BRIGHT, N_CLUSTERED, N_ESTIMATED = 256, 512, 1024
CLUSTERING = 0.5  # of the light is gone in the corners

Images = np.ndarray


def conditions_with(base: Conditions, **shape: float) -> Conditions:
    """Returns the conditions of a well with another illumination."""
    return Conditions(base.axis_shift, base.log_gain, base.offset, base.blur, base.bleed, **shape)


def fields() -> Iterator[tuple[Images, Conditions, np.random.Generator]]:
    """Yields light without an illumination, in eight orientations per site, in a random order of the sites."""
    wells = experiment_wells(DESIGN, plant_biology(DESIGN), "HUVEC-1")
    order = np.random.default_rng(0).permutation(len(wells))
    painted = [paint(wells[order[number % len(wells)]], number) for number in range(N_SITES)]
    for turn in range(8):
        for light, conditions, rng in painted:
            turned = np.rot90(light if turn < 4 else light[:, ::-1], turn % 4, axes=(1, 2))
            yield np.ascontiguousarray(turned, np.float32), conditions, rng


def paint(well: Well, number: int) -> tuple[Images, Conditions, np.random.Generator]:
    """Returns the light of one site, in half precision to save memory."""
    rng = stream(DESIGN.seed, "bench", well.well_id, number)
    look = well_morphology(DESIGN, well.cell_type, well.perturbation.effect + well.conditions.axis_shift)
    cells = draw_cells(look, DESIGN.image_size, DIAMETER_PX, rng)
    light = Stainer(look, cells, texture_bank(DESIGN), rng).paint()
    return light[:, MARGIN:-MARGIN, MARGIN:-MARGIN].astype(np.float16), well.conditions, rng


def errors(estimates: list[IlluminationEstimate], truth: np.ndarray) -> dict[str, float]:
    """Returns errors of the estimates, and what they say of themselves, in percent."""
    ratios = [(e.function / e.function.mean()) / (truth / truth.mean()) - 1 for e in estimates]
    found = {
        "rms": percent(np.mean([np.sqrt(np.mean(r**2)) for r in ratios])),
        "max": percent(max(np.abs(r).max() for r in ratios)),
    }
    reported = [e.uncertainty_frac for e in estimates if e.uncertainty_frac is not None]
    return {**found, "uncertainty_reported": percent(np.mean(reported))} if reported else found


def rms(function: np.ndarray, truth: np.ndarray) -> float:
    """Returns the root mean square of the relative error of a function."""
    return float(np.sqrt(np.mean(((function / function.mean()) / (truth / truth.mean()) - 1) ** 2)))


def percent(value: float) -> float:
    """Returns a fraction in percent."""
    return round(100 * float(value), 2)


def ring_ratio(image: np.ndarray) -> float:
    """Returns the mean of the outer eighth of an image divided by that of its middle quarter."""
    edge, middle = np.ones(image.shape, bool), slice(SIDE * 3 // 8, SIDE * 5 // 8)
    edge[SIDE // 8 : -SIDE // 8, SIDE // 8 : -SIDE // 8] = False
    return float(image[edge].mean() / image[middle, middle].mean())


class Trial:
    """Everything that is measured in one pass over the images."""

    def __init__(self) -> None:
        self.means = [MeanImage((SIDE, SIDE)) for _ in range(6)]
        self.flat = [MeanImage((SIDE, SIDE)) for _ in range(6)]
        self.offset = {frac: MeanImage((SIDE, SIDE)) for frac in OFFSETS}
        self.bright, self.clustered = MeanImage((SIDE, SIDE)), MeanImage((SIDE, SIDE))
        self.plain, self.sums = np.zeros((SIDE, SIDE)), np.zeros((6, SIDE, SIDE))
        self.by_n: dict[str, dict[str, float]] = {}
        self.functions: np.ndarray | None = None
        self.raw, self.corrected = np.zeros((6, SIDE, SIDE)), np.zeros((6, SIDE, SIDE))
        self.measures: list[tuple[float, float]] = []
        self.seconds = 0.0

    def add(self, number: int, light: Images, conditions: Conditions, rng: np.random.Generator) -> None:
        """Adds the images of one site to all that is measured."""
        uneven, level = conditions_with(conditions, **PLANTED), conditions_with(conditions)
        images = camera.photograph(light.copy(), uneven, DIAMETER_PX, rng)
        self.sums += images
        started = time.process_time()
        for mean, image in zip(self.means, images, strict=True):
            mean.add(image)
        self.seconds += time.process_time() - started
        for mean, image in zip(self.flat, flat_photograph(light, level, rng), strict=True):
            mean.add(image)
        for frac, mean in self.offset.items():
            mean.add(images[1] + np.uint16(round(frac / (1 - frac) * images[1].mean())))
        if number < N_BRIGHT:
            self._add_bright(number, images[1])
        if number < N_CLUSTERED:
            line = np.linspace(-1, 1, SIDE)
            thinner = 1 - CLUSTERING / 2 * (line[:, None] ** 2 + line[None] ** 2)
            self.clustered.add(flat_photograph(light * thinner.astype(np.float32), level, rng)[1])
        if self.functions is not None:
            self._correct(images, self.functions, is_measured=number % 20 == 0)
        if number + 1 == N_ESTIMATED:
            self.functions = np.stack([mean.estimate(WIDTH).function for mean in self.means])

    def _correct(self, images: Images, functions: np.ndarray, *, is_measured: bool) -> None:
        corrected = np.rint(images / functions).astype(np.uint8)
        self.raw += images
        self.corrected += corrected
        if is_measured:
            pairs = zip(images, corrected, strict=True)
            self.measures += [(illumination_cv(before), illumination_cv(after)) for before, after in pairs]

    def _add_bright(self, number: int, image: np.ndarray) -> None:
        """Adds an image of 12 bits; the first one has a clipped object of 16 bits on a sixteenth of its area."""
        image = image.astype(np.uint16) * 16
        if number == 0:
            image[: SIDE // 4, : SIDE // 4] = 65_535
        self.bright.add(image)
        self.plain += image


def flat_photograph(light: Images, conditions: Conditions, rng: np.random.Generator) -> Images:
    """Returns images of a camera with even light."""
    vignette, camera.VIGNETTE = camera.VIGNETTE, 0.0
    try:
        return camera.photograph(light.copy(), conditions, DIAMETER_PX, rng)
    finally:
        camera.VIGNETTE = vignette


def measure() -> dict[str, object]:
    """Returns all figures."""
    trial, truth = Trial(), None
    for number, (light, conditions, rng) in enumerate(fields()):
        if truth is None:
            truth = camera.planted_illumination(SIDE, conditions_with(conditions, **PLANTED))
        trial.add(number, light, conditions, rng)
        if number + 1 in N_IMAGES:
            trial.by_n[str(number + 1)] = {
                **errors([mean.estimate(WIDTH) for mean in trial.means], truth),
                "published_rms": percent(np.mean([rms(published_function(total), truth) for total in trial.sums])),
            }
    widths = {str(width): errors([mean.estimate(width) for mean in trial.means], truth) for width in WIDTHS}
    uncorrected = np.abs(truth.mean() / truth - 1)
    plain = MeanImage((SIDE, SIDE))
    plain.add(np.rint(trial.plain / trial.plain.max() * 65_535).astype(np.uint16))
    return {
        "n_images": trial.means[0].n_images,
        "uncorrected": {"rms": percent(rms(np.ones_like(truth), truth)), "max": percent(uncorrected.max())},
        f"by_number_of_images_at_{WIDTH}": trial.by_n,
        "by_width_of_the_filter": widths,
        "flat_field": errors([mean.estimate(WIDTH) for mean in trial.flat], np.ones_like(truth)),
        "illumination_measure_of_single_images": dict(
            zip(("before", "after"), map(percent, np.mean(trial.measures, axis=0)), strict=True)
        ),
        "illumination_measure_of_the_mean_image": before_and_after(trial, mean_cv),
        "edge_to_middle": before_and_after(trial, ring_ratio),
        "camera_offset_left_rms": {
            str(frac): percent(left_after_offset(mean, truth)) for frac, mean in trial.offset.items()
        },
        f"one_bright_image_of_{N_BRIGHT}": {
            "images_scaled": errors([trial.bright.estimate(WIDTH)], truth),
            "plain_mean": errors([plain.estimate(WIDTH)], truth),
        },
        "cells_clustered_in_the_middle_under_even_light": errors(
            [trial.clustered.estimate(WIDTH)], np.ones_like(truth)
        ),
        "cpu_ms_per_image_of_512": round(1000 * trial.seconds / 6 / trial.means[0].n_images, 2),
    }


def before_and_after(trial: Trial, measure: Callable[[np.ndarray], float]) -> dict[str, float]:
    """Returns a measure of the sum of all images, as they are and corrected."""
    pairs = {"before": trial.raw, "after": trial.corrected}
    return {name: percent(np.mean([measure(image) for image in sums])) for name, sums in pairs.items()}


def mean_cv(image: np.ndarray) -> float:
    """Returns the quality measure of uneven illumination of a mean image."""
    return illumination_cv(np.rint(image / image.max() * 65_535).astype(np.uint16))


def left_after_offset(mean: MeanImage, truth: np.ndarray) -> float:
    """Returns the unevenness of light above the offset after division by a function that includes the offset."""
    left = truth / mean.estimate(WIDTH).function
    return float(left.std() / left.mean())


def main() -> None:
    """Measures, prints and writes the result."""
    result = measure()
    print(json.dumps(result, indent=1))
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
