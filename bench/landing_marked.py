"""Time of a scan of marked experiments that did not change: what a sensor does every few seconds.

200 experiments of 4 plates with 500 files each, on local disk. Three ways are compared:

- `marker_only`: marker, metadata and `experiment.yaml` of each experiment, as before repairs were seen.
- `idle`: what a sensor does now: these files, and identity and times of each folder.
- `full`: every file, as the first scan of a process, and as a scan would without readings of earlier ones.

Prints JSON and writes it to bench/results/landing_marked.json.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from upath import UPath

from cellassets.fingerprint import fingerprint
from cellassets.screens.landing import MARKER, METADATA, SHARED, scan_landing
from cellassets.screens.landing_files import list_entries, stamp
from cellassets.screens.landing_readings import SETTLED_NS, Readings

RESULT = Path(__file__).parent / "results" / "landing_marked.json"
N_EXPERIMENTS, N_PLATES, N_FILES, N_ROUNDS = 200, 4, 500, 5


def land(root: Path) -> None:
    """Writes folders with empty files; a scan reads names, sizes and times only."""
    for number in range(N_EXPERIMENTS):
        for plate in range(N_PLATES):
            folder = root / f"E-{number:04d}" / f"Plate{plate}"
            folder.mkdir(parents=True)
            for file in range(N_FILES):
                (folder / f"{file:05d}.png").touch()
        for name in (METADATA, MARKER):
            (folder.parent / name).touch()
    time.sleep(SETTLED_NS / 1e9)


def scan_markers(landing: UPath) -> list[str]:
    """Returns a signature per experiment of its marker and its metadata alone."""
    shared = [stamp(landing, name) for name in SHARED]
    signatures = []
    for entry in list_entries(landing):
        stamps = [*(stamp(landing, f"{entry.name}/{name}") for name in (MARKER, *SHARED)), *shared]
        signatures.append(fingerprint({"files": sorted(each for each in stamps if each is not None)}))
    return signatures


def median_s(scan: Callable[[], object]) -> float:
    """Returns the median wall time of a scan."""
    times = []
    for _ in range(N_ROUNDS):
        started = time.perf_counter()
        scan()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Measures the three ways, prints and keeps the medians."""
    with tempfile.TemporaryDirectory() as folder:
        landing, readings, now = UPath(folder), Readings(), datetime.now(UTC)
        land(Path(folder))

        def scan_idle() -> object:
            readings.begin(now, timedelta(minutes=10))
            return scan_landing(landing, readings)

        first = scan_idle()
        scan_s = {
            "marker_only": median_s(lambda: scan_markers(landing)),
            "idle": median_s(scan_idle),
            "full": median_s(lambda: scan_landing(landing)),
        }
        if not scan_idle() == first == scan_landing(landing):
            message = "the scans find different signatures, although nothing changed"
            raise RuntimeError(message)
    result = {
        "n_experiments": N_EXPERIMENTS,
        "n_plates": N_PLATES,
        "n_files_per_plate": N_FILES,
        "scan_s": {name: round(value, 4) for name, value in scan_s.items()},
        "idle_to_marker_only": round(scan_s["idle"] / scan_s["marker_only"], 2),
        "full_to_idle": round(scan_s["full"] / scan_s["idle"], 1),
    }
    text = json.dumps(result, indent=1)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
