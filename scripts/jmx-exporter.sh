#!/usr/bin/env bash
# Fetch the JMX exporter from Maven Central once, and check it. Prints where the jar is: jmx-exporter.sh
# httpserver|javaagent. The cache is $SEATRIAL_CACHE, or .cache in the project.
set -euo pipefail

version=1.0.1
kind=${1:-}
case $kind in # SHA-256 of the jar
  httpserver) sum=a493eb637f9eb827dc3bee2a8cb0dc6bf2b291ace896d4ebfe98b055e394ab1b ;;
  javaagent) sum=7d61f737fd661610ccc14aea79764faa1ea94a340cbc8f0029b3d2edea3d80c1 ;;
  *)
    echo "usage: jmx-exporter.sh httpserver|javaagent" >&2
    exit 2
    ;;
esac
cache=${SEATRIAL_CACHE:-$(cd "$(dirname "$0")/.." && pwd)/.cache}
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
  found=$build/io/prometheus/jmx/jmx_prometheus_$kind/$version/$name
  echo "$sum  $found" | sha256sum --check --quiet - >&2
  mv "$found" "$jar"
fi
echo "$jar"
