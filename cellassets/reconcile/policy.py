"""What scientists and operators set in `configs/`: the policy, the map's parameters, the benchmarks' parameters."""

from typing import Literal

from pydantic import Field
from upath import UPath

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.configuration import Parameters, load_yaml
from cellassets.judging.gate import GatePolicy
from cellassets.mapping.build import MapParameters
from cellassets.screens.policy import IngestPolicy


class LandingPolicy(Parameters):
    """When a folder in the landing zone counts as complete without the marker `_COMPLETE`."""

    quiet_minutes: float = Field(default=10, gt=0)


class ModelPolicy(Parameters):
    """Which models are active: embedded and benchmarked on everything new."""

    newest: int = Field(default=20, ge=0)
    aliases: tuple[str, ...] = ("champion", "candidate")
    kinds: tuple[str, ...] = ("classical",)


class DatasetPolicy(Parameters):
    """Which datasets every active model is judged on by itself; the others wait for a backfill."""

    active: Literal["all"] | tuple[str, ...] = "all"


class Policy(Parameters):
    """All of `policy.yaml`."""

    ingest: IngestPolicy = IngestPolicy()
    landing: LandingPolicy = LandingPolicy()
    models: ModelPolicy = ModelPolicy()
    datasets: DatasetPolicy = DatasetPolicy()


def load_policy(configs: UPath) -> Policy:
    """Returns the policy in a folder of configuration files.

    Raises:
        ConfigError: the file is missing or wrong; the message names the key.
    """
    return load_yaml(configs / "policy.yaml", Policy)


def load_map_parameters(configs: UPath) -> MapParameters:
    """Returns how maps are aligned and aggregated, from `mapping.yaml`."""
    return load_yaml(configs / "mapping.yaml", MapParameters)


def load_benchmark_parameters(configs: UPath, benchmark_name: str) -> Parameters:
    """Returns a benchmark's parameters from `benchmarks/<name>.yaml`; its defaults where there is no such file."""
    model = BENCHMARKS[benchmark_name].parameters
    path = configs / "benchmarks" / f"{benchmark_name}.yaml"
    return load_yaml(path, model) if path.exists() else model()


def load_gate_policy(configs: UPath) -> GatePolicy:
    """Returns what a candidate must show before it goes into production, from `gate.yaml`."""
    return load_yaml(configs / "gate.yaml", GatePolicy)
