"""Which versions of external assets Dagster has already, so that each is reported once.

The event log is the memory. It is read once per process and asset. What a tick reports counts as known when the next
tick finds it in its cursor, which Dagster writes after the events.
"""

from collections.abc import Mapping
from threading import Lock

import dagster as dg

VERSION_TAG = "dagster/data_version"
SHORT = 8


class Reported:
    """The versions of one instance, shortened: by asset and partition key, '' for an asset without partitions."""

    def __init__(self) -> None:
        self._versions: dict[str, dict[str, str]] = {}

    def of(self, instance: dg.DagsterInstance, asset: str) -> dict[str, str]:
        """Returns the version of each partition that was reported last."""
        if asset not in self._versions:
            self._versions[asset] = _read(instance, dg.AssetKey(asset))
        return self._versions[asset]

    def confirm(self, instance: dg.DagsterInstance, pending: Mapping[str, str]) -> None:
        """Notes what the tick before has reported, by asset and partition key with '/' between them."""
        for name, version in pending.items():
            asset, _, key = name.partition("/")
            self.of(instance, asset)[key] = version


def _read(instance: dg.DagsterInstance, asset: dg.AssetKey) -> dict[str, str]:
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        asset, dg.DagsterEventType.ASSET_OBSERVATION, [VERSION_TAG]
    )
    found = {key: values[VERSION_TAG][:SHORT] for key, values in tags.items()}
    for record in instance.fetch_observations(asset, limit=1).records:
        observation = record.asset_observation
        if observation is not None and observation.partition is None:
            found[""] = observation.tags.get(VERSION_TAG, "")[:SHORT]
    return found


_reported: dict[str, Reported] = {}
_opening = Lock()


def reported(instance: dg.DagsterInstance) -> Reported:
    """Returns what was reported to an instance."""
    storage_id = instance.run_storage.get_run_storage_id()  # type: ignore[attr-defined]
    with _opening:
        return _reported.setdefault(storage_id, Reported())
