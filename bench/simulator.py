"""Speed of the simulator with two threads in sites per second, compared with the goal and with PNG encoding.

The goal is at least 20 six-channel sites of 512 x 512 pixels per second on two cores, PNG encoding not counted. On
shared cores the wall time depends on other work, so CPU time is reported too. Prints JSON and writes it to
bench/results/simulator.json.
"""

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs

from cellassets.synthetic.biology import plant_biology
from cellassets.synthetic.presets import demo_design
from cellassets.synthetic.screen import PNG_LEVEL, experiment_wells
from cellassets.synthetic.site import render_site

RESULT = Path(__file__).parent / "results" / "simulator.json"
GOAL_SITES_PER_S = 20.0
N_THREADS = 2
N_SITES = 96
N_ROUNDS = 3


def timed(work: Callable[[Any], Any], items: Iterable[Any]) -> tuple[list[Any], float, float]:
    """Returns the results of `work` on all items with two threads, wall seconds and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(N_THREADS) as pool:
        results = list(pool.map(work, items))
    return results, time.perf_counter() - wall, time.process_time() - cpu


def measure(image_size: int) -> dict[str, float]:
    """Returns the best of a few rounds of rendering and of encoding the same sites."""
    design = demo_design(image_size=image_size)
    biology = plant_biology(design)
    wells = [w for e in ("HUVEC-1", "U2OS-1") for w in experiment_wells(design, biology, e)[: N_SITES // 2]]
    render_site(design, wells[0], 1)  # makes the texture bank, once for a screen
    rendered = [timed(lambda well: render_site(design, well, 1), wells) for _ in range(N_ROUNDS)]
    sites = rendered[0][0]
    encoded = [timed(lambda site: [imagecodecs.png_encode(p, level=PNG_LEVEL) for p in site], sites) for _ in rendered]
    render_s, render_cpu_s = (min(r[i] for r in rendered) for i in (1, 2))
    encode_s = min(e[1] for e in encoded)
    return {
        "image_size": image_size,
        "sites_per_s": round(N_SITES / render_s, 1),
        "sites_per_cpu_s": round(N_SITES / render_cpu_s, 1),
        "png_sites_per_s": round(N_SITES / encode_s, 1),
        "ratio_to_png_encoding": round(encode_s / render_s, 2),
    }


def main() -> None:
    """Measures images of the goal's size and of the demo's size, prints both and writes them to the result file."""
    full = measure(512)
    result = {
        "n_threads": N_THREADS,
        "goal_sites_per_s": GOAL_SITES_PER_S,
        "ratio_to_goal": round(full["sites_per_s"] / GOAL_SITES_PER_S, 2),
        "full": full,
        "demo": measure(demo_design().image_size),
    }
    text = json.dumps(result, indent=1)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
