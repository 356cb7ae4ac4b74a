"""Time of one scan of the landing zone: what a sensor does every few seconds.

2,000 folders that are marked complete, and 20 folders without a marker with 1,000 image files each, on local disk. The
scan with `os.scandir` is compared with the generic scan by fsspec calls, which remote paths use. Goal: well below 1 s
for the 2,000 folders. Prints JSON and writes it to bench/results/landing.json.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

from upath import UPath

from cellassets.screens import landing_files
from cellassets.screens.landing import MARKER, METADATA, scan_landing

RESULT = Path(__file__).parent / "results" / "landing.json"
N_MARKED, N_UNMARKED, N_FILES, N_ROUNDS = 2_000, 20, 1_000, 5


def land(root: Path) -> None:
    """Writes folders with empty files; a scan reads names, sizes and times only."""
    for number in range(N_MARKED):
        folder = root / "marked" / f"E-{number:04d}"
        folder.mkdir(parents=True)
        for name in (MARKER, METADATA):
            (folder / name).touch()
    for number in range(N_UNMARKED):
        folder = root / "unmarked" / f"E-{number:04d}" / "Plate1"
        folder.mkdir(parents=True)
        (folder.parent / METADATA).touch()
        for file in range(N_FILES):
            (folder / f"{file:05d}.png").touch()


def scan_s(landing: Path) -> float:
    """Returns the median wall time of a scan."""
    times = []
    for _ in range(N_ROUNDS):
        started = time.perf_counter()
        scan_landing(UPath(landing))
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Measures both kinds of folder in both ways, prints and keeps the medians."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        land(root)
        fast = {kind: scan_s(root / kind) for kind in ("marked", "unmarked")}
        landing_files.is_local = lambda _: False
        generic = {kind: scan_s(root / kind) for kind in ("marked", "unmarked")}
    result = {
        "n_marked": N_MARKED,
        "n_unmarked": N_UNMARKED,
        "n_files_per_unmarked": N_FILES,
        "scan_s": {kind: round(value, 4) for kind, value in fast.items()},
        "generic_scan_s": {kind: round(value, 4) for kind, value in generic.items()},
    }
    text = json.dumps(result, indent=1)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
