"""The model registry: registered model versions and training runs, kept by MLflow.

`Registry` is the only class that other packages need. Importing this package does not import MLflow.
"""

from cellassets.registry.entry import ModelEntry, folder_fingerprint, model_key, parse_model_key
from cellassets.registry.models import Registry

__all__ = ["ModelEntry", "Registry", "folder_fingerprint", "model_key", "parse_model_key"]
