#!/usr/bin/env bash
# Archives of AISHELL-1: download with resume, check the MD5, unpack with the inner archives.
#   download.sh ARCHIVE_DIR CORPUS_DIR MD5SUMS MIRROR
# An unpacked corpus (ARCHIVE_DIR = CORPUS_DIR) is only checked for its folders.
set -euo pipefail
archive_dir=$1 corpus_dir=$2 md5sums=$3 mirror=${4%/}

die() {
  echo "error: $*" >&2
  exit 1
}

md5_of() { # FILE
  if command -v md5sum >/dev/null; then md5sum <"$1" | cut -d ' ' -f 1; else md5 -q "$1"; fi
}

# Appends to FILE what is missing of it and prints the HTTP status.
fetch() { # URL FILE
  if command -v curl >/dev/null; then
    curl --fail --location --connect-timeout 60 --speed-limit 1 --speed-time 60 \
      --continue-at - --output "$2" --write-out '%{http_code}' "$1"
  elif command -v wget >/dev/null; then
    wget --tries 1 --timeout 60 --continue --output-document "$2" "$1"
  else
    die "neither curl nor wget is installed. Install one, or download $1 yourself (--corpus-dir)."
  fi
}

# FILE appears when it is complete; FILE.part holds what has arrived.
download() { # URL FILE MD5
  local part=$2.part code status found size failures=0
  mkdir -p "$(dirname "$2")"
  if [ -s "$part" ] && [ "$(md5_of "$part")" = "$3" ]; then mv "$part" "$2" && return; fi
  while [ "$failures" -lt 5 ]; do
    size=$(wc -c 2>/dev/null <"$part" || echo 0)
    status=0
    code=$(fetch "$1" "$part") || status=$?
    case $status:$code in
      33:* | *:416) rm -f "$part" ;; # this part cannot be continued
      0:*) break ;;
      *:40[0-9]) die "$1: HTTP status $code. Give another --mirror." ;;
    esac
    # Only tries without progress count.
    if [ "$(wc -c 2>/dev/null <"$part" || echo 0)" -gt "$size" ]; then failures=0; fi
    failures=$((failures + 1))
    sleep $((failures * ${RETRY_SECONDS:-5}))
  done
  if [ "$failures" -eq 5 ]; then
    die "$1: download failed${code:+ (HTTP status $code)}. Run the same command again to resume it," \
      "or give another --mirror."
  fi
  found=$(md5_of "$part")
  if [ "$found" != "$3" ]; then
    rm "$part"
    die "$1: MD5 $found, expected $3; deleted. Run the same command again, or give another --mirror."
  fi
  mv "$part" "$2"
}

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
    elif [ "$(md5_of "$archive")" != "$md5" ]; then
      die "$archive: MD5 $(md5_of "$archive"), expected $md5. Download it again."
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
