#!/usr/bin/env bash
# The Debian package of festvox-ru: download.sh FILE.deb MIRROR SHA256
# A package that is there is kept; a download is resumed and checked.
set -euo pipefail
deb=$1 mirror=${2%/} sha256=$3
# shellcheck source=../../../shared/download.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../shared/download.sh"

if [ -f "$deb" ]; then exit; fi
[ -n "$mirror" ] || die "neither lab/ nor $(basename "$deb") in $(dirname "$deb"). Give the package," \
  "a folder with it, or the unpacked voice as --corpus-dir, or a --mirror to download it from."
download "$mirror/$(basename "$deb")" "$deb" "$sha256"
