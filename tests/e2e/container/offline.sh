#!/usr/bin/env bash
# Where no registry can be reached: prints the shell lines that make image.sh and kind-images.sh do without one.
#   eval "$(tests/e2e/container/offline.sh)"
set -euo pipefail
cd "$(dirname "$0")/../../.."

certificates=/etc/ssl/certs/ca-certificates.crt # of this machine: the build's downloads may pass its proxy
base=$(tests/e2e/container/base.sh)
servers=$(tests/e2e/container/servers.sh)
cat <<END
export BASE='$base' STAND_IN='$servers' BUILDER='podman --runtime runc'
export BUILD_FLAGS='--network host --volume $certificates:$certificates:ro'
END
