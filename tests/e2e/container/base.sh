#!/usr/bin/env bash
# A stand-in for the image's base, where no registry can be reached: Debian trixie with its own Python, by debootstrap.
# Prints its name. Made once for each version of this file; the mirror is the one that apt uses here. Needs root.
set -euo pipefail

suite=trixie
packages=python3,python3-venv,ca-certificates
name=localhost/seatrial-stand-in:$(sha256sum "$0" | cut -c1-12)

if ! buildah inspect --type image "$name" >/dev/null 2>&1; then
  # shellcheck disable=SC2016 # apt-get fills it in
  mirror=$(apt-get indextargets --format '$(REPO_URI)' | head -n 1)
  echo "making a stand-in for the base from Debian $suite; this takes some minutes, once" >&2
  rootfs=$(mktemp -d)
  trap 'rm -rf "$rootfs"' EXIT
  debootstrap --variant=minbase --include="$packages" "$suite" "$rootfs" "$mirror" >&2
  rm -rf "$rootfs"/var/cache/apt/* "$rootfs"/var/lib/apt/lists/* "$rootfs"/var/log/*
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$rootfs" / >/dev/null
  buildah config --cmd python3 "$container"
  buildah commit --quiet --rm "$container" "$name" >/dev/null
fi
echo "$name"
