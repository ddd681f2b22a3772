#!/usr/bin/env bash
# Build the image of a FOLDER (the service's without one) with docker, podman or buildah, whichever is here, and say how
# large it is: image.sh [FOLDER]
# From the environment: IMAGE (seatrial:dev, or seatrial-NAME:dev after the folder), BASE (another base), SOURCE (the
# repository's URL), BUILDER (a command), BUILD_FLAGS (more options for it).
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-.}
name=seatrial
[ "$folder" = . ] || name+=-$(basename "$folder")
image=${IMAGE:-$name:dev}
if [ -z "${BUILDER:-}" ]; then
  for BUILDER in docker podman buildah none; do
    command -v "$BUILDER" >/dev/null && break
  done
  if [ "$BUILDER" = none ]; then
    echo "docker, podman or buildah is needed; on Debian run: sudo apt-get install podman" >&2
    exit 1
  fi
fi
read -ra builder <<<"$BUILDER"
read -ra flags <<<"${BUILD_FLAGS:-}"

revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
case $folder in .) copied=(service requirements.txt Dockerfile) ;; *) copied=("$folder") ;; esac
[ -z "$(git status --porcelain -- "${copied[@]}" 2>/dev/null)" ] || revision+=-changed
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
# The commit's time stands on every file, so that the same commit gives the same image.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH
[[ $BUILDER == docker* ]] || flags+=(--timestamp "$SOURCE_DATE_EPOCH")
[ -z "${BASE:-}" ] || flags+=(--build-arg "BASE=$BASE")
[ -z "${SOURCE:-}" ] || flags+=(--build-arg "SOURCE=$SOURCE")

"${builder[@]}" build "${flags[@]}" --tag "$image" \
  --build-arg "VERSION=$version" --build-arg "REVISION=$revision" "$folder"

if [[ $BUILDER != buildah* ]]; then
  base=${BASE:-$(sed -n 's/^ARG BASE=//p' "$folder/Dockerfile")}
  size() { "${builder[@]}" image inspect --format '{{.Size}}' "$1"; }
  echo "$image: $(($(size "$image") / 1000000)) MB, of which $((($(size "$image") - $(size "$base")) / 1000000)) MB over its base"
fi
