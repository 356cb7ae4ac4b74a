"""What the pod of a run requests: one table, stage to pod, in `pods.yaml` beside this file.

A deployment changes fields of the table in a file of its own (`CELLASSETS_PODS`). The launcher (`resources.launcher`)
puts a request on the pod of every run, whoever started the run; the queue (`resources.run_coordinator`) takes the
priority, the time limit and the number of retries from it.
"""

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat
from upath import UPath

from cellassets.configuration import Parameters, load_yaml, validate
from cellassets.errors import ConfigError

TABLE = Path(__file__).with_name("pods.yaml")
ALL_BENCHMARKS = "benchmark"
WITHOUT_GPU = "_without_gpu"
GPU_STAGES = ("checkpoint", "site_embeddings")  # some of their runs need a GPU and some do not


class Toleration(Parameters):
    """A taint of nodes that a pod tolerates; the fields are those of Kubernetes."""

    key: str
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class PodRequest(Parameters):
    """What the pod of a run requests.

    Attributes:
        image: container image; empty for the image of the code location.
        gpus: GPUs.
        cores: processor cores, as request and limit.
        memory_gib: memory in GiB, as request and limit.
        max_memory_gib: the most memory that a run gets after it was killed for its memory; at least `memory_gib`.
        ephemeral_storage_gib: disk of the node in GiB, as request and limit.
        node_selector: labels that the node must have.
        tolerations: taints of the node that do not matter.
        priority_class: name of a PriorityClass; empty for none.
        service_account: name of the service account.
        has_api_token: whether the pod may speak to the Kubernetes API, with the rights of its service account.
        volume_claims: claims of volumes by the folder where they are mounted.
        max_hours: longest run time in hours.
        retries: how often a run starts again after a crash.
        queue_priority: runs with a higher number leave the queue first.
    """

    image: str
    gpus: NonNegativeInt
    cores: PositiveFloat
    memory_gib: PositiveFloat
    max_memory_gib: PositiveFloat
    ephemeral_storage_gib: PositiveFloat
    node_selector: dict[str, str]
    tolerations: tuple[Toleration, ...]
    priority_class: str
    service_account: str = Field(min_length=1)
    has_api_token: bool
    volume_claims: dict[str, str]
    max_hours: PositiveFloat
    retries: NonNegativeInt
    queue_priority: int


class PodChange(Parameters):
    """Some fields of a `PodRequest`; None for a field that stays as it is."""

    image: str | None = None
    gpus: NonNegativeInt | None = None
    cores: PositiveFloat | None = None
    memory_gib: PositiveFloat | None = None
    max_memory_gib: PositiveFloat | None = None
    ephemeral_storage_gib: PositiveFloat | None = None
    node_selector: dict[str, str] | None = None
    tolerations: tuple[Toleration, ...] | None = None
    priority_class: str | None = None
    service_account: str | None = Field(default=None, min_length=1)
    has_api_token: bool | None = None
    volume_claims: dict[str, str] | None = None
    max_hours: PositiveFloat | None = None
    retries: NonNegativeInt | None = None
    queue_priority: int | None = None

    def fields(self) -> dict[str, Any]:
        """Returns the fields that change."""
        return {name: getattr(self, name) for name in PodRequest.model_fields if getattr(self, name) is not None}


class PodTable(Parameters):
    """A file of pod requests: `pods.yaml`, or a deployment's changes to it.

    Attributes:
        all_stages: fields of every stage.
        gpu_stages: fields of every stage that requests a GPU.
        stages: fields by stage. `benchmark` stands for all benchmarks, and a stage with the ending `_without_gpu` for
            those runs of the stage whose encoder needs no GPU.
    """

    all_stages: PodChange = PodChange()
    gpu_stages: PodChange = PodChange()
    stages: dict[str, PodChange] = Field(default_factory=dict)


class Pods:
    """The table of one deployment."""

    def __init__(self, tables: Iterable[tuple[str, PodTable]]) -> None:
        """Checks every row.

        Args:
            tables: name and content of each file; later ones win.

        Raises:
            ConfigError: a row names no stage, or a pod without a GPU would request one.
        """
        self._tables = tuple(tables)
        known = _row_names()
        for source, table in self._tables:
            for name in table.stages:
                if name not in known:
                    message = (
                        f"{source}: stages: {name!r} is not the name of a stage; expected one of {', '.join(known)}"
                    )
                    raise ConfigError(message)
        for name in known:
            if name.endswith(WITHOUT_GPU) and self._row(name).gpus:
                message = f"{self._tables[-1][0]}: {name}: gpus is {self._row(name).gpus}, expected 0"
                raise ConfigError(message)

    def request(self, stage: str, *, needs_gpu: bool = True) -> PodRequest:
        """Returns what the pod of a stage requests.

        Args:
            stage: name of the stage; any other name gets what all stages have.
            needs_gpu: false for a run whose encoder needs no GPU.
        """
        cpu_row = f"{stage}{WITHOUT_GPU}"
        return self._row(cpu_row if not needs_gpu and cpu_row in _row_names() else stage)

    def _row(self, name: str) -> PodRequest:
        request = self._merged(name, with_gpu=False)
        return self._merged(name, with_gpu=True) if request.gpus else request

    def _merged(self, name: str, *, with_gpu: bool) -> PodRequest:
        rows = dict.fromkeys((ALL_BENCHMARKS, name) if name.startswith(f"{ALL_BENCHMARKS}/") else (name,))
        fields: dict[str, Any] = {}
        for _, table in self._tables:
            fields |= table.all_stages.fields() | (table.gpu_stages.fields() if with_gpu else {})
            for row in rows:
                fields |= table.stages.get(row, PodChange()).fields()
        return validate(fields, PodRequest, source=f"{self._tables[-1][0]}: {name}")


def open_pods(environment: Mapping[str, str]) -> Pods:
    """Returns the table of this deployment, with the changes of the file that `CELLASSETS_PODS` names.

    Raises:
        ConfigError: the file does not exist, has an unknown field or names no stage.
    """
    return _open_pods(environment.get("CELLASSETS_PODS", ""))


@lru_cache(maxsize=1)
def _open_pods(changes: str) -> Pods:
    tables = [(str(TABLE), load_yaml(UPath(TABLE), PodTable))]
    if changes:
        tables.append((changes, load_yaml(UPath(changes), PodTable)))
    return Pods(tables)


def largest(requests: Iterable[PodRequest]) -> PodRequest:
    """Returns what one pod requests that runs several stages: the maximum of every amount.

    Image, priority class, service account and its token are those of the stage that requests most.

    Raises:
        ConfigError: the stages need different images, or nodes that contradict each other.
    """
    ordered = sorted(requests, key=lambda request: (request.gpus, request.memory_gib, request.cores), reverse=True)
    first = ordered[0]
    if len({request.image for request in ordered}) > 1:
        images = ", ".join(sorted({request.image or "(of the code location)" for request in ordered}))
        message = f"one run cannot use several images: {images}; materialise these assets in separate runs"
        raise ConfigError(message)
    selector: dict[str, str] = {}
    for request in ordered:
        for label, value in request.node_selector.items():
            if selector.setdefault(label, value) != value:
                message = f"one run cannot be on nodes with {label} {selector[label]} and {value}; use separate runs"
                raise ConfigError(message)
    amounts = ("gpus", "cores", "memory_gib", "max_memory_gib", "ephemeral_storage_gib", "max_hours", "retries")
    return first.model_copy(
        update={
            **{name: max(getattr(request, name) for request in ordered) for name in (*amounts, "queue_priority")},
            "node_selector": selector,
            "volume_claims": {path: claim for request in ordered for path, claim in request.volume_claims.items()},
            "tolerations": tuple(dict.fromkeys(t for request in ordered for t in request.tolerations)),
        }
    )


@cache
def _row_names() -> dict[str, None]:
    from cellassets.stages.catalogue import stages

    return dict.fromkeys([*stages(), *(f"{name}{WITHOUT_GPU}" for name in GPU_STAGES), ALL_BENCHMARKS])
