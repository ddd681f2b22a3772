#!/usr/bin/env bash
# The real servers that the tests run against: installed where they are missing and we are root, else named.
# More PROGRAM:PACKAGE may be given.
set -euo pipefail

missing=()
for pair in redis-server:redis-server memcached:memcached nginx:nginx prometheus:prometheus promtool:prometheus curl:curl "$@"; do
  PATH="$PATH:/usr/sbin" command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" -ne 0 ]; then
    echo "missing for the tests; run: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  echo "installing ${missing[*]}"
  apt-get update -qq
  # Debian starts what it installs; the tests start their own.
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi
scripts/go-tool.sh fake-gcs-server >/dev/null
