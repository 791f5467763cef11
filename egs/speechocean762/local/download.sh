#!/usr/bin/env bash
# speechocean762.tar.gz: download with resume, check and unpack.
#   download.sh ARCHIVE_DIR CORPUS_DIR MIRROR
# OpenSLR publishes no checksum: gzip's own checksum is checked, and the folders.
set -euo pipefail
archive=$1/speechocean762.tar.gz corpus_dir=$2 mirror=${3%/}
# shellcheck source=../../../shared/download.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../shared/download.sh"

if [ ! -f "$archive" ] && [ -z "$mirror" ]; then
  die "neither WAVE/ nor speechocean762.tar.gz in $1. Give the folder that holds them as" \
    "--corpus-dir, or a --mirror to download the archive from."
elif [ ! -f "$archive" ]; then
  download "$mirror/speechocean762.tar.gz" "$archive" ""
fi
temporary=$corpus_dir.unpack
trap 'rm -rf "$temporary"' EXIT
rm -rf "$temporary"
mkdir -p "$temporary"
tar -xzf "$archive" -C "$temporary" || die "$archive: damaged. Delete it and run the same command again."
for name in WAVE train/text test/text; do
  [ -e "$temporary/speechocean762/$name" ] ||
    die "$archive: has no speechocean762/$name. Delete it and run the same command again."
done
rm -rf "${corpus_dir:?}"
mv "$temporary/speechocean762" "$corpus_dir"
