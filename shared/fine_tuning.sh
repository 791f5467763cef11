# shellcheck shell=bash
# shellcheck disable=SC2034,SC2086,SC2154  # variables of run.sh; lists of words
# Fine-tuning (run.sh --old-data DIR): the corpus of the earlier training. Sourced by run.sh.

# Checks --old-data; sets old_corpus, the prefix of its files, and mixed, if training reads it.
plan_old_data() {
  local cuts
  mixed=""
  if [ -z "$old_data" ]; then return; fi
  old_data=$(absolute "$old_data")
  [ -n "$init_from" ] || die "--old-data needs --init-from, the model that was trained on it"
  cuts=("$old_data"/fbank/*_cuts_train.jsonl.gz)
  [ ${#cuts[@]} -eq 1 ] || die "--old-data $old_data: expected the data folder of one corpus, with" \
    "fbank/CORPUS_cuts_train.jsonl.gz, found ${#cuts[@]} of them. Prepare it by its prepare.sh."
  old_corpus=$(basename "${cuts[0]}" _cuts_train.jsonl.gz)
  : "${init_lang_dir:=$old_data/lang}"
  case $old_share in
    0 | 0.0) ;;
    *) mixed=true dotted+=(--data.old_share "$old_share") ;;
  esac
}

# Stage 7: features of the old text, for the tokens of the new corpus.
compute_old_teachers() {
  local store random
  if [ -z "$mixed" ]; then return; fi
  for store in $teacher_stores; do
    random=()
    if [ "$store" = teacher_random ]; then random=(--random-weights); fi
    stage 7 "old_$store" --after lang --in "$old_data/manifests" "${tokenizer_files[@]}" \
      "${weight_files[@]}" --out "$data_dir/old_$store"/{features.bin,index.json} -- \
      python local/compute_teacher.py --manifest-dir "$old_data/manifests" --prefix "$old_corpus" \
      --train-split train --other-splits --lang-dir "$lang" --teacher "$teacher" \
      --layer "$teacher_layer" --store "$data_dir/old_$store" "${cluster[@]}" "${random[@]}"
  done
}

# The old test set, scored as the new one; without the graphs, which have the words of one corpus.
decode_old() { # OPTION...
  exec python local/decode.py "${decoding[@]}" "$@" --prefix "$old_corpus" \
    --fbank-dir "$old_data/fbank" --splits test --split-prefix "$old_corpus-" \
    --decoding.methods ctc-greedy-search
}

# Both corpora by the model that training starts from.
decode_before() { # SPLITS OPTION...
  local splits=$1
  shift
  python local/decode.py "${decoding[@]}" "$@" --prefix "$corpus" --fbank-dir "$data_dir/fbank" \
    --splits $splits --decoding.methods ctc-greedy-search
  decode_old "$@"
}
