#!/usr/bin/env bash
# Hand images of this machine to the nodes of the kind cluster `seatrial`, so that pods can name them by digest, without
# a registry: kind-load.sh NAME... prints a line NAME@sha256:… for each. From the environment: ENGINE (docker or podman,
# the one that kind runs on).
set -euo pipefail

engine=${ENGINE:-docker}
archive=$(mktemp --suffix .tar)
trap 'rm -f "$archive"' EXIT

for name in "$@"; do
  "$engine" save --output "$archive" "$name" >/dev/null
  kind load image-archive --name seatrial "$archive" >&2
  for node in $(kind get nodes --name seatrial); do
    ctr=("$engine" exec "$node" ctr --namespace k8s.io images)
    # The node calls it by its whole name (docker.io/library/…), and looks a digest up under the name without the tag.
    read -r full _ digest _ < <("${ctr[@]}" ls | awk -v end="/$name" \
      '$1 == substr(end, 2) || substr($1, length($1) - length(end) + 1) == end') || true
    if [ -z "${digest:-}" ]; then
      echo "$name did not arrive on $node" >&2
      exit 1
    fi
    "${ctr[@]}" tag --force "$full" "${full%:*}@$digest" >/dev/null
  done
  echo "$full@$digest"
done
