"""The agent of one node: `python -m cellassets.training.processes.agent TASK ...`. It is torchrun's, without restarts.

It starts the processes of the node and ends all of them if one fails. `launch.py` starts the agent of the first node, a
Kubernetes Job those of the others. The agents find each other at the endpoint, which is in the first node's agent.
"""

import argparse
import os
import signal
import socket
import sys
import uuid
from pathlib import Path

from cellassets.training.processes.ending import end_with_parent
from cellassets.training.processes.reports import Reports

PROCESS = "cellassets.training.processes.process"
LOOPBACK = "127.0.0.1"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
MONITOR_S = 0.5
CONNECT_S = 900  # for the other nodes: until the first one's agent listens


def command(task: str, *, n_nodes: int, n_per_node: int, endpoint: str = "", run_id: str = "") -> list[str]:
    """Returns the arguments of the interpreter that start an agent.

    Args:
        task: place of the task.
        n_nodes: nodes of the training.
        n_per_node: processes of each node.
        endpoint: address and port of the rendezvous; empty for one node.
        run_id: the same for all nodes of a training, and for no others.
    """
    numbers = [f"--n-nodes={n_nodes}", f"--n-per-node={n_per_node}"]
    place = [f"--endpoint={endpoint}", f"--run-id={run_id}"] if endpoint else []
    return ["-m", "cellassets.training.processes.agent", task, *numbers, *place]


def main(arguments: list[str]) -> int:
    """Returns the exit status: 0 if all processes of the node ended well."""
    options = _parsed(arguments)
    if options.reports is not None:
        end_with_parent(signal.SIGTERM)
    prepare_environment(options.n_nodes, options.n_per_node)

    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    is_alone = options.n_nodes == 1
    config = LaunchConfig(
        min_nodes=options.n_nodes,
        max_nodes=options.n_nodes,
        nproc_per_node=options.n_per_node,
        run_id=options.run_id or uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=f"{LOOPBACK}:0" if is_alone else options.endpoint,
        rdzv_configs={
            "is_host": str(options.reports is not None).lower(),
            "timeout": CONNECT_S,
            "join_timeout": options.join_timeout_s,
        },
        max_restarts=0,
        monitor_interval=MONITOR_S,
        local_addr=LOOPBACK if is_alone else options.address,
    )
    to_processes = [options.task, *([str(options.reports)] if options.reports is not None else [])]
    try:
        elastic_launch(config, sys.executable)("-m", PROCESS, *to_processes)
    except ChildFailedError as failed:
        reports = Reports(options.reports, "agent")
        for rank, failure in failed.failures.items():
            reports.ended(int(rank), failure.exitcode)
        return 1
    return 0


def prepare_environment(n_nodes: int, n_per_node: int) -> None:
    """Shares the threads of the node among its processes, and keeps the traffic of a single node on loopback."""
    for name in THREADS:
        if os.environ.get(name, "").isdecimal():
            os.environ[name] = str(max(1, int(os.environ[name]) // n_per_node))
    os.environ.setdefault(THREADS[0], str(max(1, (os.cpu_count() or 1) // n_per_node)))
    if n_nodes == 1 and "lo" in {name for _, name in socket.if_nameindex()}:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="agent")
    parser.add_argument("task", help="place of the task")
    parser.add_argument("--n-nodes", type=int, required=True)
    parser.add_argument("--n-per-node", type=int, required=True)
    parser.add_argument("--endpoint", default="", help="address:port of the rendezvous, for several nodes")
    parser.add_argument("--address", default=os.environ.get("CELLASSETS_POD_IP"), help="of this node, for the others")
    parser.add_argument("--run-id", default="")
    parser.add_argument("--join-timeout-s", type=int, default=3600)
    parser.add_argument("--reports", type=Path, default=None, help="folder for reports; only on the first node")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
