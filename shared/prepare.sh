# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154,SC2086  # options and variables of the recipes; lists of words
# Stages 1 to 7: manifests, features, validation, tokens and lexicon, n-gram language models, decoding
# graphs, features of the teacher; and the teacher of stage 0. Sourced at the end of
# egs/<corpus>/prepare.sh, which has the options (prepare_options.sh) and stage 0 (corpus), and sets
#   corpus       prefix of the manifests
#   audio        array: files and folders whose change computes the features anew
# and, where it has them,
#   source_options  array: options of local/prepare_manifests.py that name the corpus; default:
#                   --corpus-dir "$corpus_dir", Kaldi-style folders
#   source_files    array: files and folders whose change makes the manifests anew; default: audio
#   expect       published size of the splits, as for local/validate_manifests.py; strict: true, false
#   pitch        true: pitch features beside the filterbanks; false
#   normalizer   of the transcripts, --lexicon and --lm-text
#   teacher_jobs processes for the features of the teacher
#   groups       file 'speaker-or-utterance group': results per group (shared/run.sh)

# shellcheck source=teachers.sh
. "$root/shared/teachers.sh"

splits="train dev test"
manifests=$data_dir/manifests fbank=$data_dir/fbank lang=$data_dir/lang lm=$data_dir/lm
tokenizer_files=("$teacher"/*.{json,txt,model})
weight_files=("$teacher"/*.{safetensors,bin})
cluster=()
if [ -n "$executor" ]; then cluster=(--executor "$executor"); fi

if [ ${#source_options[@]} -eq 0 ]; then source_options=(--corpus-dir "$corpus_dir"); fi
if [ ${#source_files[@]} -eq 0 ]; then source_files=("${audio[@]}"); fi
stage 1 manifests "${after_corpus[@]}" --in "${source_files[@]}" \
  --out "$manifests/${corpus}"_{recordings,supervisions}_{train,dev,test}.jsonl.gz -- \
  python local/prepare_manifests.py "${source_options[@]}" --prefix $corpus --splits $splits \
  ${normalizer:+--normalizer "$normalizer"} --manifest-dir "$manifests" --num-jobs "$num_jobs"

stage 2 fbank --after manifests --in "${audio[@]}" \
  --out "$fbank/${corpus}"_{cuts_{train,dev,test}.jsonl.gz,feats_{train,dev,test},cmvn.json} -- \
  python local/compute_fbank.py --manifest-dir "$manifests" --prefix $corpus --splits $splits \
  --fbank-dir "$fbank" --num-mel-bins 80 ${pitch:+--pitch "$pitch"} \
  ${speed_perturb:+--speed-perturb $speed_perturb} --num-jobs "$num_jobs" "${cluster[@]}"

stage 3 validate --after fbank -- \
  python local/validate_manifests.py --fbank-dir "$fbank" --prefix $corpus --splits $splits \
  --num-mel-bins 80 ${pitch:+--pitch "$pitch"} ${expect:+--expect $expect} \
  ${strict:+--strict "$strict"}

if [ -n "$lexicon" ] && [ -f "$(absolute "$lexicon")" ]; then
  lexicon=$(absolute "$lexicon")
elif [ -n "$lexicon" ]; then
  lexicon=$corpus_dir/$lexicon
fi
more_words=()
if [ -n "$lexicon" ]; then
  more_words=(--lexicon "$lexicon" ${normalizer:+--normalizer "$normalizer"})
fi
stage 4 lang --after manifests --in "${tokenizer_files[@]}" ${lexicon:+"$lexicon"} \
  ${init_lang_dir:+"$init_lang_dir/tokens.txt" "$init_lang_dir/lexicon.txt"} \
  --out "$lang"/{units.json,tokens.txt,words.txt,lexicon.txt,text} -- \
  python local/prepare_lang.py --manifest-dir "$manifests" --prefix $corpus --train-split train \
  --other-splits dev test --teacher "$teacher" --lang-dir "$lang" \
  ${units:+--units "$units"} ${vocab_size:+--vocab-size "$vocab_size"} \
  "${more_words[@]}" ${init_lang_dir:+--init-lang-dir "$init_lang_dir"}

# The trigram model is part of HLG; the 4-gram model rescores its lattices.
for i in "${!lm_text[@]}"; do lm_text[i]=$(absolute "${lm_text[i]}"); done
more_text=()
if [ ${#lm_text[@]} -gt 0 ]; then
  more_text=(--text "${lm_text[@]}" ${normalizer:+--normalizer "$normalizer"})
fi
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
  stage 7 "$store" --after lang --in "${tokenizer_files[@]}" "${weight_files[@]}" \
    --out "$data_dir/$store"/{features.bin,index.json} -- \
    python local/compute_teacher.py --manifest-dir "$manifests" --prefix $corpus \
    --train-split train --other-splits dev --lang-dir "$lang" --teacher "$teacher" \
    --layer "$teacher_layer" --store "$data_dir/$store" \
    ${teacher_jobs:+--num-jobs "$teacher_jobs"} "${cluster[@]}" "${random[@]}"
done
