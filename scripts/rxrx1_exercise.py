"""Carries a recipe of RxRx1 out on a simulated screen with its layout and class counts, and classifies held-out wells.

    .venv/bin/python scripts/rxrx1_exercise.py exercise --image-size 64             # small images
    .venv/bin/python scripts/rxrx1_exercise.py exercise                             # 512 x 512 pixels, as RxRx1
    .venv/bin/python scripts/rxrx1_exercise.py exercise --recipe winner --whole-network --epochs 90   # needs a GPU

The last experiment is held out, and the recipe is the one in configs/examples with the simulated experiments, a small
network and few epochs. What exists in the folder already is not made again. Time and peak memory of each step are
shown. docs/rxrx1.md explains the result.
"""

import argparse
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from upath import UPath

from cellassets.benchmarks.published.rxrx1 import accuracies
from cellassets.cli.output import progress_bar, show_rows
from cellassets.configuration import load_yaml
from cellassets.errors import CellAssetsError
from cellassets.progress import Progress
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.stages.classification import classify
from cellassets.storage.deployment import Deployment
from cellassets.synthetic.design import ScreenDesign
from cellassets.synthetic.screen import write_screen
from cellassets.synthetic.truth import write_truth

EXAMPLES = Path(__file__).parents[1] / "configs/examples"
SMALL = {
    "backbone": {"family": "resnet", "stem_width": 16, "widths": [16, 32, 64], "depths": [1, 1, 1]},
    "embedding_dim": 64,
    "batch_size": 64,
}
HELD_OUT = "held_out"
N_PLATES = 4


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 after showing accuracies, 1 if something was refused."""
    asked = _parser().parse_args(arguments)
    design = simulated_design(asked.experiments, asked.image_size)
    deployment = prepared(asked.home, design, exercise_recipe(asked, list(design.experiments)), asked.recipe)
    try:
        with progress_bar() as report:
            landed(asked, design, report)
            write_truth(design, asked.home / "truth")
            found = carried_out(deployment, list(design.experiments), asked, report)
    except CellAssetsError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    show_rows(accuracies(found).to_dicts(), as_json=False, empty="no site of a known class")
    return 0


def simulated_design(n_experiments: int, image_size: int) -> ScreenDesign:
    """Returns the design in configs/examples with other numbers of experiments and pixels."""
    design = load_yaml(UPath(EXAMPLES / "designs/rxrx1_like.yaml"), ScreenDesign)
    cells = [{"name": design.cell_types[0].name, "n_experiments": n_experiments}]
    return ScreenDesign.model_validate({**design.model_dump(), "cell_types": cells, "image_size": image_size})


def exercise_recipe(asked: argparse.Namespace, experiments: list[str]) -> dict[str, Any]:
    """Returns the recipe of configs/examples for simulated experiments, of which the last one is held out."""
    values = yaml.safe_load((EXAMPLES / f"recipes/rxrx1_{asked.recipe}.yaml").read_text())
    values |= {"train_experiments": experiments[:-1], "validation_experiments": experiments[-1:]}
    values |= {"n_epochs": asked.epochs, "validate_every_n_epochs": asked.epochs}
    if asked.held_out_plates < N_PLATES:  # the other plates have the other treatments
        values["classes"] |= {"has_unmatched_classes": True}
    if "control_experiments" in values:
        values["control_experiments"] = experiments[-1:]
    if "centre_crop_px" in values:  # half of the side of a site
        values["centre_crop_px"] = values["augmentation"]["crop_px"] = asked.image_size // 2
    if not asked.whole_network:
        values |= {**SMALL, "precision": "32-true"}
        values["optimiser"] |= {"learning_rate": asked.learning_rate}
    return values


def prepared(home: Path, design: ScreenDesign, recipe: dict[str, Any], name: str) -> Deployment:
    """Returns the deployment in a folder, after writing its settings."""
    held_out = list(design.experiments)[-1]
    files = {
        "deployment.yaml": {"configs": "configs"},
        "configs/policy.yaml": {},
        f"configs/recipes/{name}.yaml": recipe,
        f"configs/datasets/{HELD_OUT}.yaml": {"experiment_ids": [held_out]},
    }
    for file, values in files.items():
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).write_text(yaml.safe_dump(values, sort_keys=False))
    return Deployment.of({}, home=home)


def landed(asked: argparse.Namespace, design: ScreenDesign, report: Progress) -> None:
    """Writes the experiments into the landing zone, of the held-out one as many plates as are asked for."""
    *trained, held_out = design.experiments
    with measured("simulation"):
        write_screen(design, asked.home / "landing", experiment_ids=trained, progress=report)
        plates = design.plate_ids[: asked.held_out_plates]
        write_screen(design, asked.home / "landing", experiment_ids=[held_out], plate_ids=plates, progress=report)


@contextmanager
def measured(what: str) -> Iterator[None]:
    """Shows the time of a step, and the largest memory that this process has had so far."""
    started = time.monotonic()
    yield
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux: in KiB
    sys.stderr.write(f"{what}: {time.monotonic() - started:.0f} s, peak memory {peak_mib:.0f} MiB\n")


def carried_out(
    deployment: Deployment, experiments: list[str], asked: argparse.Namespace, report: Progress
) -> pl.DataFrame:
    """Returns the predictions for the held-out experiment, after making everything that they need."""

    def make(name: str, *keys: str) -> Any:
        stage = stage_named(name)
        with measured(f"{name} {' '.join(keys)}"):
            return carry_out(stage, deployment, stage.by_axis(keys), progress=report)

    for experiment_id in experiments:
        for name in ("raw_plates", "plate_store"):
            make(name, experiment_id)
    summary = make("checkpoint", asked.recipe).record.summary
    sys.stderr.write(f"metrics of the last epoch: {summary['metrics']}\n")
    make("site_embeddings", experiments[-1], summary["model_key"])
    with measured(f"classification in {asked.views} views"):
        return classify(deployment, summary["model_key"], HELD_OUT, n_views=asked.views, progress=report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, help="new folder, or that of an earlier call")
    parser.add_argument("--recipe", choices=("wilds", "winner"), default="wilds")
    parser.add_argument("--experiments", type=int, default=3, help="simulated experiments, at least 2")
    parser.add_argument(
        "--held-out-plates", type=int, default=N_PLATES, help="simulated plates of the held-out experiment"
    )
    parser.add_argument("--views", type=int, default=1, help="views of each site that are classified, 1 to 8")
    parser.add_argument("--image-size", type=int, default=512, help="height and width in pixels")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=3e-3, help="of the small network")
    parser.add_argument("--whole-network", action="store_true", help="the network of the recipe, not a small one")
    return parser


if __name__ == "__main__":
    sys.exit(main())
