"""Names by which people ask for a model version: its key, or a name with an alias. MLflow is not imported here."""

from collections.abc import Sequence

from cellassets.errors import RegistryError
from cellassets.registry.entry import ModelEntry

LATEST = "latest"


def entry_named(entries: Sequence[ModelEntry], asked: str) -> ModelEntry:
    """Returns the version that a person asks for.

    Args:
        entries: the registered versions.
        asked: a key (`resnet_ce.v2`), a name with an alias (`resnet_ce@champion`), or `resnet_ce@latest` for the
            highest version. `@champion` without a name is the version that has the alias.

    Raises:
        RegistryError: there is no such version, or several.
    """
    name, separator, alias = asked.rpartition("@")
    if not separator:
        found = [entry for entry in entries if entry.key == asked]
    else:
        named = [entry for entry in entries if name in ("", entry.name)]
        found = [entry for entry in named if alias in entry.aliases]
        if alias == LATEST and name and not found:
            found = sorted(named, key=lambda entry: entry.version)[-1:]
    if len(found) != 1:
        known = ", ".join(f"{entry.key}{''.join(f' @{alias}' for alias in entry.aliases)}" for entry in entries[:20])
        what = f"is {len(found)} versions: {', '.join(entry.key for entry in found)}" if found else "is not registered"
        if not found and alias and name in {entry.name for entry in entries}:
            what = f"is not registered: no version of {name} has the alias {alias}"
        message = (
            f"model {asked!r} {what}; registered are {known or 'none'}. Write NAME.v3, NAME@champion or NAME@latest"
        )
        raise RegistryError(message)
    return found[0]
