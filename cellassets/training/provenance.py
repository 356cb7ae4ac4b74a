"""Which code trained a model: the package's version and, in a git checkout, its revision."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def code_version(checkout: Path = CHECKOUT) -> str:
    """Returns the package's version, with `+g<revision>` if the code is in a git checkout."""
    try:
        release = version("cellassets")
    except PackageNotFoundError:
        release = "0+unknown"
    revision = git_revision(checkout)
    return f"{release}+g{revision[:12]}" if revision else release


def git_revision(checkout: Path) -> str | None:
    """Returns the commit of HEAD, read from the files of a checkout; None if the folder is not a checkout."""
    try:
        head = (checkout / ".git" / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        loose = checkout / ".git" / name
        if loose.is_file():
            return loose.read_text().strip()
        packed = (checkout / ".git" / "packed-refs").read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
