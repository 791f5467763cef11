#!/usr/bin/env bash
# Archives of AISHELL-1: download with resume, check the MD5, unpack with the inner archives.
#   download.sh ARCHIVE_DIR CORPUS_DIR MD5SUMS MIRROR
# An unpacked corpus (ARCHIVE_DIR = CORPUS_DIR) is only checked for its folders.
set -euo pipefail
archive_dir=$1 corpus_dir=$2 md5sums=$3 mirror=${4%/}

# shellcheck source=../../../shared/download.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../shared/download.sh"

unpack() { # ARCHIVE NAME
  local temporary=$corpus_dir/.unpack-$2 inner
  rm -rf "$temporary"
  mkdir -p "$temporary"
  tar -xzf "$1" -C "$temporary" || die "$1: damaged. Download it again."
  while read -r inner; do
    tar -xzf "$inner" -C "$(dirname "$inner")" || die "$1: $(basename "$inner") is damaged."
    rm "$inner"
  done < <(find "$temporary" -name '*.tar.gz')
  [ -d "$temporary/$2" ] || die "$1: has no folder $2/"
  rm -rf "${corpus_dir:?}/$2"
  mv "$temporary/$2" "$corpus_dir/$2"
  rm -rf "$temporary"
}

if [ "$archive_dir" != "$corpus_dir" ]; then
  if [ -d "$archive_dir/wav" ] && [ -d "$archive_dir/transcript" ]; then
    die "--corpus-dir $archive_dir is data_aishell itself. Give the folder above it."
  fi
  trap 'rm -rf "$corpus_dir"/.unpack-*' EXIT
  mkdir -p "$corpus_dir"
  echo "checksums: $md5sums" >&2
  for name in data_aishell resource_aishell; do
    archive=$archive_dir/$name.tgz
    md5=$(awk -v name="$name.tgz" '$2 == name || $2 == "*" name { print $1 }' "$md5sums")
    [ -n "$md5" ] || die "$md5sums: no line 'MD5  $name.tgz'"
    if [ -d "$corpus_dir/$name" ] && grep -qx "$md5" "$corpus_dir/.$name.md5" 2>/dev/null; then
      continue
    fi
    if [ ! -f "$archive" ] && [ -z "$mirror" ]; then
      die "neither $name/ nor $name.tgz in $archive_dir. Give the folder that holds them as" \
        "--corpus-dir, or a --mirror to download them from."
    elif [ ! -f "$archive" ]; then
      download "$mirror/$name.tgz" "$archive" "$md5"
    elif [ "$(checksum_of "$archive" md5)" != "$md5" ]; then
      die "$archive: MD5 $(checksum_of "$archive" md5), expected $md5. Download it again."
    fi
    rm -f "$corpus_dir/.$name.md5"
    unpack "$archive" "$name"
    echo "$md5" >"$corpus_dir/.$name.md5"
  done
fi

for split in train dev test; do
  [ -d "$corpus_dir/data_aishell/wav/$split" ] ||
    die "$corpus_dir/data_aishell/wav/$split does not exist. Where the archives S*.tar.gz of the" \
      "speakers are in that folder, unpack them: for f in S*.tar.gz; do tar xzf \$f; done"
done
ls "$corpus_dir"/data_aishell/transcript/*.txt >/dev/null ||
  die "$corpus_dir/data_aishell/transcript: no transcripts"
