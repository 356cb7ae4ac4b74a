"""`make demo` from an empty folder: wall time, CPU time, and where both go. The limit is 360 s on two cores.

    .venv/bin/python bench/demo.py [--home FOLDER]

Simulating the screen is part of it; installing is not. Writes bench/results/demo.json.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import dagster as dg

REPOSITORY = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "demo.json"
GOAL_S = 360.0


def run_demo(home: Path) -> dict[str, float]:
    """Returns wall and CPU seconds of one demo, its daemon and its runs included."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, str(REPOSITORY / "scripts" / "demo.py"), "--home", str(home)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall_s, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall_s": wall_s, "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def runs_of(home: Path) -> dict[str, dict[str, Any]]:
    """Returns number, seconds of work and seconds of waiting of the demo's runs, by their first asset."""
    os.environ["DAGSTER_HOME"] = str(home / "dagster")
    found: dict[str, dict[str, Any]] = defaultdict(lambda: {"n_runs": 0, "work_s": 0.0, "wait_s": 0.0})
    with dg.DagsterInstance.get() as instance:
        for record in instance.get_run_records():
            names = sorted(key.to_user_string() for key in record.dagster_run.asset_selection or ())
            name = "perturbation_map" if "perturbation_map" in names else names[0]
            row = found[name]
            row["n_runs"] += 1
            row["work_s"] += (record.end_time or 0) - (record.start_time or 0)
            row["wait_s"] += (record.start_time or 0) - record.create_timestamp.timestamp()
    return {name: {key: round(value, 1) for key, value in row.items()} for name, row in sorted(found.items())}


def main() -> None:
    """Runs the demo once, prints the table and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="folder that does not exist yet (default: a temporary one)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = chosen.home or Path(scratch) / "home"
        load_before = os.getloadavg()[0]
        seconds = run_demo(home)
        runs = runs_of(home)
    ratio = seconds["wall_s"] / GOAL_S
    n_runs = sum(row["n_runs"] for row in runs.values())
    print(f"demo: {seconds['wall_s']:.0f} s, {ratio:.2f} of the limit; {seconds['cpu_s']:.0f} s of CPU")
    for name, row in runs.items():
        print(f"  {name:<40} {row['n_runs']:>3} runs {row['work_s']:>7.1f} s work {row['wait_s']:>7.1f} s waiting")
    print(f"  {n_runs} runs in all")
    values = {
        "python": platform.python_version(),
        "n_cores": os.cpu_count(),
        "load_before": round(load_before, 2),
        **{name: round(value, 1) for name, value in seconds.items()},
        "ratio_to_goal": round(ratio, 3),
        "runs": runs,
    }
    RESULTS.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
