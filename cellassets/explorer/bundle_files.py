"""The built page of the explorer, as the package ships it. `web/` holds its sources; `npm run build` there makes it."""

from pathlib import Path

from cellassets.errors import ConfigError

BUNDLE = Path(__file__).parent / "bundle"
PAGE = "index.html"
FILES = {"explorer.js": "text/javascript", "explorer.css": "text/css", "NOTICE": "text/plain"}
MARK = "<!--static-->"  # where the page is told that it has no server
STATIC_SCRIPT = "<script>window.CELLASSETS_STATIC = true;</script>"


def page(*, is_static: bool = False) -> str:
    """Returns the page.

    Args:
        is_static: true for an export without a server; documents are then scripts in the folder `data`.

    Raises:
        ConfigError: the built page is not in this package.
    """
    text = bundle_file(PAGE).decode()
    if MARK not in text:
        message = f"{BUNDLE / PAGE}: the mark {MARK} is missing; build the page again by `make web`"
        raise ConfigError(message)
    return text.replace(MARK, STATIC_SCRIPT if is_static else "")


def bundle_file(name: str) -> bytes:
    """Returns one of the built files.

    Raises:
        ConfigError: it is not in this package.
    """
    try:
        return (BUNDLE / name).read_bytes()
    except OSError as error:
        message = f"{BUNDLE / name} cannot be read ({error.strerror}); build the page by `make web`, which needs Node"
        raise ConfigError(message) from error
