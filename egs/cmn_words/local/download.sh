#!/usr/bin/env bash
# Recordings of github.com/hugolpz/audio-cmn: download.sh FOLDER URL COMMIT
# Only 64k/hsk of one commit is fetched (92 MB).
set -euo pipefail
folder=$1 url=$2 commit=$3
if [ "$(git -C "$folder" rev-parse HEAD 2>/dev/null)" = "$commit" ]; then exit; fi
command -v git >/dev/null || { echo "error: git is not installed; or give --corpus-dir" >&2 && exit 1; }
rm -rf "$folder.part"
git init --quiet "$folder.part"
cd "$folder.part"
git remote add origin "$url"
git config core.sparseCheckout true
echo "/64k/hsk/" >.git/info/sparse-checkout
git fetch --depth 1 --filter=blob:none origin "$commit" ||
  { echo "error: $url: commit $commit cannot be fetched. Give another --mirror." >&2 && exit 1; }
git -c advice.detachedHead=false checkout --quiet FETCH_HEAD
cd - >/dev/null
rm -rf "$folder"
mv "$folder.part" "$folder"
