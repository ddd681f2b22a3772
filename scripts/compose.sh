#!/usr/bin/env bash
# docker compose with what it needs beforehand: compose.sh up|down. From the environment: PROFILES (memcached, grafana),
# and what docker-compose.yml asks for. `down` keeps the volumes; VOLUMES=1 removes them too.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! docker compose version >/dev/null 2>&1; then
  echo "docker with its compose plugin is needed; see https://docs.docker.com/compose/install/" >&2
  exit 1
fi
profiles=()
for profile in ${PROFILES:-}; do
  profiles+=(--profile "$profile")
done

case ${1:-} in
  up)
    secret=compose/secrets/SESSION_PASSWORD
    if [ ! -s "$secret" ]; then
      # The folder is ours alone. The file is mounted into containers that run as users of their own.
      (umask 077 && mkdir -p compose/secrets)
      head -c 24 /dev/urandom | base64 | tr -d '\n' >"$secret.new"
      chmod 444 "$secret.new"
      mv "$secret.new" "$secret"
    fi
    BUILDER=docker scripts/image.sh # as make image builds it: with its version and revision
    docker compose "${profiles[@]}" up --detach --wait
    echo "Open http://localhost:${PORT:-8080}/ (Prometheus: http://localhost:${PROMETHEUS_PORT:-9090}/); make down ends it"
    ;;
  down)
    docker compose --profile "*" down ${VOLUMES:+--volumes}
    ;;
  *)
    echo "usage: compose.sh up|down" >&2
    exit 2
    ;;
esac
