#!/usr/bin/env bash
# Fetch axe-core, which looks at pages with the eyes of WCAG, from npm once. Prints where its script is. The cache is
# $TOOLS_CACHE, or .cache in the project.
set -euo pipefail

version=4.14.1
cache=${TOOLS_CACHE:-$(cd "$(dirname "$0")/.." && pwd)/.cache}
script=$cache/axe-core-$version/package/axe.min.js
sum=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745 # of the package, SHA-256

if [ ! -f "$script" ]; then
  mkdir -p "$cache"
  build=$(mktemp -d "$cache/build.XXXXXX")
  trap 'rm -rf "$build"' EXIT
  (cd "$build" && npm pack --silent "axe-core@$version" >/dev/null)
  echo "$sum  $build/axe-core-$version.tgz" | sha256sum --check --quiet - >&2
  tar -xzf "$build/axe-core-$version.tgz" -C "$build" package/axe.min.js
  mkdir -p "$cache/axe-core-$version"
  mv "$build/package" "$cache/axe-core-$version/package"
fi
echo "$script"
