#!/usr/bin/env bash
# Run a command again and again, and stop at the first failure: flakes.sh RUNS COMMAND…
set -euo pipefail
runs=$1
shift
mkdir -p .cache

for ((run = 1; run <= runs; run++)); do
  started=$SECONDS
  if ! "$@" >.cache/flakes.log 2>&1; then
    tail -n 60 .cache/flakes.log
    echo "run $run of $runs failed after $((SECONDS - started)) s" >&2
    exit 1
  fi
  echo "run $run of $runs: $(tail -n 1 .cache/flakes.log)"
done
