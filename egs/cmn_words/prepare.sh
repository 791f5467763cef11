#!/usr/bin/env bash
# Data of cmn_words: 8,569 recorded Mandarin words and characters of one speaker (README.md).
# shellcheck disable=SC2034,SC2154  # options of prepare_options.sh
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data_of="cmn_words"
# shellcheck source=../../shared/prepare_options.sh
. "$recipe/../../shared/prepare_options.sh"

option corpus_dir "$recipe/download" "a checkout of audio-cmn, or a Kaldi-style folder of all words"
option mirror "" "URL of the repository (without --corpus-dir: https://github.com/hugolpz/audio-cmn)"
units=characters
speed_perturb="0.9 1.1"
teacher=multilingual-e5-small
teacher_layer=6
parse_options "$@"
begin corpus_dir data_dir init_lang_dir

corpus=cmn_words
expect="train=7713:1 dev=428:1 test=428:1"
commit=ff9ed3d0c631195bd2c06f39450f3264c7124040
if [ "$corpus_dir" = "$recipe/download" ]; then
  corpus_dir=$recipe/download/audio-cmn
  : "${mirror:=https://github.com/hugolpz/audio-cmn}"
fi
if [ -n "$mirror" ]; then
  stage 0 recordings --out "$corpus_dir/64k/hsk" -- \
    bash "$recipe/local/download.sh" "$corpus_dir" "$mirror" "$commit"
fi
source=$corpus_dir
corpus_dir=$data_dir/corpus
audio=("$source")
stage 0 corpus --in "$source" "$recipe"/local/*.py --out "$corpus_dir" -- \
  python "$recipe/local/prepare_corpus.py" --corpus-dir "$source" --output-dir "$corpus_dir" \
  --num-jobs "$num_jobs"

# shellcheck source=../../shared/prepare.sh
. "$root/shared/prepare.sh"
