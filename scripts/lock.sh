#!/usr/bin/env bash
# Renew requirements.txt (what the service needs), requirements-dev.txt (that, and what tests and lint need),
# requirements-bench.txt (that, and what it is measured against), requirements-scan.txt (checkov), requirements-go.txt (Go),
# requirements-fork.txt (copier) and the log agent's: lock.sh PYTHON [all|new]. "new" adds what pyproject.toml names and the files lack, and keeps the rest.
# uv resolves for every platform at once; it runs from a folder of its own and is needed for nothing else.
set -euo pipefail
python=${1:-python3}
case ${2:-all} in
  all) renew=(--upgrade) ;;
  new) renew=() ;;
  *) echo "lock.sh PYTHON [all|new]" >&2 && exit 2 ;;
esac
tool=.cache/lock

"$python" -m venv "$tool"
"$tool/bin/python" -m pip install --quiet --disable-pip-version-check uv
# uv does not read pip's configuration, so it is told where pip looks.
index=$("$tool/bin/python" -m pip config get global.index-url 2>/dev/null || true)
[ -z "$index" ] || export UV_DEFAULT_INDEX=$index
options=("${renew[@]}" --universal --python-version 3.11
  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet)
compile=("$tool/bin/uv" pip compile pyproject.toml --extra all "${options[@]}")
"${compile[@]}" --output-file requirements.txt
"${compile[@]}" --group test --group lint --constraints requirements.txt --output-file requirements-dev.txt
"${compile[@]}" --group bench --constraints requirements.txt --output-file requirements-bench.txt
for group in scan go fork; do
  "$tool/bin/uv" pip compile --group "$group" "${options[@]}" --output-file "requirements-$group.txt"
done
"$tool/bin/uv" pip compile sidecars/log-agent/requirements.in "${options[@]}" --constraints requirements.txt \
  --output-file sidecars/log-agent/requirements.txt
