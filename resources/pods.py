"""What a pod of each kind of work asks Kubernetes for: one place for requests, limits and tolerations.

The tags are read by `k8s_job_executor` (step pods). A run pod takes its settings from the Helm values in `deploy/`.
`backoff_limit` stays 0: a pod that Kubernetes restarts by itself leaves its step in progress for ever.
"""

from typing import Any

GPU_POOL = "gpu"
LANDING_POOL = "landing_reads"
GATE_POOL = "production_gate"


def cpu_pod(n_cores: int, memory_gib: int) -> dict[str, Any]:
    """Returns the op tags of a step that needs cores and memory."""
    resources = {"cpu": str(n_cores), "memory": f"{memory_gib}Gi"}
    return _tags({"resources": {"requests": resources, "limits": {"memory": resources["memory"]}}}, {})


def gpu_pod(n_gpus: int, n_cores: int, memory_gib: int) -> dict[str, Any]:
    """Returns the op tags of a step that needs NVIDIA GPUs on preemptible nodes."""
    requests = {"cpu": str(n_cores), "memory": f"{memory_gib}Gi", "nvidia.com/gpu": str(n_gpus)}
    limits = {"memory": requests["memory"], "nvidia.com/gpu": requests["nvidia.com/gpu"]}
    tolerations = [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"},
    ]
    return _tags({"resources": {"requests": requests, "limits": limits}}, {"tolerations": tolerations})


def _tags(container: dict[str, Any], pod: dict[str, Any]) -> dict[str, Any]:
    security = {"allow_privilege_escalation": False, "capabilities": {"drop": ["ALL"]}, "run_as_non_root": True}
    return {
        "dagster-k8s/config": {
            "container_config": {**container, "security_context": security},
            "pod_spec_config": {**pod, "automount_service_account_token": False},
            "job_spec_config": {"backoff_limit": 0},
        }
    }
