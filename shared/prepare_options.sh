# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # options and variables of the recipes
# Options that all recipes share. Sourced at the start of egs/<corpus>/prepare.sh, which sets
# data_of, the corpus in words, before, may assign other defaults, adds its own options, and then
# calls parse_options and begin.
# shellcheck source=stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

: "${usage:="Prepare the data of $data_of. Finished stages are skipped.

Usage: bash ${recipe#"$root/"}/prepare.sh [options]

Stages: 0 corpus and teacher, 1 manifests, 2 features, 3 validation, 4 tokens and lexicon, 5 n-gram
language models, 6 decoding graphs, 7 features of the teacher."}"
# Of stage 1 (prepare.sh); a recipe without stage 0 empties the first.
after_corpus=(--after corpus) source_options=() source_files=()

cache_dir=$(absolute "${XDG_CACHE_HOME:-${HOME:-$recipe/download}/.cache}")/gmot

option stage 0 "first stage to run"
option stop_stage "${last_stage:-7}" "last stage to run"
option data_dir "$recipe/data" "prepared data"
option venv "" "Python environment; none: the python on the PATH (default: .venv)"
option set "" "set of package versions (shared/environment.sh --help)"
option num_jobs 2 "processes for audio and features"
option executor "" "Dask scheduler for features and the teacher (docs/cluster.md), tcp://host:8786"
option speed_perturb "" "additional copies of the training split at these speeds, such as '0.9 1.1'"
option units "" "CTC units: characters, pieces (of the teacher's tokenizer) or bpe; default: pieces"
option vocab_size "" "number of bpe units"
option lexicon "" "pronunciation lexicon whose words are added to the graphs; here or in the corpus"
option init_lang_dir "" "lang folder of the model that training starts from; its tokens are kept"
option_list lm_text "more text for the language models, one sentence per line"
option topology modified "CTC topology of the graphs: modified or full"
option teacher "" "teacher language model: a folder or a name on the hub; from wheels of PyPI: multilingual-e5-small, all-MiniLM-L6-v2"
option teacher_layer last "layer of the teacher: a number (0: embeddings) or last"
