"""What the run of a stage requests: cores, memory and GPUs of its pod, and the Dagster pool that limits it.

The numbers are in `Stage.pod` of each stage; this module translates them. The tags are read by `k8s_job_executor`
(step pods). `backoff_limit` stays 0: if Kubernetes restarts a pod by itself, its step stays in progress forever.
"""

from typing import Any

from cellassets.stages.stage import Pod

GPU_POOL = "gpu"  # limited by the run tag below, because only some partitions of an asset need a GPU
POOL_TAG = "cellassets/pool"


def op_tags(pod: Pod) -> dict[str, Any]:
    """Returns the op tags of a stage's step."""
    requests = {"cpu": str(pod.n_cores), "memory": f"{pod.memory_gib}Gi"}
    limits = {"memory": requests["memory"]}
    spec: dict[str, Any] = {"automount_service_account_token": False}
    if pod.n_gpus:
        requests["nvidia.com/gpu"] = limits["nvidia.com/gpu"] = str(pod.n_gpus)
        spec["tolerations"] = [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"},
        ]
    security = {"allow_privilege_escalation": False, "capabilities": {"drop": ["ALL"]}, "run_as_non_root": True}
    return {
        "dagster-k8s/config": {
            "container_config": {
                "resources": {"requests": requests, "limits": limits},
                "security_context": security,
            },
            "pod_spec_config": spec,
            "job_spec_config": {"backoff_limit": 0},
        }
    }


def step_pool(pod: Pod) -> str | None:
    """Returns the Dagster pool of a stage's step; GPU work is limited by run instead (`run_coordinator`)."""
    return None if pod.pool == GPU_POOL else pod.pool
