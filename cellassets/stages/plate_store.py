"""The stage `plate_store`: packs the images of an experiment for fast reading.

There is one sharded Zarr array per plate. Each shard is written when it is packed. So after an interrupted run the
next run continues at the first unfinished shard, on any machine.
"""

from cellassets.errors import ImageError
from cellassets.images.summary import PlateStoreSummary
from cellassets.screens.imaging import Imaging
from cellassets.screens.summary import RawPlatesSummary
from cellassets.stages.landing import require_unchanged
from cellassets.stages.settings import policy
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.stage import Context, Keys, Stage, settings_of
from cellassets.storage.artifact import Record
from cellassets.storage.plan import Plan

CODE_VERSION = "2"


def plan(snapshot: Snapshot, keys: Keys) -> Plan:
    """Returns the plan of the store from the present manifest.

    Raises:
        ConfigError: `policy.yaml` is wrong.
        NotReady: the experiment has no manifest.
    """
    experiment_id = keys["experiment"]
    manifest, spec = snapshot.need("raw_plates", experiment_id), policy(snapshot).store
    inputs = {"raw_plates": manifest.fingerprint, "spec": settings_of(spec), "code_version": CODE_VERSION}
    return snapshot.plan("plate_store", (experiment_id,), inputs, pins=[manifest], settings={"spec": spec})


def make(context: Context, plan: Plan) -> Record:
    """Returns the record of the store, after packing what is not packed yet.

    Raises:
        LayoutError: the experiment is no longer in the landing zone.
        StaleArtifact: the landing folder changed since the manifest was made.
        ImageError: an image differs from the file that the manifest describes, and its name, size and time do not.
    """
    from cellassets.images.pack import Packing, pack_plates
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import IMAGES, WELLS

    (experiment_id,), landing = plan.keys, context.deployment.landing
    pinned = plan.pin("raw_plates", experiment_id)
    checked = pinned.summary(RawPlatesSummary)
    require_unchanged(landing, experiment_id, checked.landing_signature, since="since raw_plates checked it")
    imaging = checked.imaging or Imaging(channel_names=checked.channel_names)
    manifest = context.lake.open(pinned)
    images = read_table(manifest.file("images.parquet"), IMAGES)
    wells = read_table(manifest.file("wells.parquet"), WELLS)
    with context.lake.draft(plan, is_shared=True) as draft:
        packing = Packing(landing / experiment_id, draft.folder, imaging, plan.settings["spec"])
        try:
            packed = pack_plates(images, wells, packing, progress=context.progress)
        except ImageError:  # of a file that is being repaired: another attempt finds the new manifest
            require_unchanged(landing, experiment_id, checked.landing_signature, since="while it was packed")
            raise
        return draft.publish(packed.files, packed.summary)


PLATE_STORE = Stage(
    name="plate_store",
    axes=("experiment",),
    summary=PlateStoreSummary,
    plan=plan,
    make=make,
    settings=("policy.yaml",),
)
