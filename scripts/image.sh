#!/usr/bin/env bash
# Build the image of a FOLDER (the service's without one) with docker, podman or buildah, whichever is here, and say how
# large it is: image.sh [FOLDER]
# From the environment: IMAGE (seatrial:dev, or seatrial-NAME:dev after the folder), BASE (another base), SOURCE (the
# repository's URL; else git's origin), REVISION (git's unless given), BUILDER (a command), BUILD_FLAGS (more options for
# it).
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-.}
name=seatrial
[ "$folder" = . ] || name+=-$(basename "$folder")
image=${IMAGE:-$name:dev}
if [ -z "${BUILDER:-}" ]; then
  # `docker version` fails where the client is here without its engine.
  for BUILDER in docker podman buildah none; do
    "$BUILDER" version >/dev/null 2>&1 && break
  done
  if [ "$BUILDER" = none ]; then
    echo "docker with its engine, podman or buildah is needed; on Debian run: sudo apt-get install podman" >&2
    exit 1
  fi
fi
read -ra builder <<<"$BUILDER"
read -ra flags <<<"${BUILD_FLAGS:-}"

revision=${REVISION:-}
if [ -z "$revision" ]; then
  revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
  case $folder in .) copied=(service requirements.txt Dockerfile) ;; *) copied=("$folder") ;; esac
  [ -z "$(git status --porcelain -- "${copied[@]}" 2>/dev/null)" ] || revision+=-changed
fi
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
source=${SOURCE:-$(git config --get remote.origin.url 2>/dev/null || true)}
# As a browser opens it, and without the user and password that a clone may have in it.
source=$(sed -E 's#^[^/@]+@([^:/]+):#https://\1/#; s#^(ssh|git)://#https://#; s#^(https?://)[^/@]*@#\1#; s#\.git$##' <<<"$source")
# The commit's time stands on every file that podman and buildah write; docker takes it for the image only.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH
[[ $BUILDER == docker* ]] || flags+=(--timestamp "$SOURCE_DATE_EPOCH")
# Not in the repository; the build checks its sum.
[ "$name" != seatrial-exporter ] || cp "$(scripts/jmx-exporter.sh httpserver)" "$folder/"
[ -z "${BASE:-}" ] || flags+=(--build-arg "BASE=$BASE")
[[ $source != http* ]] || flags+=(--build-arg "SOURCE=$source")

"${builder[@]}" build "${flags[@]}" --tag "$image" \
  --build-arg "VERSION=$version" --build-arg "REVISION=$revision" "$folder"

base=${BASE:-$(sed -n 's/^ARG BASE=//p' "$folder/Dockerfile")}
if [[ $BUILDER == buildah* ]]; then
  size() { "${builder[@]}" images --json "$1" 2>/dev/null | sed -n 's/^ *"size": "\(.*\)",$/\1/p'; }
  echo "$image: $(size "$image"); its base: $(size "$base")"
  exit
fi
size() { "${builder[@]}" image inspect --format '{{.Size}}' "$1" 2>/dev/null; }
# docker's builder keeps the base to itself: the engine can't say its size before it has been pulled.
size "$base" >/dev/null || "${builder[@]}" pull --quiet "$base" >/dev/null || true
all=$(size "$image")
if below=$(size "$base"); then
  echo "$image: $((all / 1000000)) MB, of which $(((all - below) / 1000000)) MB over its base"
else
  echo "$image: $((all / 1000000)) MB; its base could not be measured"
fi
