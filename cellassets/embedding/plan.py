"""What an experiment's embeddings are made from. Cheap and without torch: sensors ask at every tick."""

from cellassets.artifact import Plan
from cellassets.lake import Lake
from cellassets.registry import Registry

CODE_VERSION = "1"
ENCODER_KINDS = ("network", "classical")


def plan_embeddings(lake: Lake, registry: Registry, experiment_id: str, model_key: str) -> Plan:
    """Returns what the embeddings of one experiment by one model would be made from now.

    Raises:
        ArtifactMissing: the experiment is not stored.
        RegistryError: there is no such model.
    """
    inputs = {
        "plate_store": lake.plate_store(experiment_id).record().fingerprint,
        "model_key": model_key,
        "model": registry.find(model_key).fingerprint,
        "code_version": CODE_VERSION,
    }
    return Plan("site_embeddings", inputs)
