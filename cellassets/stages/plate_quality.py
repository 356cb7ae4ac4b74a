"""The stage `plate_quality`: measures every stored site, flags outliers of each plate, and draws pictures."""

from cellassets.quality.summary import PlateQualitySummary
from cellassets.stages.settings import policy
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.stage import Context, Keys, Stage, settings_of
from cellassets.stages.stores import open_store
from cellassets.storage.artifact import Record, write_files
from cellassets.storage.plan import Plan

CODE_VERSION = "2"


def plan(snapshot: Snapshot, keys: Keys) -> Plan:
    """Returns the plan of the quality table from the present store.

    Raises:
        NotReady: the experiment is not stored.
        ConfigError: `policy.yaml` is missing or wrong.
    """
    experiment_id = keys["experiment"]
    store, parameters = snapshot.need("plate_store", experiment_id), policy(snapshot).quality
    inputs = {"plate_store": store.fingerprint, "parameters": settings_of(parameters), "code_version": CODE_VERSION}
    return snapshot.plan("plate_quality", (experiment_id,), inputs, pins=[store], settings={"parameters": parameters})


def make(context: Context, plan: Plan) -> Record:
    """Returns the record of the quality table and the pictures of an experiment.

    Raises:
        CorruptArtifact: a shard of the store is damaged.
        ConfigError: the images do not have the nucleus channel of the parameters, or their nucleus cannot be as large
            as the parameters say.
    """
    from cellassets.quality.inspect import inspect_store
    from cellassets.tables.parquet import write_tables
    from cellassets.tables.schemas import QUALITY

    store = open_store(context.lake, plan.pin("plate_store", *plan.keys))
    inspected = inspect_store(store, plan.settings["parameters"], progress=context.progress)
    with context.lake.draft(plan) as draft:
        tables = write_tables({"quality.parquet": (inspected.quality, QUALITY)}, draft.folder)
        pictures = write_files(draft.folder, inspected.pictures)
        return draft.publish([*tables, *pictures], inspected.summary)


PLATE_QUALITY = Stage(
    name="plate_quality",
    axes=("experiment",),
    summary=PlateQualitySummary,
    plan=plan,
    make=make,
    settings=("policy.yaml",),
)
