"""The stage `raw_plates`: the manifest of a landed experiment, which is accepted or refused as a whole.

The images stay in the landing zone. The fingerprint depends on the content and not on the time: if the same folder is
copied again, the fingerprint stays the same, and later stages stay current.
"""

from cellassets.fingerprint import fingerprint
from cellassets.screens.summary import RawPlatesSummary
from cellassets.stages.landing import require_unchanged
from cellassets.stages.settings import policy
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.stage import Context, Keys, Stage, settings_of
from cellassets.storage.artifact import Record
from cellassets.storage.plan import Plan

CODE_VERSION = "3"


def plan(snapshot: Snapshot, keys: Keys) -> Plan:
    """Returns the plan of the manifest from the present landing folder and the ingest policy.

    Raises:
        LayoutError: the landing zone has no such experiment, or it is not complete yet.
    """
    experiment_id = keys["experiment"]
    landed = snapshot.landed_experiment(experiment_id)
    ingest = policy(snapshot).ingest
    inputs = {"landing_signature": landed.signature, "policy": settings_of(ingest), "code_version": CODE_VERSION}
    return snapshot.plan("raw_plates", (experiment_id,), inputs, settings={"policy": ingest})


def make(context: Context, plan: Plan) -> Record:
    """Returns the record of the manifest, after checking every image.

    Raises:
        LayoutError: the layout of the folder or its metadata is unknown.
        PlateRefused: policy refuses the experiment; the error's `findings` list the reasons.
        ImageError: images are to be corrected and an illumination function is missing or not one.
        StaleArtifact: the folder changed while it was checked.
    """
    from cellassets.screens.ingest import check_experiment, summarise
    from cellassets.tables.content import frame_fingerprint
    from cellassets.tables.parquet import write_tables
    from cellassets.tables.schemas import FINDINGS, IMAGES, WELLS

    (experiment_id,), landing, ingest = plan.keys, context.deployment.landing, plan.settings["policy"]
    manifest = check_experiment(landing, experiment_id, policy=ingest, progress=context.progress)
    require_unchanged(landing, experiment_id, plan.inputs["landing_signature"], since="since its check was planned")
    tables = {
        "images.parquet": (manifest.images, IMAGES),
        "wells.parquet": (manifest.wells, WELLS),
        "findings.parquet": (manifest.findings, FINDINGS),
    }
    used = manifest.findings.filter(manifest.findings["consequence"] != "file_ignored")
    found = {
        "images": frame_fingerprint(manifest.images),
        "wells": frame_fingerprint(manifest.wells),
        "findings": frame_fingerprint(used),
    }
    content = {"policy": plan.inputs["policy"], "code_version": plan.inputs["code_version"], **found}
    content["imaging"] = manifest.imaging.model_dump(mode="json", exclude_none=True)
    summary = summarise(
        manifest,
        landing_signature=plan.inputs["landing_signature"],
        landing=str(landing / experiment_id),
    )
    with context.lake.draft(plan) as draft:
        files = write_tables(tables, draft.folder)
        return draft.publish(files, summary, fingerprint=fingerprint({"kind": "raw_plates", "inputs": content}))


RAW_PLATES = Stage(
    name="raw_plates",
    axes=("experiment",),
    summary=RawPlatesSummary,
    plan=plan,
    make=make,
    settings=("policy.yaml",),
    is_source=True,
)
