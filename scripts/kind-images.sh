#!/usr/bin/env bash
# Build the images of ours that a kustomization names (or only NAME of them), and hand them to the cluster:
# kind-images.sh FOLDER [NAME]. Prints a line `name-in-the-manifests name-in-the-cluster:tag digest` for each.
# From the environment: TAG (dev), LOAD (a command that hands images NAME... to the cluster's nodes and prints
# NAME@sha256:… for each), what image.sh takes, and STAND_IN: where no registry can be reached, an image with the same
# programs on its PATH that takes the place of all images that are not ours. That is for tests.
set -euo pipefail
shopt -s inherit_errexit # what fails in $(…) ends it, too
cd "$(dirname "$0")/.."

load() {
  local found name=$1
  read -ra command <<<"${LOAD:-scripts/kind-load.sh}"
  found=$("${command[@]}" "$name")
  echo "${found%@*}" "${found##*@}"
}

names=$(kubectl kustomize "$1" | sed -En 's/^ +(- )?image: *"?([^"@]+).*/\2/p' | sed -E 's,:[^/]*$,,' | sort -u)
for name in $names; do
  [ "$name" = "${2:-$name}" ] || continue
  case $name in
    seatrial) folder=. ;;
    seatrial-*) folder=sidecars/${name#seatrial-} ;;
    *) folder= ;;
  esac
  if [ -n "$folder" ]; then
    image=$name:${TAG:-dev}
    IMAGE=$image scripts/image.sh "$folder" >&2
    loaded=$(load "$image")
    echo "$name $loaded"
  elif [ -n "${STAND_IN:-}" ]; then
    [ -n "${stand_in:-}" ] || stand_in=$(load "$STAND_IN")
    echo "$name $stand_in"
  fi
done
