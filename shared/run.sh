# shellcheck shell=bash
# shellcheck disable=SC2034,SC2086,SC2154  # options of the recipes; lists of words
# Stages 8 to 10: train, decode, results. Sourced by egs/<corpus>/run.sh, which sets the defaults; it
# runs the stages of egs/<corpus>/prepare.sh first.

. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
usage="Run this recipe from the corpus to a table of error rates. Finished stages are skipped,
interrupted ones are continued; training continues from its last epoch.

Usage: bash egs/$(basename "$recipe")/run.sh [options]

Stages: 0 to 7 of prepare.sh (--help lists them), then 8 training and 9 decoding of each
experiment, 10 results. Options of training and decoding are passed through, such as
  --transfer.alpha 0.03 --training.num_epochs 20 --decoding.methods all
(local/train.py --help and local/decode.py --help list them). Those of training are part of the
folder's name, EXP_DIR/MODEL/CONFIG_alpha0.03_num_epochs20; --transfer.* is not applied to
experiments without transfer."

option_list config "experiment to train and compare: a YAML file, relative to here or to the recipe"
option model "$model" "preset of model and schedule: tiny, small, paper (shared/conf), or a YAML file"
option exp_dir "$recipe/exp" "experiments"
option avg "$avg" "epochs to average for decoding, as far as there are so many"
option epoch "" "last epoch to decode; default: the last one"
option init_from "" "checkpoint to start from, such as another corpus's average.pt; see --init-lang-dir"
option pretrain false "train $pretrain_config first and start the other experiments from its average"
option decode_splits "dev test" "splits to decode and score"
option unit utterance "unit that is resampled for the confidence intervals: utterance or speaker"
option title "$title" "title of the results"
dotted_options=true
last_stage=10

# Called by `begin`: one line per experiment, and all options checked before anything is prepared.
plan_experiments() {
  local word target=
  common_options=() transfer_options=() decode_options=()
  for word in "${dotted[@]}"; do
    case $word in
      --decoding.*) target=decode_options ;;
      --transfer.*) target=transfer_options ;;
      --*) target=common_options ;;
    esac
    eval "$target+=(\"\$word\")"
  done
  case $model in
    */* | *.yaml) preset=$(absolute "$model") ;;
    *) preset=$root/shared/conf/$model.yaml ;;
  esac
  exp_dir=$(absolute "$exp_dir")/$(basename "$preset" .yaml)
  init_from=$(absolute "$init_from")
  [ "$pretrain" = false ] || config=("$pretrain_config" "${config[@]}")
  plan=$(python local/plan_experiments.py --preset "$preset" --folders "$started_in" "$recipe" \
    --pretrain "$pretrain" --avg "$avg" --configs "${config[@]}" "${dotted[@]}")
  teacher_stores=$(cut -f 4 <<<"$plan" | sort -u | grep -v '^-$' || true)
  if [ "$stop_stage" -ge 8 ]; then make_folder "$exp_dir"; fi
}

# shellcheck source=/dev/null
. "$recipe/prepare.sh"

decoding=() graphs=() published=()
if [ -f "$recipe/decoding.yaml" ]; then decoding=(--config "$recipe/decoding.yaml"); fi
if [ -f "$recipe/published.yaml" ]; then published=(--published "$recipe/published.yaml"); fi
if [ -f "$marker_dir/graphs.done" ]; then graphs=(graphs); fi
names=() decodings=() first=
while IFS=$'\t' read -r -u 9 name file options store epochs; do
  dir=$exp_dir/$name
  names+=("$name") decodings+=("$dir/decode")
  after=(fbank lang) transfer=() start=() inputs=("$preset" "$file")
  train_options=("${common_options[@]}")
  if [ "$options" = all ]; then train_options=("${transfer_options[@]}" "${train_options[@]}"); fi
  if [ "$store" != - ]; then
    after+=("$store")
    transfer=(--teacher-store "$data_dir/$store" --teacher-layer "$teacher_layer")
  fi
  if [ -n "$first" ]; then
    after+=("$exp_dir/$first/average")
    start=(--init-from "$first/average.pt")
  elif [ -n "$init_from" ]; then
    inputs+=("$init_from")
    start=(--init-from "$init_from" ${init_lang_dir:+--init-lang-dir "$init_lang_dir"})
  fi
  stage 8 "$dir/train" --after "${after[@]}" --in "${inputs[@]}" -- \
    python local/train.py --config "$preset" --config "$file" --exp-dir "$dir" \
    --prefix "$corpus" --fbank-dir "$data_dir/fbank" --lang-dir "$data_dir/lang" \
    --teacher "$teacher" "${transfer[@]}" "${start[@]}" "${train_options[@]}"
  if [ "$pretrain" = true ] && [ -z "$first" ]; then
    first=$name
    stage 8 "$dir/average" --after "$dir/train" --out "$dir/average.pt" -- \
      python local/average_checkpoints.py --exp-dir "$dir" --avg "$epochs" --output "$dir/average.pt"
  fi
  stage 9 "$dir/decode" --after "$dir/train" "${graphs[@]}" \
    --in "${decoding[@]:1}" "${weight_files[@]}" --keep "$dir/results.json" -- \
    python local/decode.py "${decoding[@]}" --exp-dir "$dir" \
    ${epoch:+--epoch "$epoch"} --avg "$epochs" --prefix "$corpus" --fbank-dir "$data_dir/fbank" --lang-dir "$data_dir/lang" \
    --graph-dir "$data_dir/graphs" --teacher "$teacher" --splits $decode_splits "${decode_options[@]}"
done 9<<<"$plan"

summarize() {
  python local/summarize_results.py --exp-dir "$exp_dir" "$@" >/dev/null
}
stage 10 "$exp_dir/results" --after "${decodings[@]}" --in "${published[@]:1}" \
  --out "$exp_dir/RESULTS.md" -- \
  summarize --experiments "${names[@]}" --output "$exp_dir/RESULTS.md" --unit "$unit" \
  --title "$title" "${published[@]}"
if [ "$stop_stage" -ge 10 ]; then
  # The tables, the notes on intervals and the layers of the teacher.
  sed '/^## Details/,$d' "$exp_dir/RESULTS.md" | grep -E '^(\||- 95% intervals|Teacher: )'
  log "Commands, versions and counts: $exp_dir/RESULTS.md"
fi
