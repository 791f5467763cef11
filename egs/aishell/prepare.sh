#!/usr/bin/env bash
# Data of AISHELL-1: 178 hours of read Mandarin, 400 speakers (https://www.openslr.org/33).
# For a corpus of your own, copy this folder and change stages 0 and 1 (README.md).
# shellcheck disable=SC2034,SC2154,SC2086  # options of stage.sh; lists of words
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../shared/stage.sh
. "$recipe/../../shared/stage.sh"
: "${usage:="Prepare the data of AISHELL-1. Finished stages are skipped.

Usage: bash egs/aishell/prepare.sh [options]

Stages: 0 corpus, 1 manifests, 2 features, 3 validation, 4 tokens and lexicon, 5 n-gram language
models, 6 decoding graphs, 7 features of the teacher."}"

option stage 0 "first stage to run"
option stop_stage "${last_stage:-7}" "last stage to run"
option corpus_dir "$recipe/download" "folder with data_aishell/ (only read), or with the two archives"
option mirror "" "URL of the archives (without --corpus-dir: https://www.openslr.org/resources/33)"
option checksums "$recipe/md5sum.txt" "MD5 of the archives; an md5sum.txt beside them is preferred"
option strict false "stop if utterances, speakers or characters differ from the published numbers"
option data_dir "$recipe/data" "prepared data"
option venv "" "Python environment; none: the python on the PATH (default: .venv)"
option set "" "set of package versions (shared/environment.sh --help)"
option num_jobs 2 "processes for audio, features and the teacher"
option executor "" "Dask scheduler for features and the teacher (docs/cluster.md), tcp://host:8786"
option speed_perturb "0.9 1.1" "additional copies of the training split at these speeds"
option pitch false "Kaldi's three pitch features beside the 80 filterbanks"
option lexicon "" "pronunciation lexicon whose words are added to the graphs; here or in the corpus"
option init_lang_dir "" "lang folder of the model that training starts from; its tokens are kept"
option_list lm_text "more text for the language models, one sentence per line"
option topology modified "CTC topology of the graphs: modified or full"
option teacher bert-base-chinese "teacher language model: a folder or a name on the hub"
option teacher_layer last "layer of the teacher: a number (0: embeddings) or last"
parse_options "$@"
begin corpus_dir checksums data_dir init_lang_dir

corpus=aishell
splits="train dev test"
archive_dir=$corpus_dir
if [ "$archive_dir" = "$recipe/download" ]; then : "${mirror:=https://www.openslr.org/resources/33}"; fi
if [ ! -d "$archive_dir/data_aishell" ]; then corpus_dir=$data_dir/corpus; fi
if [ -f "$archive_dir/md5sum.txt" ]; then checksums=$archive_dir/md5sum.txt; fi
manifests=$data_dir/manifests fbank=$data_dir/fbank lang=$data_dir/lang lm=$data_dir/lm
tokenizer_files=("$teacher"/*.{json,txt,model})
weight_files=("$teacher"/*.{safetensors,bin})
cluster=()
if [ -n "$executor" ]; then cluster=(--executor "$executor"); fi

stage 0 corpus --in "$checksums" --out "$corpus_dir/data_aishell/transcript" -- \
  bash "$recipe/local/download.sh" "$archive_dir" "$corpus_dir" "$checksums" "$mirror"

stage 1 manifests --after corpus --in "$corpus_dir/data_aishell" \
  --out "$manifests/${corpus}"_{recordings,supervisions}_{train,dev,test}.jsonl.gz -- \
  python local/prepare_manifests.py --recipe aishell --corpus-dir "$corpus_dir" --prefix $corpus \
  --splits $splits --manifest-dir "$manifests" --num-jobs "$num_jobs"

stage 2 fbank --after manifests --in "$corpus_dir/data_aishell/wav" \
  --out "$fbank/${corpus}"_{cuts_{train,dev,test}.jsonl.gz,feats_{train,dev,test},cmvn.json} -- \
  python local/compute_fbank.py --manifest-dir "$manifests" --prefix $corpus --splits $splits \
  --fbank-dir "$fbank" --num-mel-bins 80 --pitch "$pitch" --speed-perturb $speed_perturb \
  --num-jobs "$num_jobs" "${cluster[@]}"

stage 3 validate --after fbank -- \
  python local/validate_manifests.py --fbank-dir "$fbank" --prefix $corpus --splits $splits \
  --num-mel-bins 80 --pitch "$pitch" \
  --expect train=120098:340 dev=14326:40 test=7176:20:104765 --strict "$strict"

if [ -n "$lexicon" ] && [ -f "$(absolute "$lexicon")" ]; then
  lexicon=$(absolute "$lexicon")
elif [ -n "$lexicon" ]; then
  lexicon=$corpus_dir/$lexicon
fi
stage 4 lang --after manifests --in "${tokenizer_files[@]}" ${lexicon:+"$lexicon"} \
  ${init_lang_dir:+"$init_lang_dir/tokens.txt" "$init_lang_dir/lexicon.txt"} \
  --out "$lang"/{tokens.txt,words.txt,lexicon.txt,text} -- \
  python local/prepare_lang.py --manifest-dir "$manifests" --prefix $corpus --train-split train \
  --other-splits dev test --teacher "$teacher" --lang-dir "$lang" \
  ${lexicon:+--lexicon "$lexicon"} ${init_lang_dir:+--init-lang-dir "$init_lang_dir"}

# The trigram model is part of HLG; the 4-gram model rescores its lattices.
for i in "${!lm_text[@]}"; do lm_text[i]=$(absolute "${lm_text[i]}"); done
more_text=(${lm_text:+--text} "${lm_text[@]}")
stage 5 ngram3 --after lang --in "${lm_text[@]}" --out "$lm/G.arpa" -- \
  python local/make_ngram.py --lang-dir "$lang" "${more_text[@]}" --order 3 --output "$lm/G.arpa"
stage 5 ngram4 --after lang --in "${lm_text[@]}" --out "$lm/G_rescore.arpa" -- \
  python local/make_ngram.py --lang-dir "$lang" "${more_text[@]}" --order 4 \
  --output "$lm/G_rescore.arpa"

if [ "$stage" -gt 6 ] || [ "$stop_stage" -lt 6 ] || python -c "import k2" 2>/dev/null; then
  stage 6 graphs --after lang ngram3 ngram4 --out "$data_dir"/graphs/{H,HLG,G}.pt -- \
    python local/compile_graphs.py --lang-dir "$lang" --arpa "$lm/G.arpa" \
    --rescore-arpa "$lm/G_rescore.arpa" --graph-dir "$data_dir/graphs" --topology "$topology"
else
  log "Stage 6 graphs: left out, k2 does not load (python local/check_environment.py)"
fi

for store in ${teacher_stores-teacher}; do # run.sh: those that its experiments need
  random=()
  if [ "$store" = teacher_random ]; then random=(--random-weights); fi
  stage 7 "$store" --after manifests --in "${tokenizer_files[@]}" "${weight_files[@]}" \
    --out "$data_dir/$store"/{features.bin,index.json} -- \
    python local/compute_teacher.py --manifest-dir "$manifests" --prefix $corpus \
    --train-split train --other-splits dev --teacher "$teacher" --layer "$teacher_layer" \
    --store "$data_dir/$store" --num-jobs "$num_jobs" "${cluster[@]}" "${random[@]}"
done
