"""The settings of scientists and operators in the configuration folder, read through a snapshot."""

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from upath import UPath

from cellassets.configuration import Parameters, load_yaml
from cellassets.errors import CellAssetsError
from cellassets.images.store_spec import StoreSpec
from cellassets.quality.parameters import QualityParameters
from cellassets.screens.policy import IngestPolicy
from cellassets.stages.snapshot import Snapshot
from cellassets.storage.artifact import is_local

if TYPE_CHECKING:
    from cellassets.clustering.parameters import ClusterParameters
    from cellassets.hits.parameters import HitParameters
    from cellassets.judging.gate import GatePolicy
    from cellassets.mapping.build import MapParameters


class LandingPolicy(Parameters):
    """When a folder in the landing zone is complete, and when its files are looked at again.

    A folder without the marker `_COMPLETE`, and one whose files changed behind the marker, counts after it was quiet.
    """

    quiet_minutes: float = Field(default=10, gt=0, description="minutes without a change")
    recheck_minutes: float = Field(
        default=10,
        gt=0,
        description="minutes after which a marked folder is read again, for files overwritten in place",
    )
    bucket_recheck_minutes: float = Field(
        default=60, gt=0, description="minutes after which a marked experiment in an object store is listed again"
    )

    def recheck(self, landing: UPath) -> timedelta:
        """Returns the time after which marked folders of a landing zone are read again."""
        return timedelta(minutes=self.recheck_minutes if is_local(landing) else self.bucket_recheck_minutes)


class ModelPolicy(Parameters):
    """Which models are active: active models are embedded and benchmarked on all new data."""

    newest: int = Field(default=20, ge=0, description="how many of the newest registered versions")
    aliases: tuple[str, ...] = Field(default=("champion", "candidate"), description="versions with these aliases")
    kinds: tuple[str, ...] = Field(default=("classical",), description="all versions of these kinds of encoder")
    retired: tuple[str, ...] = Field(
        default=(), description="versions, such as resnet.v1, that are never active and not registered again if deleted"
    )


class DatasetPolicy(Parameters):
    """Which datasets are active: every active model is judged on them automatically. The others wait for a backfill."""

    active: Literal["all"] | tuple[str, ...] = Field(default="all", description="all, or a list of dataset names")


class ReportPolicy(Parameters):
    """When leaderboard and reports are made: when no other run is active, or after `max_wait_minutes`."""

    max_wait_minutes: float = Field(default=30, gt=0, description="minutes that stale ones wait at most")


class RetryPolicy(Parameters):
    """How work is asked for again whose run failed for a cause that passes. Refused data is not asked for again."""

    max_attempts: int = Field(default=6, ge=1, description="attempts before the work is listed as failed")
    first_delay_minutes: float = Field(default=1, ge=0, description="minutes before the second attempt")
    factor: float = Field(default=4, ge=1, description="each later delay is this many times the one before")

    def delay_s(self, n_attempts: int) -> float:
        """Returns the seconds to wait after a number of failed attempts."""
        return 60.0 * self.first_delay_minutes * self.factor ** (n_attempts - 1) if n_attempts else 0.0


class Policy(Parameters):
    """All of `policy.yaml`."""

    ingest: IngestPolicy = Field(default=IngestPolicy(), description="How landed experiments are checked")
    store: StoreSpec = Field(
        default=StoreSpec(), description="How images are packed; after a change all of them are packed again"
    )
    landing: LandingPolicy = Field(default=LandingPolicy(), description="When a folder in the landing zone is complete")
    quality: QualityParameters = Field(default=QualityParameters(), description="How sites are measured and flagged")
    models: ModelPolicy = Field(default=ModelPolicy(), description="Which models are active")
    datasets: DatasetPolicy = Field(default=DatasetPolicy(), description="Which datasets are active")
    reports: ReportPolicy = Field(default=ReportPolicy(), description="When leaderboard and reports are made")
    retries: RetryPolicy = Field(default=RetryPolicy(), description="How failed work is asked for again")


def policy(snapshot: Snapshot) -> Policy:
    """Returns `policy.yaml`.

    Raises:
        ConfigError: the file is missing or wrong; the message names the key.
    """
    return snapshot.value(_policy)


def retry_policy(snapshot: Snapshot) -> RetryPolicy:
    """Returns how failed work is asked for again; the defaults if `policy.yaml` cannot be read."""
    try:
        return policy(snapshot).retries
    except CellAssetsError:
        return RetryPolicy()


def map_parameters(snapshot: Snapshot) -> "MapParameters":
    """Returns the parameters of alignment and aggregation, from `mapping.yaml`."""
    return snapshot.value(_map_parameters)


def benchmark_parameters(snapshot: Snapshot, benchmark_name: str) -> Parameters:
    """Returns a benchmark's parameters from `benchmarks/<name>.yaml`; the defaults without such a file."""
    return snapshot.value(_benchmark_parameters, benchmark_name)


def cluster_parameters(snapshot: Snapshot) -> "ClusterParameters":
    """Returns the parameters of clusters and their enrichment from `clusters.yaml`; the defaults without this file."""
    return snapshot.value(_cluster_parameters)


def hit_parameters(snapshot: Snapshot) -> "HitParameters":
    """Returns when a perturbation is called active, from `hits.yaml`; the defaults without that file."""
    return snapshot.value(_hit_parameters)


def gate_policy(snapshot: Snapshot) -> "GatePolicy":
    """Returns the conditions that a candidate must fulfil before it goes into production, from `gate.yaml`."""
    return snapshot.value(_gate_policy)


def _policy(snapshot: Snapshot) -> Policy:
    return load_yaml(snapshot.config("policy.yaml"), Policy)


def _map_parameters(snapshot: Snapshot) -> "MapParameters":
    from cellassets.mapping.build import MapParameters

    return load_yaml(snapshot.config("mapping.yaml"), MapParameters)


def _benchmark_parameters(snapshot: Snapshot, benchmark_name: str) -> Parameters:
    from cellassets.benchmarks.registry import find_benchmark

    model = find_benchmark(benchmark_name).parameters
    path = snapshot.config("benchmarks", f"{benchmark_name}.yaml")
    return load_yaml(path, model) if path.exists() else model()


def _cluster_parameters(snapshot: Snapshot) -> "ClusterParameters":
    from cellassets.clustering.parameters import ClusterParameters

    path = snapshot.config("clusters.yaml")
    return load_yaml(path, ClusterParameters) if path.exists() else ClusterParameters()


def _hit_parameters(snapshot: Snapshot) -> "HitParameters":
    from cellassets.hits.parameters import HitParameters

    path = snapshot.config("hits.yaml")
    return load_yaml(path, HitParameters) if path.exists() else HitParameters()


def _gate_policy(snapshot: Snapshot) -> "GatePolicy":
    from cellassets.judging.gate import GatePolicy

    return load_yaml(snapshot.config("gate.yaml"), GatePolicy)
