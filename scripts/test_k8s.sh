#!/usr/bin/env bash
# The tests of tests/cluster: the platform on a real Kubernetes, deployed from deploy/kustomize.
#
# Either KUBECONFIG names a cluster, CELLASSETS_TEST_IMAGE an image that its nodes can pull, CELLASSETS_TEST_ADDRESS the
# address by which its pods reach this machine, and CELLASSETS_TEST_NETWORK the network that their connections come from.
# Or LOCAL_CLUSTER names a folder with the scripts up.sh, down.sh and image.sh (base | build | load), which start a
# Kubernetes of one node on this machine and build images for it.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python

build_image() {
    bash "$LOCAL_CLUSTER/image.sh" base
    bash "$LOCAL_CLUSTER/image.sh" build deploy/Dockerfile . cellassets:test --layers --build-arg BASE=localhost/python:3.11-slim
}

if [ "${1:-}" = image ]; then    # can run beside other work
    build_image
    exit
fi
if [ -z "${KUBECONFIG:-}" ]; then
    : "${LOCAL_CLUSTER:?name a cluster by KUBECONFIG, or a folder of scripts that start one by LOCAL_CLUSTER}"
    export K8S_HOME=${K8S_HOME:-/tmp/k8s}
    trap 'bash "$LOCAL_CLUSTER/down.sh"' EXIT
    bash "$LOCAL_CLUSTER/up.sh"
    export KUBECONFIG=$K8S_HOME/state/admin.kubeconfig
    build_image
    bash "$LOCAL_CLUSTER/image.sh" load cellassets:test
    export CELLASSETS_TEST_IMAGE=localhost/cellassets:test
fi
: "${CELLASSETS_TEST_IMAGE:?name the image that the nodes of the cluster can pull}"
CELLASSETS_CLUSTER_TESTS=1 "$python" -m pytest tests/cluster "$@"
