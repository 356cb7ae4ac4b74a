"""Refuses a landing folder that changed after a plan was made. A landing folder cannot be pinned like a publication."""

from upath import UPath

from cellassets.errors import LayoutError, StaleArtifact


def require_unchanged(landing: UPath, experiment_id: str, signature: str, *, since: str) -> None:
    """Raises an error unless the folder of an experiment still has a signature.

    Args:
        landing: the landing zone.
        experiment_id: name of the folder.
        signature: the signature that it should have.
        since: when it had that, for the message.

    Raises:
        LayoutError: the folder is gone.
        StaleArtifact: it changed.
    """
    from cellassets.screens.landing import signature_of

    try:
        found = signature_of(landing, experiment_id)
    except FileNotFoundError as error:
        message = f"{landing / experiment_id}: no longer in the landing zone; land the experiment again"
        raise LayoutError(message) from error
    if found != signature:
        message = f"{landing / experiment_id}: changed {since}; materialise raw_plates again"
        raise StaleArtifact(message)
