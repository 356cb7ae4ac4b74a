"""`make up` and `make down`: the servers of the production deployment on this machine, without containers.

Postgres with the databases of Dagster, of the lake's catalogue and of MLflow; a server of the Google Cloud Storage
protocol; MLflow; the code location; Dagster's webserver and daemon. All listen on loopback. One folder, the stack, has
everything that they keep. Needs Linux and the programs of Postgres. docs/stack.md shows a session.
"""

import argparse
import fcntl
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from postgres_server import PostgresError
from stack_servers import PORTS, REPOSITORY, SERVERS, STEPS, Stack, StackError


def up(stack: Stack) -> None:
    """Starts what is not running, and prints the addresses when everything answers.

    Raises:
        StackError: a server does not come up; all others are stopped then.
    """
    missing = [name for name in SERVERS if not stack.is_running(name)]
    if not missing:
        print("Everything is up already.")
        show(stack)
        return
    try:
        stack.write_instance()
        for step in STEPS:
            names = [name for name in step if name in missing]
            if names:
                print(f"starting {', '.join(names)}", file=sys.stderr, flush=True)
                stack.start(names)
    except BaseException:  # Control-C as well
        down(stack)
        raise
    show(stack)


def down(stack: Stack) -> None:
    """Stops everything; the data stay."""
    for name in reversed(SERVERS):
        stack.stop(name)


def show(stack: Stack) -> bool:
    """Returns whether every server runs, after printing a line for each."""
    running = {name: stack.is_running(name) for name in SERVERS}
    for name, is_up in running.items():
        print(f"{name:10}{'up' if is_up else 'down':6}{stack.address(name)}")
    return all(running.values())


def land(stack: Stack, folder: Path) -> None:
    """Copies the experiments in a folder into the landing zone, the markers of complete ones last.

    Raises:
        StackError: there are none.
    """
    from upath import UPath

    from cellassets.screens.landing import MARKER
    from cellassets.storage.objects import in_parallel

    os.environ.update(stack.environment())
    landing = UPath(os.environ["CELLASSETS_LANDING"])
    experiments = sorted(path.parent for path in folder.glob("*/metadata.csv"))
    if not experiments:
        message = f"{folder}: no folder in it has a metadata.csv; expected the folder that contains the experiments"
        raise StackError(message)
    files = [path for experiment in experiments for path in sorted(experiment.rglob("*")) if path.is_file()]
    for is_marker in (False, True):
        chosen = [path for path in files if (path.name == MARKER) == is_marker]
        in_parallel(landing.fs.put_file, [(path, f"{landing}/{path.relative_to(folder)}") for path in chosen])
    for experiment in experiments:
        print(f"{landing}/{experiment.name}")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps a second `up` or `down` away from a stack while the first one is at work.

    Raises:
        StackError: another one is at work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another `up` or `down` is at work on {folder}"
            raise StackError(message) from None
        yield


def port(text: str) -> tuple[str, int]:
    """Returns name and number of `webserver=3000`."""
    name, _, number = text.partition("=")
    if name not in PORTS or not number.isdecimal() or not 0 < int(number) < 1 << 16:
        message = f"{text!r}: expected NAME=NUMBER, with one of the names {', '.join(PORTS)}"
        raise argparse.ArgumentTypeError(message)
    return name, int(number)


def arguments() -> argparse.Namespace:
    """Returns the arguments of the command line."""
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument("--folder", type=Path, default=REPOSITORY / "stack", help="the stack (default: stack)")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    starts = commands.add_parser("up", parents=[everywhere], help="start what is not running")
    starts.add_argument("--configs", type=Path, help="settings folder, kept for later (default at first: configs)")
    starts.add_argument("--port", type=port, action="append", default=[], help="such as webserver=3000; kept for later")
    commands.add_parser("down", parents=[everywhere], help="stop everything; the data stay")
    commands.add_parser("status", parents=[everywhere], help="print which servers run; status 1 if one does not")
    commands.add_parser("env", parents=[everywhere], help='print the variables for a shell: eval "$(... env)"')
    lands = commands.add_parser("land", parents=[everywhere], help="copy experiments into the landing zone")
    lands.add_argument("source", type=Path, help="folder that contains the experiments")
    return parser.parse_args()


def carry_out(chosen: argparse.Namespace) -> int:
    """Returns the exit status of a command."""
    folder = chosen.folder.resolve()
    if chosen.command == "up":
        with alone(folder):
            up(Stack.make(folder, configs=chosen.configs, ports=dict(chosen.port)))
        return 0
    stack = Stack.at(folder)
    if chosen.command == "status":
        return 0 if show(stack) else 1
    if chosen.command == "down":
        with alone(folder):
            down(stack)
    elif chosen.command == "land":
        land(stack, chosen.source)
    else:
        for name, value in stack.environment().items():
            print(f"export {name}={shlex.quote(value)}")
    return 0


def main() -> None:
    """Carries out a command; errors are one message."""
    try:
        sys.exit(carry_out(arguments()))
    except (StackError, PostgresError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
