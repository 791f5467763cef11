# shellcheck shell=bash
# shellcheck disable=SC2154  # options are assigned by `option`
# A whole recipe: the stages of prepare.sh, then 8 train, 9 decode and 10 results for each system.
# Sourced by egs/<corpus>/run.sh, which has set `recipe`:   . "$recipe/../../shared/run.sh" "$@"
# A system is a row of gmot/transfer/systems.py or a configuration of its own: a file of --config, or
# $conf_dir/<system>.yaml if there is one, else $conf_dir/common.yaml. A file may name its row
# (`system: ctc`) and else has the row's name. $exp_dir/<system> gets what is trained.

# shellcheck source=parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"

# shellcheck disable=SC2034  # prepare.sh's
usage="Run this recipe from nothing to its results. What is finished is skipped, and what was
interrupted goes on; training goes on from its last epoch.

Usage: bash egs/$(basename "$recipe")/run.sh [options]

Stages: 0 corpus, 1 manifests, 2 features, 3 validation, 4 tokens and lexicon, 5 n-grams,
6 decoding graphs, 7 features of the teacher, 8 training, 9 decoding, 10 results."
# shellcheck disable=SC2034  # prepare.sh's
last_stage=10

option systems "ctc gm_ot" "what is trained and compared, in this order"
option config "" "files, relative to here or to the recipe, one for each system; instead of --systems"
option model "" "small, say: NAME.yaml of --conf-dir is read after each system's configuration"
option exp_dir "$recipe/exp" "for what is trained; with --model a folder of its name in it"
option conf_dir "$recipe/conf" "with common.yaml, or <system>.yaml for a system of its own"
option num_epochs "" "instead of what the configurations say"
option init_from "" "model to start from, such as another corpus's average.pt; see --init-lang-dir"
option pretrain false "train without a teacher first, and start the systems with one from there"
option pretrain_system ctc "what is trained first"
option train_options "" "more options for local/train.py, such as --seed 1"
option decoding_methods "ctc-greedy-search ctc-decoding 1best" "of local/decode.py; all: every one"
option decode_parts "dev test" "parts that are decoded and scored"
option avg 1 "epochs whose models are averaged for decoding (at most --num-epochs)"
option hlg_scale 0.6 "weight of the language model in HLG; of several the best on --scale-part"
option beam_size 4 "of ctc-prefix-beam-search"
option num_paths 100 "that the methods of n best draw from a lattice"
option nbest_scale 0.5 "of a lattice's scores where paths are drawn; smaller: more distinct ones"
option scale_part dev "the part on which scales are searched"
option decode_options "" "more options for local/decode.py, such as --epoch 30"
option unit utterance "resampled for the intervals of the results: utterance or speaker"
option title "" "of the results"
option published "" "file of what papers report on this corpus, quoted in the results"

# shellcheck source=prepare.sh
. "$(dirname "${BASH_SOURCE[0]}")/prepare.sh"

exp_dir=$(absolute "$exp_dir")${model:+/$model}
if [ "$stop_stage" -ge 8 ]; then make_folder "$exp_dir"; fi
conf_dir=$(absolute "$conf_dir")
if [ -n "$published" ]; then published=$(absolute "$published"); fi
if [ -n "$init_from" ]; then init_from=$(absolute "$init_from"); fi
: "${title:=$corpus}"
for name in num_epochs avg; do
  [ -z "${!name}" ] || [ "${!name}" -eq "${!name}" ] 2>/dev/null ||
    die "--${name/_/-} ${!name}: a number is needed"
done
case $unit in utterance | speaker) ;; *) die "--unit $unit: expected utterance or speaker" ;; esac
# A trial of few epochs is averaged over these.
if [ -n "$num_epochs" ] && [ "$avg" -gt "$num_epochs" ]; then avg=$num_epochs; fi

case " $decoding_methods " in
  *" all "*)
    decoding_methods="ctc-greedy-search ctc-prefix-beam-search ctc-decoding 1best nbest nbest-oracle"
    decoding_methods+=" nbest-rescoring whole-lattice-rescoring plm-rescoring"
    ;;
esac
if [ "$stage" -le 9 ] && [ "$stop_stage" -ge 9 ]; then
  find_k2
  if ! $has_k2; then
    without=
    for name in $decoding_methods; do
      case $name in ctc-greedy-search | ctc-prefix-beam-search) without+="${without:+ }$name" ;; esac
    done
    decoding_methods=${without:-ctc-greedy-search}
    log "Decoding by $decoding_methods only: k2 does not load (python local/check_environment.py" \
      "tells more)"
  fi
fi

# --- what is trained: three lists, an entry each -----------------------------------------------

run_names=()
run_rows=() # of gmot/transfer/systems.py
run_configs=()

# What a key has in a configuration, as far as a shell needs to know.
config_value() { # KEY FILE
  sed -n "s/^$1: *[\"']\{0,1\}\([^\"' #]*\).*/\1/p" "$2"
}

# A configuration, what it builds on, and so on.
config_chain() { # FILE -> chain
  local file=$1 base
  chain=()
  while [ -f "$file" ] && [ ${#chain[@]} -lt 10 ]; do
    chain+=("$file")
    base=$(config_value base "$file")
    [ -n "$base" ] || return 0
    case $base in /*) file=$base ;; *) file=$(dirname "$file")/$base ;; esac
  done
}

add_file() { # FILE
  local file=$1 name row=
  config_chain "$file"
  for name in "${chain[@]}"; do
    row=$(config_value system "$name")
    [ -z "$row" ] || break
  done
  name=$(basename "${file%.*}")
  add_run "$name" "${row:-$name}" "$file"
}

add_system() { # SYSTEM
  if [ -f "$conf_dir/$1.yaml" ]; then
    add_file "$conf_dir/$1.yaml"
  else
    add_run "$1" "$1" "$conf_dir/common.yaml"
  fi
}

add_run() { # NAME ROW FILE
  local name
  for name in ${run_names[@]+"${run_names[@]}"}; do
    [ "$name" != "$1" ] || die "two configurations of the name '$1': rename one"
  done
  run_names+=("$1")
  run_rows+=("$2")
  run_configs+=("$3")
}

if [ -n "$config" ]; then
  for name in $config; do
    file=$(absolute "$name")
    [ -f "$file" ] || file=$recipe/$name
    [ -f "$file" ] || die "--config $name: no such file, neither in $started_in nor in $recipe"
    add_file "$file"
  done
else
  for name in $systems; do add_system "$name"; done
fi

# With pretraining: what it starts from comes first, the systems with a teacher after it, in folders
# of other names than theirs without it.
first_name=
if [ "$pretrain" = true ]; then
  names=(${run_names[@]+"${run_names[@]}"})
  rows=(${run_rows[@]+"${run_rows[@]}"})
  files=(${run_configs[@]+"${run_configs[@]}"})
  run_names=() run_rows=() run_configs=()
  add_system "$pretrain_system"
  [ "${run_rows[0]}" = ctc ] ||
    die "--pretrain-system $pretrain_system: this is ${run_rows[0]}, expected one without a teacher (ctc)"
  first_name=${run_names[0]}
  for i in "${!names[@]}"; do
    if [ "${rows[i]}" != ctc ]; then
      add_run "${names[i]}-pretrained" "${rows[i]}" "${files[i]}"
    elif [ "${names[i]}" != "$first_name" ]; then
      add_run "${names[i]}" "${rows[i]}" "${files[i]}"
    fi
  done
fi

model_config=()
if [ -n "$model" ]; then
  model_config=("$conf_dir/$model.yaml")
  [ -f "${model_config[0]}" ] || die "--model $model: there is no ${model_config[0]}"
fi

# --- the stages --------------------------------------------------------------------------------

# The features that a system learns from. Those that learn by CTC alone read no features, only the
# teacher's tokenizer; the control has the same teacher with random weights.
store_of() { # ROW -> store_name, store_options
  store_name=teacher store_options=()
  case $1 in
    ctc | ctc_adapter) store_name= ;;
    *_random_teacher) store_name=teacher_random store_options=(--random-weights) ;;
  esac
}

made=" "
for row in ${run_rows[@]+"${run_rows[@]}"}; do
  store_of "$row"
  case $made in *" $store_name "*) continue ;; esac
  made+="$store_name "
  if [ -n "$store_name" ]; then
    teacher_stage "$store_name" "$data_dir/$store_name" ${store_options[@]+"${store_options[@]}"}
  fi
done

settings_of num_epochs
train_settings=(corpus teacher train_options ${given[@]+"${given[@]}"})

for i in "${!run_names[@]}"; do
  system=${run_names[i]} row=${run_rows[i]}
  after=(fbank lang)
  store=()
  store_of "$row"
  if [ -n "$store_name" ]; then
    after+=("$store_name")
    store=(--teacher-store "$data_dir/$store_name" --teacher-layer "$teacher_layer")
  fi
  start=()
  start_inputs=()
  if [ -n "$first_name" ] && [ "$row" != ctc ]; then
    after+=("$exp_dir/$first_name/average")
    start=(--init-from "$first_name/average.pt")
  elif [ -n "$init_from" ]; then
    start=(--init-from "$init_from" ${init_lang_dir:+--init-lang-dir "$init_lang_dir"})
    start_inputs=("$init_from")
  fi
  config_chain "${run_configs[i]}"
  # shellcheck disable=SC2086  # a list of words
  stage 8 "$exp_dir/$system/train" "training of $system" --after "${after[@]}" \
    --settings "${train_settings[@]}" \
    --inputs ${chain[@]+"${chain[@]}"} ${model_config[@]+"${model_config[@]}"} \
    ${start_inputs[@]+"${start_inputs[@]}"} -- \
    python local/train.py \
    --config "${run_configs[i]}" ${model_config[@]+"${model_config[@]}"} --system "$row" \
    --prefix "$corpus" --fbank-dir "$fbank_dir" --lang-dir "$lang_dir" \
    --teacher "$teacher" ${store[@]+"${store[@]}"} --exp-dir "$exp_dir/$system" \
    ${start[@]+"${start[@]}"} ${num_epochs:+--num-epochs "$num_epochs"} $train_options
  if [ "$system" = "$first_name" ]; then
    stage 8 "$exp_dir/$system/average" "what the others start from" \
      --after "$exp_dir/$system/train" --settings avg --outputs "$exp_dir/$system/average.pt" -- \
      python local/average_checkpoints.py --exp-dir "$exp_dir/$system" --avg "$avg" \
      --output "$exp_dir/$system/average.pt"
  fi
done

# Options of methods that are asked for; the teacher's weights change what it rescores.
search_options=()
decode_settings=(decoding_methods decode_parts avg hlg_scale decode_options)
decode_inputs=()
decode_after=()
for name in $decoding_methods; do
  case $name in ctc-greedy-search | ctc-prefix-beam-search) ;; *) decode_after=(graphs) ;; esac
done
case $decoding_methods in
  *prefix-beam*)
    search_options+=(--beam-size "$beam_size")
    decode_settings+=(beam_size)
    ;;
esac
case $decoding_methods in
  *nbest* | *rescoring*)
    search_options+=(--num-paths "$num_paths" --nbest-scale "$nbest_scale")
    decode_settings+=(num_paths nbest_scale)
    ;;
esac
case "$decoding_methods, $hlg_scale" in
  *rescoring* | *", "*" "*) # there are scales to find
    search_options+=(--scale-part "$scale_part")
    decode_settings+=(scale_part)
    ;;
esac
case $decoding_methods in
  *plm-rescoring*)
    search_options+=(--teacher "$teacher")
    decode_settings+=(teacher)
    decode_inputs+=(${weight_files[@]+"${weight_files[@]}"})
    ;;
esac

for system in "${run_names[@]}"; do
  # shellcheck disable=SC2086  # lists of words
  stage 9 "$exp_dir/$system/decode" "decoding with $system" \
    --after "$exp_dir/$system/train" ${decode_after[@]+"${decode_after[@]}"} \
    --settings "${decode_settings[@]}" --inputs ${decode_inputs[@]+"${decode_inputs[@]}"} \
    --records "$exp_dir/$system/results.json" -- \
    python local/decode.py --exp-dir "$exp_dir/$system" --prefix "$corpus" \
    --fbank-dir "$fbank_dir" --lang-dir "$lang_dir" --graph-dir "$graph_dir" \
    --parts $decode_parts --decoding-methods $decoding_methods \
    --unit "$unit" --avg "$avg" --hlg-scale $hlg_scale \
    ${search_options[@]+"${search_options[@]}"} $decode_options
done

decodings=()
for system in "${run_names[@]}"; do decodings+=("$exp_dir/$system/decode"); done
systems=${run_names[*]}
summarize() {
  # shellcheck disable=SC2086  # a list of words
  python local/summarize_results.py --exp-dir "$exp_dir" --systems $systems \
    --output "$exp_dir/RESULTS.md" --unit "$unit" --title "$title" \
    ${published:+--published "$published"} >/dev/null
}
result_settings=(systems title)
[ "$unit" = utterance ] || result_settings+=(unit)
stage 10 "$exp_dir/results" "results" --after "${decodings[@]}" --settings "${result_settings[@]}" \
  --inputs ${published:+"$published"} --outputs "$exp_dir/RESULTS.md" -- summarize
if [ "$stop_stage" -ge 10 ]; then
  # The tables of what was measured, what intervals are conditional on, and the teacher's layers.
  sed '/^## Details/,$d' "$exp_dir/RESULTS.md" | grep -E '^(\||- 95% intervals|Teacher: )'
  log "Commands, versions and counts: $exp_dir/RESULTS.md"
fi
