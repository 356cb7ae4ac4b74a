"""Loading the Dagster definitions compared with importing dagster alone: wall time of fresh interpreters, in turns.

Goal: at most 1.5 times. Prints JSON and keeps it in bench/results/definitions.json.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
N_ROUNDS = 9
SIDES = {"dagster_s": "import dagster", "definitions_s": "import cellassets.definitions"}


def seconds(code: str) -> float:
    """Returns the wall time of one interpreter that runs `code`."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=REPOSITORY)
    return time.perf_counter() - started


def main() -> None:
    """Measures both sides in turns, prints and keeps the medians and their ratio."""
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    for n_round in range(N_ROUNDS + 1):
        for name, code in SIDES.items():
            elapsed = seconds(code)
            if n_round:  # the first round fills the file cache
                times[name].append(elapsed)
    result = {name: round(statistics.median(values), 3) for name, values in times.items()}
    result["ratio"] = round(result["definitions_s"] / result["dagster_s"], 3)
    result["goal_at_most"] = 1.5
    text = json.dumps(result, indent=1)
    (REPOSITORY / "bench" / "results" / "definitions.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
