#!/usr/bin/env bash
# Make or renew the virtual environment from a hash-locked list: venv.sh PYTHON FOLDER LIST STAMP
set -euo pipefail
python=$1 folder=$2 list=$3 stamp=$4

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "Python 3.11 or later is needed; name one: make PYTHON=python3.13" >&2
  exit 1
fi
if [ ! -x "$folder/bin/python" ]; then
  echo "making $folder from $list; this takes a minute, once" >&2 # stdout is what was asked for
  if ! "$python" -m venv "$folder"; then
    rm -rf "$folder"
    echo "Python's venv module is missing; run: sudo apt-get install python3-venv" >&2
    exit 1
  fi
fi
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$list"
touch "$stamp"
