# shellcheck shell=bash
# shellcheck disable=SC2034,SC2086,SC2154,SC2206  # options of the recipes; lists of words
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

option_list config "experiment to train and compare: a YAML file, relative to here, to the recipe or to egs/mini"
option model "$model" "preset of model and schedule: tiny, small, paper (shared/conf), or a YAML file"
option exp_dir "$recipe/exp" "experiments"
option avg "$avg" "epochs to average for decoding, as far as there are so many"
option average last "weights to decode: mean of the last or the best epochs, or the running average: last, best, ema"
option epoch "" "last epoch to decode; default: the last one"
option init_from "" "checkpoint to start from, such as another corpus's average.pt; see --init-lang-dir"
option old_data "" "data folder of the corpus of --init-from, such as egs/mini/data/small: its test set is decoded before and after, and --old-share of its speech is mixed in; --init-lang-dir is then its lang folder unless given"
option old_share 0.2 "seconds of the speech of --old-data per second of new speech in an epoch; 0: none"
option pretrain false "train $pretrain_config first and start the other experiments from its average"
option decode_splits "dev test" "splits to decode and score"
option seeds "" "training seeds: each experiment once per seed, in folders NAME_seedS; the results have mean and spread"
option jobs "" "experiments at a time, each with a log of its own, EXP_DIR/MODEL/NAME/log/run.log; one that fails does not stop the others. Default: one after the other, on the console"
option devices "" "devices of --jobs, such as 'cuda:0 cuda:1'; default: all GPUs, else cpu"
option num_threads "" "CPU threads of training and decoding; default: the cores, divided by --jobs or --nproc"
option nproc 1 "processes of a training (torchrun), such as one per GPU; auto: the number of GPUs"
option unit utterance "unit that is resampled for the confidence intervals: utterance or speaker"
option title "$title" "title of the results"
groups="" # prepare.sh of a recipe may set it: file of local/decode.py --groups
dotted_options=true
last_stage=10

# shellcheck source=jobs.sh
. "$root/shared/jobs.sh"
# shellcheck source=fine_tuning.sh
. "$root/shared/fine_tuning.sh"

# Called by `begin`: one line per experiment, and all options checked before anything is prepared.
plan_experiments() {
  local word target="" last=()
  common_options=() transfer_options=() decode_options=()
  init_from=$(absolute "$init_from")
  plan_old_data
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
  [ "$pretrain" = false ] || config=("$pretrain_config" "${config[@]}")
  plan_devices
  if [ -n "$epoch" ] && [ "$stage" -le 8 ] && [ "$stop_stage" -ge 9 ]; then last=(--epoch "$epoch"); fi
  plan=$(python local/plan_experiments.py --preset "$preset" --folders "$started_in" "$recipe" "$root/egs/mini" \
    --pretrain "$pretrain" --avg "$avg" --average "$average" ${seeds:+--seeds $seeds} \
    "${last[@]}" --configs "${config[@]}" "${dotted[@]}")
  teacher_stores=$(cut -f 4 <<<"$plan" | sort -u | grep -v '^-$' || true)
  if [ "$stop_stage" -ge 8 ]; then make_folder "$exp_dir"; fi
}

# shellcheck source=/dev/null
. "$recipe/prepare.sh"

decoding=() graphs=() published=()
if [ -f "$recipe/decoding.yaml" ]; then decoding=(--config "$recipe/decoding.yaml"); fi
if [ -f "$recipe/published.yaml" ]; then published=(--published "$recipe/published.yaml"); fi
if [ -f "$marker_dir/graphs.done" ]; then graphs=(graphs); fi

compute_old_teachers

train() { # --nproc N OPTION...
  local number=$2
  shift 2
  if [ "$number" -eq 1 ]; then exec python local/train.py "$@"; fi
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$num_threads}
  # A free port, so that several can run on one machine. The defaults of --redirects and --tee fail
  # with torch 1.13 on Python 3.11; these are of processes from the tenth on, as its format allows.
  exec python -m torch.distributed.run --nproc_per_node "$number" --max_restarts 3 \
    --redirects 9:0 --tee 9:0 --rdzv_backend c10d --rdzv_endpoint localhost:0 local/train.py "$@"
}

experiment() { # DEVICE NAME FILE OPTIONS STORE EPOCHS UPDATE MORE START: stages 8 and 9
  local device=$1 name=$2 file=$3 options=$4 store=$5 epochs=$6 update=$7 more=$8 start=$9
  local dir=$exp_dir/$name machine=() after=(fbank lang) transfer=() from=() old=() inputs=("$preset" "$file")
  local train_options=("${common_options[@]}") unrecorded=$unrecorded weights=(--avg "$epochs")
  if [ "$options" = all ]; then train_options=("${transfer_options[@]}" "${train_options[@]}"); fi
  if [ "$more" != - ]; then train_options+=(${more}); fi # words
  if [ "$store" != - ]; then
    after+=("$store")
    transfer=(--teacher-store "$data_dir/$store" --teacher-layer "$teacher_layer")
  fi
  if [ "$start" != - ]; then
    after+=("$exp_dir/$start/average")
    from=(--init-from "$start/average.pt")
  elif [ -n "$init_from" ]; then
    inputs+=("$init_from")
    from=(--init-from "$init_from" ${init_lang_dir:+--init-lang-dir "$init_lang_dir"})
  fi
  if [ -n "$mixed" ]; then
    inputs+=("$old_data/fbank")
    old=(--old-fbank-dir "$old_data/fbank" --old-prefix "$old_corpus")
    if [ "$store" != - ]; then
      after+=("old_$store")
      old+=(--old-teacher-store "$data_dir/old_$store")
    fi
  fi
  if [ "$average" != last ]; then weights+=(--average "$average"); fi
  machine=(${device:+--device "$device"} ${num_threads:+--num-threads "$num_threads"})
  if [ "$update" != - ]; then unrecorded+="--nproc "; fi # an update is the same for any number
  stage 8 "$dir/train" --after "${after[@]}" --in "${inputs[@]}" -- \
    train --nproc "$nproc" --config "$preset" --config "$file" --exp-dir "$dir" "${machine[@]}" \
    --prefix "$corpus" --fbank-dir "$data_dir/fbank" --lang-dir "$data_dir/lang" \
    --teacher "$teacher" "${transfer[@]}" "${from[@]}" "${old[@]}" "${train_options[@]}"
  if [ "$pretrain" = true ] && [ "$start" = - ]; then
    stage 8 "$dir/average" --after "$dir/train" --out "$dir/average.pt" -- \
      python local/average_checkpoints.py --exp-dir "$dir" "${weights[@]}" --output "$dir/average.pt"
  fi
  stage 9 "$dir/decode" --after "$dir/train" "${graphs[@]}" \
    --in "${decoding[@]:1}" ${groups:+"$groups"} "${weight_files[@]}" --keep "$dir/results.json" -- \
    python local/decode.py "${decoding[@]}" --exp-dir "$dir" "${machine[@]}" \
    ${epoch:+--epoch "$epoch"} "${weights[@]}" --prefix "$corpus" --fbank-dir "$data_dir/fbank" \
    --lang-dir "$data_dir/lang" --graph-dir "$data_dir/graphs" --teacher "$teacher" \
    --splits $decode_splits ${groups:+--groups "$groups"} "${decode_options[@]}"
  if [ -n "$old_data" ]; then
    stage 9 "$dir/decode_old" --after "$dir/decode" --in "$old_data/fbank" --keep "$dir/results.json" -- \
      decode_old --exp-dir "$dir" "${machine[@]}" ${epoch:+--epoch "$epoch"} "${weights[@]}" \
      --lang-dir "$data_dir/lang"
  fi
}

failed=() # experiments
if [ -n "$jobs" ]; then
  run_jobs
else
  while IFS=$'\t' read -r -u 9 -a fields; do experiment "" "${fields[@]}"; done 9<<<"$plan"
fi

names=() decodings=() started_from=()
while IFS=$'\t' read -r -u 9 name _; do
  case " ${failed[*]} " in *" $name "*) continue ;; esac
  names+=("$name") decodings+=("$exp_dir/$name/decode${old_data:+_old}")
done 9<<<"$plan"
if [ -n "$old_data" ]; then
  stage 9 "$exp_dir/before/decode" --after fbank --keep "$exp_dir/before/results.json" \
    --in "$init_from" "$init_lang_dir/tokens.txt" "$old_data/fbank" "${decoding[@]:1}" -- \
    decode_before "$decode_splits" --checkpoint "$init_from" --exp-dir "$exp_dir/before" \
    --lang-dir "$init_lang_dir"
  started_from=(before) decodings+=("$exp_dir/before/decode")
fi

summarize() {
  exec python local/summarize_results.py --exp-dir "$exp_dir" "$@" >/dev/null
}
if [ ${#names[@]} -gt 0 ]; then
  stage 10 "$exp_dir/results" --after "${decodings[@]}" --in "${published[@]:1}" \
    --out "$exp_dir/RESULTS.md" -- \
    summarize --experiments "${started_from[@]}" "${names[@]}" --output "$exp_dir/RESULTS.md" --unit "$unit" \
    --title "$title" "${published[@]}"
fi
for name in "${names[@]}"; do
  stage 10 "$exp_dir/$name/report" --after "$exp_dir/$name/decode" \
    --out "$exp_dir/$name/report.html" -- \
    python local/make_report.py --exp-dir "$exp_dir/$name" --unit "$unit"
done
if [ "$stop_stage" -ge 10 ] && [ ${#names[@]} -gt 0 ]; then
  # The tables with their titles, the notes on intervals and the layers of the teacher.
  sed '/^## Details/,$d' "$exp_dir/RESULTS.md" | grep -E '^(\||### |- (95% intervals|mean)|Teacher: )'
  log "Commands, versions and counts: $exp_dir/RESULTS.md"
fi
if [ ${#failed[@]} -gt 0 ]; then die "failed: ${failed[*]} (see $exp_dir/NAME/log/run.log)"; fi
