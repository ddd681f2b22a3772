#!/usr/bin/env bash
# The service with all that belongs to it on a Kubernetes on this machine: kind.sh up|down
# It makes a cluster `seatrial` with kind; with LOAD given (see kind-images.sh) it takes the one that kubectl points at.
# From the environment: PORT (8080) and PROMETHEUS_PORT (9090) on 127.0.0.1, and what image.sh takes.
set -euo pipefail
cd "$(dirname "$0")/.."

lines=$(scripts/kind-env.sh)
eval "$lines"
folder=.cache/kind
kube=(kubectl)
[ -n "${LOAD:-}" ] || kube+=(--context kind-seatrial) # never another cluster

case ${1:-} in
  up)
    if [ -z "${LOAD:-}" ] && ! kind get clusters 2>/dev/null | grep -qx seatrial; then
      kind create cluster --name seatrial --wait 2m --config - <<END
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
    extraPortMappings: # the overlay's node ports
      - {containerPort: 30080, hostPort: ${PORT:-8080}, listenAddress: 127.0.0.1}
      - {containerPort: 30090, hostPort: ${PROMETHEUS_PORT:-9090}, listenAddress: 127.0.0.1}
  - role: worker
  - role: worker
END
    fi
    scripts/kind-images.sh k8s/overlays/kind >"$folder.images"
    scripts/kind-render.sh "$folder" seatrial <"$folder.images"
    "${kube[@]}" apply --server-side --kustomize "$folder"
    for each in $("${kube[@]}" --namespace seatrial get deployments,statefulsets --output name); do
      if ! "${kube[@]}" --namespace seatrial rollout status "$each" --timeout 5m; then
        "${kube[@]}" --namespace seatrial get pods,events
        exit 1
      fi
    done
    if [ -z "${LOAD:-}" ]; then
      echo "Open http://localhost:${PORT:-8080}/ (Prometheus: http://localhost:${PROMETHEUS_PORT:-9090}/); make kind-down ends it"
    else
      echo "Open http://localhost:${PORT:-8080}/ after: kubectl -n seatrial port-forward service/seatrial ${PORT:-8080}:80; make kind-down ends it"
    fi
    ;;
  down)
    if [ -z "${LOAD:-}" ]; then
      kind delete cluster --name seatrial
    else
      "${kube[@]}" delete --ignore-not-found --kustomize "$folder"
    fi
    ;;
  *)
    echo "usage: kind.sh up|down" >&2
    exit 2
    ;;
esac
