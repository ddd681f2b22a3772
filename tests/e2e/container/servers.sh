#!/usr/bin/env bash
# A stand-in for other people's images where no registry can be reached: one image with the same programs on its PATH
# (Redis and its exporter, Memcached, Prometheus from Debian; the Cloud Storage emulator built here). Prints its name.
# Made once for each version of this file; the mirror is the one that apt uses here. Needs root.
set -euo pipefail
cd "$(dirname "$0")/../../.."

name=localhost/seatrial-stand-in-servers:$(sha256sum tests/e2e/container/base.sh tests/e2e/container/servers.sh | sha256sum | cut -c1-12)

if ! buildah inspect --type image "$name" >/dev/null 2>&1; then
  base=$(tests/e2e/container/base.sh)
  emulator=$(scripts/go-tool.sh fake-gcs-server)
  echo "making a stand-in for other people's images; this takes some minutes, once" >&2
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  cp "$emulator" "$folder/fake-gcs-server"
  buildah --runtime runc build --network host --tag "$name" --build-arg "BASE=$base" --file - "$folder" >&2 <<'END'
ARG BASE
FROM ${BASE}
# Debian starts what it installs; here nothing may start.
RUN printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d \
 && apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
      redis-server memcached prometheus prometheus-redis-exporter \
 && ln -s prometheus-redis-exporter /usr/bin/redis_exporter \
 && rm -rf /var/cache/apt/* /var/lib/apt/lists/* /var/lib/prometheus/* /var/log/*
COPY fake-gcs-server /usr/bin/fake-gcs-server
END
fi
echo "$name"
