"""Files of a registered model: found or downloaded, and compared with the fingerprint of the registration."""

import tempfile
from pathlib import Path

from cellassets.errors import CellAssetsError, CorruptArtifact, RegistryError
from cellassets.registry.entry import ModelEntry, folder_fingerprint


def download(uri: str, target: Path, *, tracking_uri: str) -> None:
    """Downloads the files at an MLflow URI into a new folder `target`, which appears only when it is complete.

    Raises:
        CorruptArtifact: the files are not there.
        RegistryError: MLflow does not answer, or the files that it lists cannot be downloaded now.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
        try:
            found = download_artifacts(artifact_uri=uri, dst_path=scratch, tracking_uri=tracking_uri)
        except (MlflowException, OSError) as error:
            raise _explained(uri, error, tracking_uri) from error
        try:
            Path(found).rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another process was faster, and its copy is equally good
                raise


def _explained(uri: str, error: Exception, tracking_uri: str) -> CellAssetsError:
    """Returns the error to raise after a download failed: MLflow's own errors do not say whether the files exist."""
    from mlflow.artifacts import list_artifacts
    from mlflow.exceptions import MlflowException

    try:
        is_there = bool(list_artifacts(artifact_uri=uri, tracking_uri=tracking_uri))
    except FileNotFoundError:
        is_there = False
    except (MlflowException, OSError) as problem:
        is_there = getattr(problem, "error_code", "") != "RESOURCE_DOES_NOT_EXIST"
    if is_there:
        return RegistryError(f"{uri}: the files of the model cannot be downloaded now ({error}); try again later")
    return CorruptArtifact(f"{uri}: the files of the model are not there ({error}); register the model again")


def checked_folder(folder: Path, entry: ModelEntry) -> Path:
    """Returns `folder` after checking that it holds the files that were registered.

    Raises:
        CorruptArtifact: the folder does not exist, or its files have another fingerprint.
    """
    if not folder.is_dir():
        message = f"model {entry.key}: its folder {folder} does not exist any more; register the model again"
        raise CorruptArtifact(message)
    expected = entry.tags.get("fingerprint")  # models registered by other programs may have none
    found = folder_fingerprint(folder) if expected else None
    if found != expected:
        message = (
            f"model {entry.key}: the files in {folder} have the fingerprint {found}, registered was {expected}; "
            "register the model again"
        )
        raise CorruptArtifact(message)
    return folder
