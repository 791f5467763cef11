# shellcheck shell=bash
# shellcheck disable=SC2154  # options are assigned by `option`
# Data preparation, the same for every corpus: stages 0 to 7. Sourced by egs/<corpus>/prepare.sh,
# which has set `recipe` to its own folder:   . "$recipe/../../shared/prepare.sh" "$@"
#
# What is particular to the corpus stands in $recipe/corpus.sh: plain assignments to the variables
# that are options below, options of its own (`option NAME DEFAULT HELP`), and these functions, all
# of which may be left out:
#   download_corpus    makes or finds $corpus_dir (and the folder $teacher, where it is made here)
#   prepare_manifests  makes $manifest_dir out of $corpus_dir. Without it lhotse's recipe of the
#                      name $lhotse_recipe is used, or Kaldi-style folders <part>/{wav.scp,text}
#   normalize_text     a filter of transcripts, one a line, that needs nothing else of this shell.
#                      Without it local/normalize_text.py
#   settle             called after the options are read: gives values that depend on others, and
#                      may list files: in the array corpus_products what stage 0 must leave, in
#                      corpus_inputs what it works from, and in corpus_transcripts what stage 1
#                      works from, to run again when one of these changes

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
started_in=$PWD
# shellcheck source=stages.sh
. "$root/shared/stages.sh"
# shellcheck source=parse_options.sh
declare -F option >/dev/null || . "$root/shared/parse_options.sh"

: "${usage:="Prepare the data of this recipe. What is finished is skipped.

Usage: bash egs/$(basename "$recipe")/prepare.sh [options]

Stages: 0 corpus, 1 manifests, 2 features, 3 validation, 4 tokens and lexicon, 5 n-grams,
6 decoding graphs, 7 features of the teacher."}"

option stage 0 "first stage to run"
option stop_stage "${last_stage:-7}" "last stage to run"
option num_jobs 2 "processes for audio and features"
option venv "$root/.venv" "environment to make and use; none: the python that is on the PATH"
option corpus_dir "$recipe/download" "the corpus as it was received"
option data_dir "$recipe/data" "for what is prepared"
option corpus "$(basename "$recipe")" "first part of the names of the corpus's files"
option parts "train dev test" "parts of the corpus"
option train_part train "the part that is learned from"
option lhotse_recipe "" "lhotse's recipe that reads the corpus"
option recipe_options "" "more arguments of lhotse's recipe, such as languages=zh-CN"
option inventory "" "what the corpus should hold (gmot/data/inventory.py); differences are told"
option strict false "stop where the corpus does not hold what --inventory says"
option sampling_rate 16000 "of the recordings, in Hz"
option num_mel_bins 80 "of the filterbank"
option pitch false "three features of the voice's pitch beside the filterbank"
option speed_perturb "0.9 1.1" "copies of the training part at these speeds"
option lexicon "" "pronunciation lexicon whose words the graphs get too; from here or the corpus"
option init_lang_dir "" "lang folder of a model that training starts from: its tokens are kept"
option lm_text "" "more text files for the language models, a sentence a line"
option ngram_order 3 "of the language model in HLG"
option ngram_prune "" "threshold that it is pruned by, such as 1e-8 (local/make_ngram.py --prune)"
option rescore_order 4 "of the language model that rescores"
option graph_options "" "more options for local/compile_graphs.py, such as --topology full"
option teacher bert-base-chinese "the language model that teaches: a folder or a hub's name"
option teacher_layer last "its layer that is learned from: a number (0: the embeddings) or last"
option teacher_options "" "more options for local/compute_teacher.py, such as --random-weights"

absolute() { # PATH
  case $1 in /*) echo "$1" ;; *) echo "$started_in/$1" ;; esac
}

corpus_products=()
corpus_inputs=()
corpus_transcripts=()
# shellcheck source=/dev/null
. "$recipe/corpus.sh"
parse_options "$@"
for name in stage stop_stage; do
  [ "${!name}" -eq "${!name}" ] 2>/dev/null || die "--${name/_/-} ${!name}: a number is needed"
done
if declare -F settle >/dev/null; then settle; fi
: "${teacher_layer:=last}"
case $teacher_layer in
  last | 0 | [1-9] | [1-9][0-9]) ;;
  *) die "--teacher-layer $teacher_layer: a number (0: the embeddings) or last is needed" ;;
esac
corpus_dir=$(absolute "$corpus_dir")
data_dir=$(absolute "$data_dir")
for i in "${!corpus_products[@]}"; do corpus_products[i]=$(absolute "${corpus_products[i]}"); done
for i in "${!corpus_transcripts[@]}"; do
  corpus_transcripts[i]=$(absolute "${corpus_transcripts[i]}")
done
if [ -d "$teacher" ]; then teacher=$(absolute "$teacher"); fi
if [ -n "$inventory" ]; then inventory=$(absolute "$inventory"); fi
if [ -n "$init_lang_dir" ]; then init_lang_dir=$(absolute "$init_lang_dir"); fi
read -ra part_list <<<"$parts"
read -ra recipe_option_list <<<"$recipe_options"
lm_texts=()
for name in $lm_text; do lm_texts+=("$(absolute "$name")"); done

cd "$root"
manifest_dir=$data_dir/manifests
fbank_dir=$data_dir/fbank
lang_dir=$data_dir/lang
arpa=$data_dir/lm/G.arpa
rescore_arpa=$data_dir/lm/G_rescore.arpa
graph_dir=$data_dir/graphs
marker_dir=$data_dir/.stages
make_folder "$marker_dir"

if [ "$venv" != none ]; then
  venv=$(absolute "$venv")
  bash shared/environment.sh --venv "$venv"
  PATH=$venv/bin:$PATH
fi

lock "$data_dir/.lock" "$data_dir"

# --- what a corpus may say in its own way ------------------------------------------------------

own_functions=()
for name in prepare_manifests normalize_text; do
  if declare -F "$name" >/dev/null; then own_functions+=("$name"); fi
done

if ! declare -F download_corpus >/dev/null; then
  download_corpus() {
    [ -d "$corpus_dir" ] || die "no corpus at $corpus_dir; say where it is with --corpus-dir"
  }
fi

normalize_command="python local/normalize_text.py"
if declare -F normalize_text >/dev/null; then
  # A script of its own, because a function does not pass through sh, which runs the command. Its
  # path goes by the environment: no quoting of bash's is sure to be read by every sh.
  export normalize_script=$marker_dir/normalize_text.sh
  printf '%s\nnormalize_text\n' "$(declare -f normalize_text)" >"$normalize_script"
  # shellcheck disable=SC2016
  normalize_command='bash "$normalize_script"'
fi

if ! declare -F prepare_manifests >/dev/null; then
  prepare_manifests() {
    python local/prepare_manifests.py --corpus-dir "$corpus_dir" --prefix "$corpus" \
      --parts "${part_list[@]}" --manifest-dir "$manifest_dir" ${lhotse_recipe:+--recipe "$lhotse_recipe"} \
      ${recipe_options:+--recipe-options "${recipe_option_list[@]}"} \
      ${inventory:+--inventory "$inventory"} --strict "$strict" \
      --sampling-rate "$sampling_rate" --normalize-command "$normalize_command" --num-jobs "$num_jobs"
  }
fi

# --- the stages --------------------------------------------------------------------------------

stage 0 corpus "the corpus" --settings corpus_dir --functions download_corpus \
  --inputs ${corpus_inputs[@]+"${corpus_inputs[@]}"} \
  --outputs ${corpus_products[@]+"${corpus_products[@]}"} -- download_corpus

manifests=()
features=("$fbank_dir/${corpus}_cmvn.json")
audio_places=()
other_parts=()
# What Kaldi-style folders hold by now, so that a corrected transcript makes new manifests.
transcripts=(${inventory:+"$inventory"} ${corpus_transcripts[@]+"${corpus_transcripts[@]}"})
for part in "${part_list[@]}"; do
  for name in wav.scp text segments utt2spk; do
    if [ -f "$corpus_dir/$part/$name" ]; then transcripts+=("$corpus_dir/$part/$name"); fi
  done
  audio_places+=("$corpus_dir/$part/wav.scp")
  manifests+=("$manifest_dir/${corpus}"_{recordings,supervisions}"_$part.jsonl.gz")
  features+=("$fbank_dir/${corpus}_cuts_$part.jsonl.gz" "$fbank_dir/${corpus}_feats_$part")
  [ "$part" = "$train_part" ] || other_parts+=("$part")
done

# Options that are seldom given are settings only where they are: who does without them need not
# make again what was made before they were there.
settings_of() { # NAME... -> given
  local name
  given=()
  for name in "$@"; do
    case ${!name} in "" | false) ;; *) given+=("$name") ;; esac
  done
}

# Audio that was replaced, repaired or added is read again. What else than Kaldi-style folders a
# corpus consists of, its recipe knows.
audio_state=
# shellcheck disable=SC2034  # a setting of stages 1 and 2
if [ "$stage" -le 2 ] && [ "$stop_stage" -ge 1 ]; then
  [ -f "${audio_places[0]:-}" ] || audio_places=("$corpus_dir")
  audio_state=$(python local/corpus_state.py "${audio_places[@]}" --without "$data_dir/manifests" \
    "$fbank_dir" "$lang_dir" "$data_dir/lm" "$graph_dir" "$data_dir/teacher" "$data_dir/teacher_random")
fi

settings_of strict recipe_options
stage 1 manifests "manifests" --after corpus \
  --settings corpus_dir corpus parts sampling_rate lhotse_recipe audio_state ${given[@]+"${given[@]}"} \
  --functions ${own_functions[@]+"${own_functions[@]}"} \
  --inputs ${transcripts[@]+"${transcripts[@]}"} \
  --outputs "${manifests[@]}" -- prepare_manifests

settings_of pitch
pitch_option=()
if [ "$pitch" = true ]; then pitch_option=(--pitch true); fi
# shellcheck disable=SC2086  # lists of words
stage 2 fbank "filterbank features" --after manifests \
  --settings corpus parts train_part num_mel_bins speed_perturb audio_state \
  ${given[@]+"${given[@]}"} --outputs "${features[@]}" -- \
  python local/compute_fbank.py --prefix "$corpus" --parts $parts --train-part "$train_part" \
  --manifest-dir "$manifest_dir" --fbank-dir "$fbank_dir" --num-mel-bins "$num_mel_bins" \
  ${pitch_option[@]+"${pitch_option[@]}"} \
  ${speed_perturb:+--speed-perturb $speed_perturb} --num-jobs "$num_jobs"

stage 3 validate "validation and statistics" --after fbank \
  --settings corpus parts sampling_rate num_mel_bins ${given[@]+"${given[@]}"} -- \
  python local/validate_manifests.py --prefix "$corpus" --parts "${part_list[@]}" \
  --fbank-dir "$fbank_dir" --sampling-rate "$sampling_rate" --num-mel-bins "$num_mel_bins" \
  ${pitch_option[@]+"${pitch_option[@]}"}

# A teacher that is a folder is known by its files, one with a hub's name by that.
tokenizer_files=()
weight_files=()
for file in "$teacher"/*; do
  [ -f "$file" ] || continue
  case ${file##*/} in
    model*.safetensors | pytorch_model*.bin) weight_files+=("$file") ;;
    *.json | *.txt | *.model) tokenizer_files+=("$file") ;;
  esac
done

lexicons=()
if [ -n "$lexicon" ]; then
  lexicons=("$(absolute "$lexicon")")
  [ -f "${lexicons[0]}" ] || lexicons=("$corpus_dir/$lexicon")
fi

stage 4 lang "tokens, words and lexicon" --after manifests \
  --settings corpus train_part parts teacher \
  --inputs ${tokenizer_files[@]+"${tokenizer_files[@]}"} ${lexicons[@]+"${lexicons[@]}"} \
  ${init_lang_dir:+"$init_lang_dir"/tokens.txt "$init_lang_dir"/lexicon.txt} \
  --outputs "$lang_dir"/{tokens.txt,words.txt,lexicon.txt,text} -- \
  python local/prepare_lang.py --prefix "$corpus" --train-part "$train_part" \
  ${other_parts[@]+--other-parts "${other_parts[@]}"} \
  --manifest-dir "$manifest_dir" --lang-dir "$lang_dir" --teacher "$teacher" \
  ${lexicons[@]+--lexicon "${lexicons[@]}"} ${init_lang_dir:+--init-lang-dir "$init_lang_dir"}

# The one inside HLG, which should be small, and the one that looks at what HLG found.
make_ngrams() {
  local common=(--lang-dir "$lang_dir" ${lm_texts[@]+--text "${lm_texts[@]}"})
  python local/make_ngram.py "${common[@]}" --order "$ngram_order" --output "$arpa" \
    ${ngram_prune:+--prune "$ngram_prune"}
  python local/make_ngram.py "${common[@]}" --order "$rescore_order" --output "$rescore_arpa"
}
settings_of ngram_prune
stage 5 ngram "n-gram language models" --after lang \
  --settings ngram_order rescore_order ${given[@]+"${given[@]}"} \
  --inputs ${lm_texts[@]+"${lm_texts[@]}"} --outputs "$arpa" "$rescore_arpa" -- make_ngrams

# Whether graphs can be made and searched. The answer takes a second, so it is asked for once.
has_k2=
find_k2() {
  if [ -z "$has_k2" ]; then
    has_k2=false
    if python -c "import k2" 2>/dev/null; then has_k2=true; fi
  fi
}

if [ "$stage" -le 6 ] && [ "$stop_stage" -ge 6 ] && find_k2 && ! $has_k2; then
  log "Stage 6: decoding graphs: left out, k2 does not load" \
    "(python local/check_environment.py tells how to mend it). Greedy decoding does without."
else
  # shellcheck disable=SC2086  # a list of words
  stage 6 graphs "decoding graphs" --after lang ngram --settings graph_options \
    --outputs "$graph_dir"/{H,HLG,G}.pt -- \
    python local/compile_graphs.py --lang-dir "$lang_dir" --arpa "$arpa" \
    --rescore-arpa "$rescore_arpa" --graph-dir "$graph_dir" $graph_options
fi

teacher_stage() { # NAME FOLDER [OPTION...]
  local name=$1 folder=$2
  shift 2
  # shellcheck disable=SC2086  # a list of words
  stage 7 "$name" "features of the teacher" --after manifests \
    --settings corpus train_part teacher teacher_layer teacher_options \
    --inputs ${tokenizer_files[@]+"${tokenizer_files[@]}"} ${weight_files[@]+"${weight_files[@]}"} \
    --outputs "$folder"/{features.bin,index.json} -- \
    python local/compute_teacher.py --prefix "$corpus" --train-part "$train_part" \
    --manifest-dir "$manifest_dir" --teacher "$teacher" --layer "$teacher_layer" \
    --store "$folder" $teacher_options "$@"
}
# run.sh calls it for the stores that its systems learn from.
if [ "${last_stage:-7}" -eq 7 ]; then teacher_stage teacher "$data_dir/teacher"; fi
