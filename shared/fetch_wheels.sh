#!/usr/bin/env bash
# Download the wheels of a list, checked by their hashes: fetch_wheels.sh LIST.txt FOLDER
# They are read as archives. One of them contains compiled code, which is not used: hence the
# platform given to pip.
set -euo pipefail
list=$1 folder=$2
mkdir -p "$folder"
download=(python -m pip --disable-pip-version-check download --quiet --no-deps
  --only-binary :all: --platform manylinux2014_x86_64 --require-hashes --dest "$folder" -r "$list")
# Wheels that are there and complete need no network.
if ! "${download[@]}" --no-index --find-links "$folder" 2>/dev/null; then
  echo "Downloading the wheels of $list to $folder" >&2
  "${download[@]}"
fi
