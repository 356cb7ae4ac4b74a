"""Checks that a landing folder has not changed since a plan was made: it is not an artefact, so it cannot be pinned."""

from upath import UPath

from cellassets.errors import LayoutError, StaleArtifact

AGAIN = "materialise raw_plates again, which its sensor does by itself when nothing changes any more"


def require_unchanged(landing: UPath, experiment_id: str, signature: str, *, since: str) -> None:
    """Raises an error if the folder of an experiment does not have the expected signature.

    Args:
        landing: the landing zone.
        experiment_id: name of the folder.
        signature: the signature that it should have.
        since: when it had this signature, for the message.

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
        message = f"{landing / experiment_id}: changed {since}; {AGAIN}"
        raise StaleArtifact(message)
