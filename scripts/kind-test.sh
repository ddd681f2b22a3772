#!/usr/bin/env bash
# The tests in a cluster: kind-test.sh PYTHON OPTIONS... They drain and lose nodes, so it is the one of `make kind`, or,
# with LOAD given (see kind-images.sh), the one that kubectl points at. From the environment, where it can be done:
# NODE_STOP and NODE_START with {node}, KILL_CONTAINER with {node} and {container}: commands that do it.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$1
shift
lines=$(scripts/kind-env.sh)
eval "$lines"
if [ -z "${LOAD:-}" ]; then
  if [ "$(kubectl config current-context 2>/dev/null)" != kind-seatrial ]; then
    echo "kubectl does not point at the cluster of \`make kind\`; run: make kind && kubectl config use-context kind-seatrial" >&2
    exit 1
  fi
  node="$ENGINE exec {node}"
  kill="$node ctr --namespace k8s.io tasks kill --signal KILL {container}"
  : "${NODE_STOP:=$node systemctl stop kubelet}" "${NODE_START:=$node systemctl start kubelet}" "${KILL_CONTAINER:=$kill}"
  export NODE_STOP NODE_START KILL_CONTAINER
fi
exec "$python" -m pytest -s tests/e2e/cluster "$@"
