#!/usr/bin/env bash
# The tests of tests/cluster: the platform on a real Kubernetes, deployed from deploy/kustomize.
#
# Either KUBECONFIG names a cluster, CELLASSETS_TEST_IMAGE and CELLASSETS_TEST_ENCODER_IMAGE (examples/container_encoder)
# images that its nodes can pull, by digest; CELLASSETS_TEST_ADDRESS the address by which its pods reach this machine, and
# CELLASSETS_TEST_NETWORK the network that their connections come from.
# Or LOCAL_CLUSTER names a folder with the scripts up.sh, down.sh and image.sh (base | build | load), which start a
# Kubernetes of one node on this machine and build images for it.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python

build_image() {
    bash "$LOCAL_CLUSTER/image.sh" base
    local base=localhost/python:3.11-slim encoder=examples/container_encoder
    bash "$LOCAL_CLUSTER/image.sh" build deploy/Dockerfile . cellassets:test --layers --build-arg BASE=$base
    bash "$LOCAL_CLUSTER/image.sh" build $encoder/Dockerfile $encoder moments:test --layers --build-arg BASE=$base
}

# loads an image into the node and gives it a name with its digest, which a registry would do
load_by_digest() {
    bash "$LOCAL_CLUSTER/image.sh" load "$1" >/dev/null
    local ctr images digest
    ctr=$(find "$K8S_HOME" -name ctr -type f | head -n 1)
    images=("$ctr" -a "$K8S_HOME/run/containerd/containerd.sock" -n k8s.io images)
    digest=$("${images[@]}" ls "name==localhost/$1" | awk 'NR == 2 {print $3}')
    "${images[@]}" tag --force "localhost/$1" "localhost/${1%:*}@$digest" >/dev/null
    echo "localhost/${1%:*}@$digest"
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
    CELLASSETS_TEST_IMAGE=$(load_by_digest cellassets:test)
    CELLASSETS_TEST_ENCODER_IMAGE=$(load_by_digest moments:test)
    export CELLASSETS_TEST_IMAGE CELLASSETS_TEST_ENCODER_IMAGE
fi
: "${CELLASSETS_TEST_IMAGE:?name the image that the nodes of the cluster can pull}"
: "${CELLASSETS_TEST_ENCODER_IMAGE:?name the image of examples/container_encoder}"
CELLASSETS_CLUSTER_TESTS=1 "$python" -m pytest tests/cluster "$@"
