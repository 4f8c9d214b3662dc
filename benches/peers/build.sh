#!/bin/bash
# Builds the peers that Debian lacks, into the folder that is named: a current skopeo, Go's ocicrypt in memory, and
# imgcrypt's decoder.
# What can't be built is left out, and the measurements say that it was not measured.
set -uo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)

# No module of this path can be required (it calls itself go.podman.io/skopeo), but its source can be had and built.
skopeo() {
  local version=$1 target="$folder/skopeo-$1" source
  [ -x "$target" ] && return
  source=$(cd "$folder" && go mod download -json "github.com/containers/skopeo@v$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  [ -n "$source" ] || return 1
  rm -rf "$folder/source" && cp -r "$source" "$folder/source" && chmod -R u+w "$folder/source" &&
    (cd "$folder/source" && CGO_ENABLED=0 go build -mod=mod -tags containers_image_openpgp,exclude_graphdriver_btrfs \
      -o "$target" ./cmd/skopeo) && rm -rf "$folder/source"
}

skopeo 1.23.0 || echo "note: a current skopeo can't be built here and is not measured" >&2
(cd "$here/../../interop" && go build -o "$folder/bench-ocicrypt" ./cmd/bench-ocicrypt) ||
  echo "note: Go's ocicrypt can't be built here and is not measured" >&2
(cd "$here/../../interop/imgcrypt" && go build -o "$folder/ctd-decoder" .) ||
  echo "note: imgcrypt's decoder can't be built here and is not measured" >&2
