# shellcheck shell=bash
# shellcheck disable=SC2154  # options are assigned by `option`
# A whole recipe: the stages of prepare.sh, then 8 train, 9 decode and 10 results for each system.
# Sourced by egs/<corpus>/run.sh, which has set `recipe`:   . "$recipe/../../shared/run.sh" "$@"
# A system is a row of gmot/transfer/systems.py, with $conf_dir/<system>.yaml if there is one, else
# $conf_dir/common.yaml.

# shellcheck source=parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"

# shellcheck disable=SC2034  # prepare.sh's
usage="Run this recipe from nothing to its results. What is finished is skipped, and what was
interrupted goes on; training goes on from its last epoch.

Usage: bash egs/$(basename "$recipe")/run.sh [options]

Stages: 0 corpus, 1 manifests, 2 features, 3 validation, 4 tokens and lexicon, 5 n-gram,
6 decoding graphs, 7 features of the teacher, 8 training, 9 decoding, 10 results."
# shellcheck disable=SC2034  # prepare.sh's
last_stage=10

option systems "ctc gm_ot" "what is trained and compared, in this order"
option exp_dir "$recipe/exp" "for what is trained"
option conf_dir "$recipe/conf" "with common.yaml, or <system>.yaml for a system of its own"
option train_options "" "more options for local/train.py, such as --num-epochs 5"
option decoding_methods "ctc-greedy-search ctc-decoding 1best" "of local/decode.py"
option decode_parts "dev test" "parts that are decoded and scored"
option avg 1 "epochs whose models are averaged for decoding"
option hlg_scale 0.6 "weight of the language model in 1best against the acoustic one; find it on dev"
option decode_options "" "more options for local/decode.py, such as --epoch 30"
option title "" "of the results"

# shellcheck source=prepare.sh
. "$(dirname "${BASH_SOURCE[0]}")/prepare.sh"

exp_dir=$(absolute "$exp_dir")
conf_dir=$(absolute "$conf_dir")
: "${title:=$corpus}"

if [ "$stage" -le 9 ] && [ "$stop_stage" -ge 9 ]; then
  find_k2
  if ! $has_k2; then
    decoding_methods=ctc-greedy-search
    log "Decoding greedily only: k2 does not load (python local/check_environment.py tells more)"
  fi
fi

for system in $systems; do
  # The control: the same teacher with random weights, in a store of its own.
  case $system in
    *_random_teacher) name=teacher_random store=$data_dir/teacher_random ;;
    *) name=teacher store=$teacher_store ;;
  esac
  if [ "$name" = teacher_random ]; then teacher_stage "$name" "$store" --random-weights; fi
  config=$conf_dir/$system.yaml
  [ -f "$config" ] || config=$conf_dir/common.yaml
  # shellcheck disable=SC2086  # a list of words
  stage 8 "$exp_dir/$system/train" "training of $system" --after fbank lang "$name" \
    --settings corpus teacher train_options --inputs "$conf_dir"/*.yaml -- \
    python local/train.py --config "$config" --system "$system" \
    --prefix "$corpus" --fbank-dir "$fbank_dir" --lang-dir "$lang_dir" \
    --teacher "$teacher" --teacher-store "$store" \
    --exp-dir "$exp_dir/$system" $train_options
done

for system in $systems; do
  after=("$exp_dir/$system/train")
  case $decoding_methods in ctc-greedy-search) ;; *) after+=(graphs) ;; esac
  # shellcheck disable=SC2086  # lists of words
  stage 9 "$exp_dir/$system/decode" "decoding with $system" --after "${after[@]}" \
    --settings decoding_methods decode_parts avg hlg_scale decode_options -- \
    python local/decode.py --exp-dir "$exp_dir/$system" --prefix "$corpus" \
    --fbank-dir "$fbank_dir" --lang-dir "$lang_dir" --graph-dir "$graph_dir" \
    --parts $decode_parts --decoding-methods $decoding_methods \
    --avg "$avg" --hlg-scale "$hlg_scale" $decode_options
done

decodings=()
for system in $systems; do decodings+=("$exp_dir/$system/decode"); done
summarize() {
  # shellcheck disable=SC2086  # a list of words
  python local/summarize_results.py --exp-dir "$exp_dir" --systems $systems \
    --output "$exp_dir/RESULTS.md" --title "$title" >/dev/null
}
stage 10 "$exp_dir/results" "results" --after "${decodings[@]}" --settings systems title \
  --outputs "$exp_dir/RESULTS.md" -- summarize
if [ "$stop_stage" -ge 10 ]; then
  grep '^|' "$exp_dir/RESULTS.md" # the table
  log "Commands, versions and counts: $exp_dir/RESULTS.md"
fi
