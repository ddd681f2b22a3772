#!/usr/bin/env bash
# Fetch the JMX exporter from Maven Central once, and check it by sidecars/exporter/SHA256SUMS. Prints where the jar is:
# jmx-exporter.sh httpserver|javaagent. The cache is $TOOLS_CACHE, or .cache in the project.
set -euo pipefail

version=1.0.1
kind=${1:-}
case $kind in
  httpserver | javaagent) ;;
  *)
    echo "usage: jmx-exporter.sh httpserver|javaagent" >&2
    exit 2
    ;;
esac
project=$(cd "$(dirname "$0")/.." && pwd)
cache=${TOOLS_CACHE:-$project/.cache}
name=jmx_prometheus_$kind-$version.jar
jar=$cache/$name

if [ ! -f "$jar" ]; then
  command -v mvn >/dev/null || { echo "mvn is missing; run: sudo apt-get install --no-install-recommends maven" >&2; exit 1; }
  mkdir -p "$cache"
  build=$(mktemp -d "$cache/build.XXXXXX")
  trap 'rm -rf "$build"' EXIT
  echo "fetching $name, once" >&2
  # Into a repository of its own: dependency:get puts it there and needs no other plugin.
  mvn --quiet --batch-mode dependency:get -Dtransitive=false "-Dmaven.repo.local=$build" \
    "-Dartifact=io.prometheus.jmx:jmx_prometheus_$kind:$version" >&2
  found=$build/io/prometheus/jmx/jmx_prometheus_$kind/$version
  (cd "$found" && sha256sum --check --quiet --ignore-missing "$project/sidecars/exporter/SHA256SUMS" >&2)
  mv "$found/$name" "$jar"
fi
echo "$jar"
