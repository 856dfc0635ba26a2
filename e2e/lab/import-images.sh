#!/usr/bin/env bash
# import-images.sh NODE: run inside a node, imports every archive that the node does not have in this version.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
. "$(dirname "$(readlink -f "$0")")/lib.sh"
have=$RUN/node/$1/images
mkdir -p "$have"
for archive in "$IMAGES"/*.tar; do
  name=$(basename "$archive" .tar)
  cmp -s "$IMAGES/$name.sum" "$have/$name.sum" && continue
  ctr --namespace k8s.io images import "$archive" >/dev/null
  cp "$IMAGES/$name.sum" "$have/$name.sum"
done
