"""The classical features compared with cp_measure, on the same sites of the demo's screen, in one run.

Each family runs here and by cp_measure (`encoders/classical/reference.py`), site by site in turns. A time is the median
CPU time over the sites, which depends less on other work on the machine than the wall time. `whole` is everything that
the demo's recipe does to a site: segmentation, four families, medians. `all_cores` measures the sites in one process
per core, in wall time, with the start of the processes beside it. `load` is the load of the machine when the run ends.
Goal: at least 5 times as fast as a whole. Prints JSON and keeps it in bench/results/classical_features.json.

    OMP_NUM_THREADS=1 python bench/classical_features.py
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

import numpy as np
from upath import UPath

from cellassets.encoders.classical.objects import Objects
from cellassets.encoders.classical.reference import reference_measures
from cellassets.encoders.classical.site import Acquisition, _grown, _over_objects, measure_objects, measure_site
from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.quality.nuclei import segment_nuclei
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy
from cellassets.synthetic.presets import demo_design
from cellassets.synthetic.screen import write_screen
from cellassets.training.recipe import ClassicalParameters, FeatureFamily

RESULT = Path(__file__).parent / "results" / "classical_features.json"
EXPERIMENT = "HUVEC-1"
RECIPE = ClassicalParameters()
ACQUISITION = Acquisition(nucleus_channel=0, nucleus_diameter_px=16.0)
Labelled = tuple[dict[str, np.ndarray], np.ndarray]


def demo_sites(n_sites: int) -> np.ndarray:
    """Returns sites of the demo's first experiment, spread evenly over it: `[site, channel, y, x]`."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_screen(demo_design(), root / "landing", experiment_ids=[EXPERIMENT])
        manifest = check_experiment(UPath(root / "landing"), EXPERIMENT, policy=IngestPolicy())
        packing = Packing(UPath(root / "landing" / EXPERIMENT), UPath(root / "packed"), manifest.imaging)
        packed = pack_plates(manifest.images, manifest.wells, packing)
        store = ExperimentStore.open(packing.target, packed.files, EXPERIMENT)
        return store.read(np.linspace(0, store.n_sites - 1, n_sites).astype(int))


def segmented(images: np.ndarray) -> dict[str, Objects]:
    """Returns nuclei and cells of a site, as `measure_site` segments them."""
    nuclei = segment_nuclei(images[0], ACQUISITION.nucleus_diameter_px)
    return {"Nuclei": Objects(nuclei), "Cells": Objects(_grown(nuclei, RECIPE.cell_growth_px))}


def whole_by_cp_measure(images: np.ndarray) -> dict[str, float]:
    """Returns the features of a site with every family measured by cp_measure."""
    kinds = segmented(images)
    measured: dict[str, Any] = {}
    for family in RECIPE.families:
        measured |= reference_measures(family, kinds, images, RECIPE)
    return {"Nuclei_Count": float(kinds["Nuclei"].n_objects)} | _over_objects(measured)


def milliseconds(work: Callable[[], object]) -> float:
    """Returns the wall time of one call."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def cpu_milliseconds(work: Callable[[], object]) -> float:
    """Returns the CPU time of one call."""
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e3


def compared(ours: Callable[[Any], object], theirs: Callable[[Any], object], inputs: list[Any]) -> dict[str, float]:
    """Returns the median times of both sides over the inputs, after one call of each, and how they compare."""
    ours(inputs[0]), theirs(inputs[0])
    times = [(cpu_milliseconds(partial(ours, each)), cpu_milliseconds(partial(theirs, each))) for each in inputs]
    our_ms, their_ms = (statistics.median(side) for side in zip(*times, strict=True))
    return {
        "ms_per_site": round(our_ms, 2),
        "cp_measure_ms_per_site": round(their_ms, 2),
        "times_as_fast": round(their_ms / our_ms, 1),
    }


def by_family(sites: np.ndarray) -> dict[str, dict[str, float]]:
    """Returns the comparison of each family on sites that are segmented beforehand."""
    labelled = [({kind: found.labels for kind, found in segmented(images).items()}, images) for images in sites]

    def ours(site: Labelled, family: FeatureFamily) -> object:
        labels, images = site
        return dict(measure_objects(fresh(labels), images, ClassicalParameters(families=(family,)), white=255))

    def theirs(site: Labelled, family: FeatureFamily) -> object:
        labels, images = site
        return reference_measures(family, fresh(labels), images, RECIPE)

    return {
        family: compared(partial(ours, family=family), partial(theirs, family=family), labelled)
        for family in get_args(FeatureFamily)
    }


def fresh(labels: dict[str, np.ndarray]) -> dict[str, Objects]:
    """Returns objects that have not computed anything yet: they keep their pixel lists."""
    return {kind: Objects(found) for kind, found in labels.items()}


def on_all_cores(sites: np.ndarray) -> dict[str, float]:
    """Returns sites per second in one process per core, in threads and in this process, and what the processes cost."""
    n_cores = os.cpu_count() or 1
    ours, theirs = partial(measure_site, parameters=RECIPE, acquisition=ACQUISITION), whole_by_cp_measure
    with ProcessPoolExecutor(n_cores, mp_context=get_context("spawn")) as pool:
        start_s = milliseconds(lambda: list(pool.map(ours, sites[:n_cores]))) / 1e3
        list(pool.map(theirs, sites[:n_cores]))
        pooled = milliseconds(lambda: list(pool.map(ours, sites, chunksize=4))) / 1e3
        pooled_theirs = milliseconds(lambda: list(pool.map(theirs, sites, chunksize=4))) / 1e3
    with ThreadPoolExecutor(n_cores) as threads:
        threaded = milliseconds(lambda: list(threads.map(ours, sites))) / 1e3
    alone = milliseconds(lambda: [ours(site) for site in sites]) / 1e3
    return {
        "n_cores": n_cores,
        "sites_per_s": round(len(sites) / pooled, 1),
        "cp_measure_sites_per_s": round(len(sites) / pooled_theirs, 1),
        "times_as_fast": round(pooled_theirs / pooled, 1),
        "start_of_processes_s": round(start_s, 2),
        "sites_per_s_in_threads": round(len(sites) / threaded, 1),
        "sites_per_s_in_one_process": round(len(sites) / alone, 1),
    }


def main() -> None:
    """Measures, prints and keeps the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=48, help="number of sites (default: 48)")
    sites = demo_sites(parser.parse_args().sites)
    segmentation = [cpu_milliseconds(partial(segmented, images)) for images in sites]
    ours, theirs = measure_site(sites[0], RECIPE, ACQUISITION), whole_by_cp_measure(sites[0])
    np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-6, atol=1e-9)
    result = {
        "n_sites": len(sites),
        "site_shape": list(sites.shape[1:]),
        "n_features": len(ours),
        "n_nuclei_per_site": round(float(np.mean([segmented(images)["Nuclei"].n_objects for images in sites])), 1),
        "segmentation_ms_per_site": round(statistics.median(segmentation), 2),
        "families": by_family(sites),
        "whole": compared(lambda images: measure_site(images, RECIPE, ACQUISITION), whole_by_cp_measure, list(sites)),
        "all_cores": on_all_cores(sites),
        "goal_at_least_times_as_fast": 5,
        "load": round(os.getloadavg()[0], 1),
    }
    text = json.dumps(result, indent=1)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
