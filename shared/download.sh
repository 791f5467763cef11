# shellcheck shell=bash
# Downloads with resume and checksum. Sourced.
#   download URL FILE [CHECKSUM]   MD5 or SHA-256; without one, FILE is only known to be complete

die() {
  echo "error: $*" >&2
  exit 1
}

checksum_of() { # FILE md5|sha256
  if command -v "$2sum" >/dev/null; then
    "$2sum" <"$1" | cut -d ' ' -f 1
  elif [ "$2" = md5 ]; then
    md5 -q "$1"
  else
    shasum -a 256 <"$1" | cut -d ' ' -f 1
  fi
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
download() { # URL FILE [CHECKSUM]
  local part=$2.part kind=sha256 label=SHA-256 code status found size failures=0
  if [ ${#3} -eq 32 ]; then kind=md5 label=MD5; fi
  mkdir -p "$(dirname "$2")"
  if [ -n "$3" ] && [ -s "$part" ] && [ "$(checksum_of "$part" $kind)" = "$3" ]; then
    mv "$part" "$2" && return
  fi
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
  if [ -n "$3" ]; then
    found=$(checksum_of "$part" $kind)
    if [ "$found" != "$3" ]; then
      rm "$part"
      die "$1: $label $found, expected $3; deleted. Run the same command again, or give another" \
        "--mirror."
    fi
  fi
  mv "$part" "$2"
}
