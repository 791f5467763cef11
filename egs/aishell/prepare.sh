#!/usr/bin/env bash
# Data of AISHELL-1: 178 hours of read Mandarin, 400 speakers (https://www.openslr.org/33).
# For a corpus of your own: docs/corpora.md.
# shellcheck disable=SC2034,SC2154  # options of prepare_options.sh
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data_of="AISHELL-1"
# shellcheck source=../../shared/prepare_options.sh
. "$recipe/../../shared/prepare_options.sh"

option corpus_dir "$recipe/download" "folder with data_aishell/ (only read), or with the two archives"
option mirror "" "URL of the archives (without --corpus-dir: https://www.openslr.org/resources/33)"
option checksums "$recipe/md5sum.txt" "MD5 of the archives; an md5sum.txt beside them is preferred"
option strict false "stop if utterances, speakers or characters differ from the published numbers"
option pitch false "Kaldi's three pitch features beside the 80 filterbanks"
speed_perturb="0.9 1.1"
teacher=bert-base-chinese
parse_options "$@"
begin corpus_dir checksums data_dir init_lang_dir

corpus=aishell
archive_dir=$corpus_dir
if [ "$archive_dir" = "$recipe/download" ]; then : "${mirror:=https://www.openslr.org/resources/33}"; fi
if [ ! -d "$archive_dir/data_aishell" ]; then corpus_dir=$data_dir/corpus; fi
if [ -f "$archive_dir/md5sum.txt" ]; then checksums=$archive_dir/md5sum.txt; fi
audio=("$corpus_dir/data_aishell/wav")
expect="train=120098:340 dev=14326:40 test=7176:20:104765"
source_options=(--recipe aishell --corpus-dir "$corpus_dir")
source_files=("$corpus_dir/data_aishell")
teacher_jobs=$num_jobs

stage 0 corpus --in "$checksums" --out "$corpus_dir/data_aishell/transcript" -- \
  bash "$recipe/local/download.sh" "$archive_dir" "$corpus_dir" "$checksums" "$mirror"

# shellcheck source=../../shared/prepare.sh
. "$root/shared/prepare.sh"
