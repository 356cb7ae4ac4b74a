#!/usr/bin/env bash
# The tests of tests/cluster: the platform on a real Kubernetes, deployed from deploy/kustomize.
#
# Either KUBECONFIG names a cluster, CELLASSETS_TEST_IMAGE and CELLASSETS_TEST_ENCODER_IMAGE (examples/container_encoder)
# images that its nodes can pull, by digest; CELLASSETS_TEST_ADDRESS the address by which its pods reach this machine,
# CELLASSETS_TEST_NETWORK the network that their connections come from, and, if it can be done,
# CELLASSETS_TEST_KUBELET_RESTART a command that stops the node's kubelet for some seconds.
# Or LOCAL_CLUSTER names a folder with the scripts up.sh, down.sh and image.sh (base | build | load), which start a
# Kubernetes of one node on this machine and build images for it. What they leave is below K8S_HOME.
#
#   test_k8s.sh [options of pytest]
#   test_k8s.sh image                builds the images and nothing else; can run beside other work
#   test_k8s.sh restart-kubelet      of the local cluster
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python

say() { printf '%s %4d s: %s\n' "$(date +%H:%M:%S)" "$SECONDS" "$*"; }

# Builds the images in a store of their own, so that whatever lies there is what earlier runs left. Layers that the new
# images do not need are removed.
build_image() {
    local base=localhost/python:3.11-slim encoder=examples/container_encoder store=$K8S_HOME/buildah
    mkdir -p "$store"
    printf '[storage]\ndriver = "vfs"\nrunroot = "%s/run"\ngraphroot = "%s/images"\n' "$store" "$store" \
        >"$store/storage.conf"
    exec {lock}>"$store/lock"
    flock "$lock"
    build() { bash "$LOCAL_CLUSTER/image.sh" build "$@" --layers --build-arg BASE=$base; }
    bash "$LOCAL_CLUSTER/image.sh" base
    STORAGE_DRIVER=vfs buildah rm --all >/dev/null    # of builds that were killed
    # has a name, so that its layers are kept
    build deploy/Dockerfile . cellassets-packages:test --target packages
    build deploy/Dockerfile . cellassets:test
    build $encoder/Dockerfile $encoder moments:test
    STORAGE_DRIVER=vfs buildah rmi --prune >/dev/null
    exec {lock}>&-
    say "images are built; $(du -sh "$store" | cut -f 1) in $store"
}

on_node() {
    "$(find "$K8S_HOME" -name ctr -type f | head -n 1)" -a "$K8S_HOME/run/containerd/containerd.sock" -n k8s.io images "$@"
}

# loads an image into the node and gives it a name with its digest, which a registry would do; removes older ones
load_by_digest() {
    local name=localhost/${1%:*} digest
    bash "$LOCAL_CLUSTER/image.sh" load "$1" >/dev/null
    digest=$(on_node ls "name==localhost/$1" | awk 'NR == 2 {print $3}')
    on_node tag --force "localhost/$1" "$name@$digest" >/dev/null
    # Kubernetes gives every image a further name, its digest
    on_node ls | awk -v name="$name@" -v digest="$digest" '
        {target[$1] = $3}
        index($1, name) == 1 && $3 != digest {old[$3]}
        END {for (image in target) if (target[image] in old) print image}' |
        xargs --no-run-if-empty "$(find "$K8S_HOME" -name ctr -type f | head -n 1)" \
            -a "$K8S_HOME/run/containerd/containerd.sock" -n k8s.io images rm >/dev/null
    echo "$name@$digest"
}

# stops the kubelet of the local cluster for some seconds; pods go on meanwhile
restart_kubelet() {
    local pid folder command environment
    pid=$(awk '$2 == "kubelet" {print $1}' "$K8S_HOME/run/pids")
    folder=$(readlink "/proc/$pid/cwd")
    mapfile -d '' -t command <"/proc/$pid/cmdline"
    mapfile -d '' -t environment <"/proc/$pid/environ"
    kill -9 "$pid"
    sleep "${1:-10}"
    cd "$folder"
    setsid nohup env -i "${environment[@]}" "${command[@]}" >>"$K8S_HOME/logs/kubelet.log" 2>&1 </dev/null &
    sed -i "s/^$pid kubelet$/$! kubelet/" "$K8S_HOME/run/pids"
}

is_up() { kubectl --kubeconfig "$K8S_HOME/state/admin.kubeconfig" --request-timeout=10s get --raw /readyz >/dev/null 2>&1; }

if [[ -z ${KUBECONFIG:-} || ${1:-} == image || ${1:-} == restart-kubelet ]]; then
    : "${LOCAL_CLUSTER:?name a cluster by KUBECONFIG, or a folder of scripts that start one by LOCAL_CLUSTER}"
    export K8S_HOME=${K8S_HOME:-/tmp/k8s} CONTAINERS_STORAGE_CONF=${K8S_HOME:-/tmp/k8s}/buildah/storage.conf
    case "${1:-}" in
    image) build_image; exit ;;
    restart-kubelet) restart_kubelet; exit ;;
    esac
    if [ -e "$K8S_HOME/run/pids" ]; then
        if is_up; then
            echo "a cluster runs already in $K8S_HOME: stop it by down.sh, or name it by KUBECONFIG" >&2
            exit 1
        fi
        say "a cluster was killed in $K8S_HOME; what it left is removed"
        bash "$LOCAL_CLUSTER/down.sh"
    fi
    trap 'bash "$LOCAL_CLUSTER/down.sh"' EXIT
    bash "$LOCAL_CLUSTER/up.sh"
    say "the cluster is up"
    build_image
    CELLASSETS_TEST_IMAGE=$(load_by_digest cellassets:test)
    CELLASSETS_TEST_ENCODER_IMAGE=$(load_by_digest moments:test)
    export CELLASSETS_TEST_IMAGE CELLASSETS_TEST_ENCODER_IMAGE KUBECONFIG=$K8S_HOME/state/admin.kubeconfig
    export CELLASSETS_TEST_KUBELET_RESTART="$PWD/scripts/test_k8s.sh restart-kubelet"
    say "the node has the images"
fi
: "${CELLASSETS_TEST_IMAGE:?name the image that the nodes of the cluster can pull}"
: "${CELLASSETS_TEST_ENCODER_IMAGE:?name the image of examples/container_encoder}"
CELLASSETS_CLUSTER_TESTS=1 "$python" -m pytest tests/cluster "$@"
say "the tests are over"
