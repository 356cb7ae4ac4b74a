"""Experiments that landed and are not checked and stored as they lie now."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from upath import UPath

from cellassets.fingerprint import fingerprint
from cellassets.images import pack
from cellassets.images.pack import plan_store
from cellassets.images.spec import StoreSpec
from cellassets.quality import inspect
from cellassets.quality.inspect import plan_quality
from cellassets.quality.measures import QualityParameters
from cellassets.reconcile.policy import Policy
from cellassets.reconcile.work import Waiting, Work, run_key
from cellassets.screens.ingest import ingest_settings
from cellassets.screens.landing import LandedExperiment, find_experiments
from cellassets.screens.policy import IngestPolicy
from cellassets.storage.lake import Lake

ASSETS = ("raw_plates", "plate_store", "plate_quality")


@dataclass(frozen=True)
class FirstSeen:
    """When each landing folder was first seen with the content that it has: `{experiment_id: (signature, time)}`."""

    seen: dict[str, tuple[str, str]]

    @classmethod
    def from_json(cls, text: str) -> "FirstSeen":
        """Returns what `to_json` wrote."""
        return cls({name: (signature, since) for name, (signature, since) in json.loads(text).items()})

    def to_json(self) -> str:
        """Returns it as text, for a sensor's cursor."""
        return json.dumps(self.seen)


@dataclass(frozen=True)
class LandingState:
    """What the landing zone asks for now."""

    work: list[Work]
    waiting: list[Waiting]
    first_seen: FirstSeen


def landing_state(lake: Lake, landing: UPath, policy: Policy, *, first_seen: FirstSeen, now: datetime) -> LandingState:
    """Returns which landed experiments to take in, and which to leave alone for now.

    Args:
        lake: where their artefacts are.
        landing: folder that holds a folder an experiment.
        policy: when a folder without a marker counts as complete, and what an experiment has to be.
        first_seen: what the previous call returned (empty at the first).
        now: the time of this call, with a time zone.
    """
    work: list[Work] = []
    waiting: list[Waiting] = []
    seen: dict[str, tuple[str, str]] = {}
    for landed in find_experiments(landing):
        signature, since = first_seen.seen.get(landed.experiment_id, ("", ""))
        if signature != landed.signature:
            since = now.isoformat()
        seen[landed.experiment_id] = (landed.signature, since)
        quiet = now - datetime.fromisoformat(since)
        if not landed.is_marked_complete and quiet < timedelta(minutes=policy.landing.quiet_minutes):
            reason = f"no _COMPLETE in it and changed {quiet.total_seconds():.0f} s ago"
            waiting.append(Waiting(landed.experiment_id, reason))
        elif not is_taken_in(lake, landed, policy.ingest):
            work.append(_work(lake, landed, policy.ingest))
    return LandingState(work, waiting, FirstSeen(seen))


def is_taken_in(lake: Lake, landed: LandedExperiment, policy: IngestPolicy) -> bool:
    """True where manifest, store and quality are all made from the folder as it lies now, by this policy."""
    manifest = lake.raw_plates(landed.experiment_id).find_record()
    if manifest is None or manifest.summary["landing_signature"] != landed.signature:
        return False
    return ingest_settings(policy).items() <= manifest.inputs.items() and is_stored(lake, landed.experiment_id)


def is_stored(lake: Lake, experiment_id: str) -> bool:
    """True where store and quality are made from the published manifest, as they would be made now."""
    if lake.raw_plates(experiment_id).find_record() is None:
        return False
    if not lake.plate_store(experiment_id).is_done(plan_store(lake, experiment_id, spec=StoreSpec())):
        return False
    wanted = plan_quality(lake, experiment_id, parameters=QualityParameters())
    return lake.plate_quality(experiment_id).is_done(wanted)


def _work(lake: Lake, landed: LandedExperiment, policy: IngestPolicy) -> Work:
    experiment_id = landed.experiment_id
    wanted = {
        "signature": landed.signature,
        "settings": ingest_settings(policy),
        "code_versions": [pack.CODE_VERSION, inspect.CODE_VERSION],
    }
    key = run_key((lake.raw_plates(experiment_id), fingerprint(wanted)))
    return Work({"experiment": experiment_id}, ASSETS, key)
