#!/usr/bin/env bash
# Write what `kubectl apply -k FOLDER` then applies: the kind overlay in a namespace, with the images of kind-images.sh
# (from stdin) by digest and a password of its own: kind-render.sh FOLDER NAMESPACE <images
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$1 namespace=$2
mkdir -p "$folder"
secret=$folder/SESSION_PASSWORD
if [ ! -s "$secret" ]; then # drawn once: Redis keeps it for as long as the namespace is there
  (umask 077 && head -c 24 /dev/urandom | base64 | tr -d '\n' >"$secret.new")
  mv "$secret.new" "$secret"
fi
{
  cat <<END
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: $namespace
resources: [$(realpath --relative-to "$folder" k8s/overlays/kind)]
secretGenerator:
  - {name: seatrial-secrets, behavior: merge, files: [SESSION_PASSWORD]}
images:
END
  while read -r name new digest; do # 7: the tag says what it is, the digest makes it this very one
    echo "  - {name: $name, newName: ${new%:*}, newTag: \"${new##*:}\", digest: \"$digest\"}"
  done
} >"$folder/kustomization.yaml"
