"""Runs the calibration study on every registered benchmark and writes its page into docs/.

    .venv/bin/python scripts/calibrate.py                 # all, as `make calibrate` does
    .venv/bin/python scripts/calibrate.py --benchmark perturbation_magnitude --seeds 400   # one, printed
    .venv/bin/python scripts/calibrate.py --gate          # the section on the production gate, printed
    .venv/bin/python scripts/calibrate.py --similarity    # the section on the similarity of two perturbations, printed

Two hundred screens per null scenario take about twenty minutes on two cores.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small matrices: the cores are better used by screens side by side

from rich.console import Console
from rich.progress import Progress

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.studies.calibration import run_study
from cellassets.studies.calibration_page import calibration_page, calibration_picture
from cellassets.studies.collapsed_maps import collapsed_section, collapsed_study
from cellassets.studies.coverage import coverage_section, run_coverage
from cellassets.studies.gate_page import gate_section, run_gate_study
from cellassets.studies.similarity_calibration import run_similarity_study, similarity_section

N_COLLAPSED = 24  # maps of every collapsed family
N_COVERAGE = 800  # draws of each cell of the table of intervals
DOCS = Path(__file__).parents[1] / "docs"
GATE_STUDY = {"n_null": 1000, "n_power": 100, "n_guards": 25}


def main() -> None:
    """Runs the study; with `--benchmark` the page is printed to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--benchmark", action="append", choices=sorted(BENCHMARKS), help="only this one; may be repeated"
    )
    parser.add_argument("--seeds", type=int, default=200, help="simulated screens of every null")
    parser.add_argument("--power-seeds", type=int, default=40, help="simulated screens of every planted effect")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--gate", action="store_true", help="only the simulation of the production gate")
    parser.add_argument("--similarity", action="store_true", help="only the p-values of similarities")
    chosen = parser.parse_args()
    if chosen.similarity:
        print(similarity_section(run_similarity_study()))
        return
    if chosen.gate:
        print(gate_section(run_gate_study(**GATE_STUDY, n_workers=chosen.workers)))
        return
    names = chosen.benchmark or sorted(BENCHMARKS)
    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("simulated screens")
        study = run_study(
            names,
            n_null=chosen.seeds,
            n_power=chosen.power_seeds,
            n_workers=chosen.workers,
            progress=lambda done, total, _what: bars.update(bar, completed=done, total=total),
        )
    with ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool:
        coverage = pool.submit(run_coverage, N_COVERAGE)
        collapsed = pool.submit(collapsed_study, names, n_seeds=min(chosen.seeds, N_COLLAPSED))
        similarity = pool.submit(run_similarity_study)
        sections = (
            coverage_section(coverage.result()),
            similarity_section(similarity.result()),
            collapsed_section(collapsed.result()),
        )
    page = "\n".join((calibration_page(study, command="make calibrate"), *sections))
    if chosen.benchmark:
        print(page)
        return
    gate = gate_section(run_gate_study(**GATE_STUDY, n_workers=chosen.workers))
    (DOCS / "calibration.md").write_text(f"{page}\n{gate}")
    (DOCS / "images" / "calibration.svg").write_text(calibration_picture(study))
    print(f"{DOCS / 'calibration.md'}: {study.height} p-values of {len(names)} benchmarks")


if __name__ == "__main__":
    main()
