#!/usr/bin/env bash
# Data of festvox-ru: 620 Russian sentences of one speaker, with phone times (README.md).
# shellcheck disable=SC2034,SC2154  # options of prepare_options.sh
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data_of="festvox-ru"
# shellcheck source=../../shared/prepare_options.sh
. "$recipe/../../shared/prepare_options.sh"

option corpus_dir "$recipe/download" "the .deb package, a folder with it, or the unpacked voice"
option mirror "" "URL of the package's folder (without --corpus-dir: that of deb.debian.org)"
units=characters
speed_perturb="0.9 1.1"
teacher=multilingual-e5-small
teacher_layer=6
parse_options "$@"
begin corpus_dir data_dir init_lang_dir

corpus=festvox_ru
normalizer=gmot.text.normalize:normalize_unicode
expect="train=480:1 dev=60:1 test=80:1"
package=festvox-ru_0.5+dfsg-6_all.deb
sha256=21ef3f0f2978ecf2e2eddb367cb0ff4a72572196d28dc69feb84f4177af5e6c4
if [ "$corpus_dir" = "$recipe/download" ]; then
  : "${mirror:=https://deb.debian.org/debian/pool/main/f/festvox-ru}"
fi
installed=usr/share/festival/voices/russian/msu_ru_nsh_clunits
if [ -d "$corpus_dir/$installed" ]; then corpus_dir=$corpus_dir/$installed; fi

if [ -d "$corpus_dir/lab" ]; then
  voice=$corpus_dir
else
  voice=$data_dir/voice
  deb=$corpus_dir
  if [ ! -f "$deb" ]; then deb=$corpus_dir/$package; fi
  stage 0 package --out "$deb" -- bash "$recipe/local/download.sh" "$deb" "$mirror" "$sha256"
  stage 0 voice --after package --in "$deb" --out "$voice" -- \
    python "$recipe/local/unpack_deb.py" --deb "$deb" --output-dir "$voice"
fi
corpus_dir=$data_dir/corpus
audio=("$voice/wav")
stage 0 corpus --in "$voice/etc/txt.done.data" "$voice/lab" "$recipe"/local/*.py \
  --out "$corpus_dir" -- \
  python "$recipe/local/prepare_corpus.py" --voice-dir "$voice" --output-dir "$corpus_dir"

# shellcheck source=../../shared/prepare.sh
. "$root/shared/prepare.sh"
