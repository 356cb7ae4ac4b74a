"""What an experiment's embeddings are made from. Cheap and without torch: sensors ask at every tick."""

from cellassets.encoders.kinds import ENCODER_KINDS
from cellassets.registry import ModelEntry
from cellassets.storage.artifact import Plan
from cellassets.storage.lake import Lake

__all__ = ["CODE_VERSION", "ENCODER_KINDS", "plan_embeddings"]

CODE_VERSION = "1"


def plan_embeddings(lake: Lake, experiment_id: str, entry: ModelEntry) -> Plan:
    """Returns what the embeddings of one experiment by one model would be made from now.

    Raises:
        ArtifactMissing: the experiment is not stored.
    """
    inputs = {
        "plate_store": lake.plate_store(experiment_id).record().fingerprint,
        "model_key": entry.key,
        "model": entry.fingerprint,
        "code_version": CODE_VERSION,
    }
    return Plan("site_embeddings", inputs)
