#!/usr/bin/env bash
# What kind.sh and the tests in a cluster need: names what is missing, or prints the shell lines to go on with.
# With LOAD given (see kind-images.sh) it is the cluster that kubectl points at; else it has to be kind's.
set -euo pipefail

need() { command -v "$1" >/dev/null || { echo "$1 is needed; see $2" >&2; exit 1; }; }
need kubectl https://kubernetes.io/docs/tasks/tools/
[ -z "${LOAD:-}" ] || exit 0
need kind "https://kind.sigs.k8s.io/docs/user/quick-start/#installation"
for engine in docker podman none; do
  "$engine" info >/dev/null 2>&1 && break
done
if [ "$engine" = none ]; then
  echo "a running docker or podman is needed; see https://docs.docker.com/get-started/get-docker/" >&2
  exit 1
fi
echo "export ENGINE=$engine BUILDER=$engine KIND_EXPERIMENTAL_PROVIDER=$engine"
