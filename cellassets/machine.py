"""How many cores this process may use. In a container that is the container's limit and not the node's cores."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def n_cores(cgroup: Path = CGROUP) -> int:
    """Returns the number of cores that this process may use, at least 1.

    It is the smallest of the machine's cores, the cores that the process is bound to, and the limit of its control
    group, rounded up.

    Args:
        cgroup: where the control groups are mounted, version 1 or 2.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _limit(cgroup)
    return bound if limit is None else max(1, min(bound, math.ceil(limit)))


def _limit(cgroup: Path) -> float | None:
    """Returns the limit of the control group in cores; None without a limit."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join((cgroup / name).read_text() for name in names).split()
        except OSError:
            continue
        if words[0] in ("max", "-1"):
            return None
        return int(words[0]) / int(words[1])
    return None
