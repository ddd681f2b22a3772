#!/usr/bin/env bash
# The service for one person at a terminal: plain HTTP, stores in this process and in the folder data/.
# Every setting may be given in the environment or on make's command line; these are only defaults.
# The first line goes to stderr: stdout is the service's log, which is JSON where it is not a terminal.
set -euo pipefail

export HOST=${HOST:-127.0.0.1}
export PORT=${PORT:-8080}
export OPS_PORT=${OPS_PORT:-9090}
case $HOST in # what a browser on this machine calls it
  127.0.0.1 | 0.0.0.0 | ::1 | ::) name=localhost ;;
  *:*) name="[$HOST]" ;;
  *) name=$HOST ;;
esac
export ALLOWED_HOSTS=${ALLOWED_HOSTS:-localhost,127.0.0.1,[::1],$name}
export COOKIE_SECURE=${COOKIE_SECURE:-false}
export SHUTDOWN_DELAY=${SHUTDOWN_DELAY:-0s}
export SESSION_URL=${SESSION_URL:-memory://}
if [ -z "${STORAGE_URL:-}" ]; then
  mkdir -p data
  export STORAGE_URL="file://$PWD/data"
fi
if [ -z "${LOG_FORMAT:-}" ] && [ -t 1 ]; then
  export LOG_FORMAT=text
fi

if [ "$PORT" = 0 ] || [ "$OPS_PORT" = 0 ]; then
  echo 'Open the address after "listening:" below; Ctrl-C ends it' >&2
else
  echo "Open http://$name:$PORT/ (metrics and health: http://$name:$OPS_PORT/metrics); Ctrl-C ends it" >&2
fi
exec "${PYTHON:-python3}" -m service
