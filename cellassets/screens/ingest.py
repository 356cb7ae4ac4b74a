"""Check of a landed experiment: its manifest, or a refusal by policy. Images stay where they landed.

A landing folder in, tables and numbers out. Where they are published is in `cellassets.stages.raw_plates`.
"""

import polars as pl
from upath import UPath

from cellassets.errors import PlateRefused
from cellassets.progress import Progress, no_progress
from cellassets.screens.landing import CHECK_AGAIN
from cellassets.screens.manifest import Manifest, build_manifest
from cellassets.screens.policy import IngestPolicy
from cellassets.screens.summary import RawPlatesSummary
from cellassets.screens.well_selection import selection_fingerprints
from cellassets.tables.content import frame_fingerprint

HARMFUL = ("site_dropped", "well_dropped", "plate_dropped", "refused")


def check_experiment(
    landing: UPath, experiment_id: str, *, policy: IngestPolicy, progress: Progress = no_progress
) -> Manifest:
    """Returns the manifest of an experiment that policy accepts, after reading every image.

    Args:
        landing: folder or URL that contains the experiment's folder.
        experiment_id: name of the experiment's folder.
        policy: requirements on images and wells.
        progress: receives the number of images checked.

    Raises:
        LayoutError: the folder or its metadata is not in RxRx1's layout.
        PlateRefused: policy refuses the experiment; the error's `findings` list the reasons.
    """
    manifest = build_manifest(landing, experiment_id, policy=policy, progress=progress)
    _refuse_by_policy(manifest, experiment_id, policy)
    return manifest


def summarise(manifest: Manifest, *, landing_signature: str, landing: str) -> RawPlatesSummary:
    """Returns the summary of a manifest.

    Args:
        manifest: the accepted manifest.
        landing_signature: signature of the landing folder, read before its images.
        landing: path or URL of the experiment's landing folder.
    """
    return RawPlatesSummary(
        n_plates=manifest.wells["plate_id"].n_unique(),
        n_wells=manifest.wells.height,
        n_sites=manifest.n_sites,
        n_images=manifest.images.height,
        n_bytes=int(manifest.images["n_bytes"].sum()),
        n_findings=manifest.findings.height,
        n_dropped=manifest.n_dropped,
        cell_types=tuple(sorted(manifest.wells["cell_type"].unique().to_list())),
        channel_names=manifest.imaging.channel_names,
        imaging=manifest.imaging,
        wells_fingerprint=frame_fingerprint(manifest.wells),
        wells_fingerprints=selection_fingerprints(manifest.wells),
        landing_signature=landing_signature,
        landing=landing,
    )


def _refuse_by_policy(manifest: Manifest, experiment_id: str, policy: IngestPolicy) -> None:
    harmful = manifest.findings.filter(pl.col("consequence").is_in(HARMFUL))
    n_kept = manifest.n_sites - manifest.n_dropped
    dropped_frac = 1 - n_kept / max(manifest.n_sites_named, 1)
    reason = None
    bad = manifest.findings.filter(pl.col("finding_kind") == "plate_refused")
    if policy.on_bad_plate == "refuse" and bad.height:
        reason = f"policy on_bad_plate is refuse and {bad.height} plates are bad"
    elif n_kept == 0:
        reason = "no site is left"
    elif policy.on_bad_site == "refuse" and harmful.height:
        reason = f"policy on_bad_site is refuse and {harmful.height} findings cost sites or wells"
    elif dropped_frac > policy.max_dropped_frac:
        reason = f"{dropped_frac:.0%} of its sites would be dropped, policy allows {policy.max_dropped_frac:.0%}"
    if reason is not None:
        first = "; ".join(pl.concat([bad, harmful]).unique(maintain_order=True)["message"].head(3).to_list())
        message = f"experiment {experiment_id} refused: {reason}. First: {first}. Correct the folder: {CHECK_AGAIN}"
        raise PlateRefused(message, manifest.findings)
