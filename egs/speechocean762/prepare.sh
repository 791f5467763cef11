#!/usr/bin/env bash
# Data of speechocean762: English by 250 Mandarin speakers (https://www.openslr.org/101; README.md).
# shellcheck disable=SC2034,SC2154  # options of prepare_options.sh
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data_of="speechocean762"
# shellcheck source=../../shared/prepare_options.sh
. "$recipe/../../shared/prepare_options.sh"

option corpus_dir "$recipe/download" "the unpacked corpus (only read), or a folder with the archive"
option mirror "" "URL of the archive's folder (without --corpus-dir: https://www.openslr.org/resources/101)"
option strict false "stop if utterances or speakers differ from the published numbers"
units=bpe
vocab_size=500
speed_perturb="0.9 1.1"
teacher=all-MiniLM-L6-v2
parse_options "$@"
begin corpus_dir data_dir init_lang_dir

corpus=speechocean762
normalizer=gmot.text.normalize:normalize_english
expect="train=2240:112 dev=260:13 test=2500:125"
groups=$data_dir/corpus/groups
if [ "$corpus_dir" = "$recipe/download" ]; then
  : "${mirror:=https://www.openslr.org/resources/101}"
fi

if [ -d "$corpus_dir/WAVE" ]; then
  source=$corpus_dir
else
  source=$data_dir/speechocean762
  stage 0 archive --out "$source/train/text" "$source/test/text" -- \
    bash "$recipe/local/download.sh" "$corpus_dir" "$source" "$mirror"
fi
corpus_dir=$data_dir/corpus
audio=("$source/WAVE")
stage 0 corpus --in "$source"/{train,test} "$recipe"/local/*.py --out "$corpus_dir" -- \
  python "$recipe/local/prepare_corpus.py" --corpus-dir "$source" --output-dir "$corpus_dir"

# shellcheck source=../../shared/prepare.sh
. "$root/shared/prepare.sh"
