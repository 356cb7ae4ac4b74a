"""pycytominer's own sphering on wells that bench/alignment.py wrote: processor seconds of the fastest of seven calls.

Runs in an environment of its own, with pycytominer 1.7.1, which cellassets does not need:

    python bench/references/sphering.py FOLDER
"""

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from pycytominer.operations.transform import Spherize

N_CALLS = 7


def main() -> None:
    """Prints the seconds."""
    folder = Path(sys.argv[1])
    wells, is_control = pd.DataFrame(np.load(folder / "wells.npy")), np.load(folder / "is_control.npy")
    taken = []
    for _ in range(N_CALLS):
        started = time.process_time()
        sphering = Spherize(method="ZCA-cor", center=True)
        sphering.fit(wells[is_control])
        sphering.transform(wells)
        taken.append(time.process_time() - started)
    print(min(taken))


if __name__ == "__main__":
    main()
