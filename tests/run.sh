#!/usr/bin/env bash
# Make the environment and run the tests in it:
#   bash tests/run.sh [unit] [--set NAME] [pytest options]
# unit: the tests that start no process. Examples:
#   bash tests/run.sh unit -k sinkhorn
#   bash tests/run.sh --set torch2 tests/ot
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
options=()
marker=()
while [ $# -gt 0 ]; do
  case $1 in
    unit | integration | recipe) marker=(-m "$1") ;;
    --set)
      options=(--set "${2:?--set needs a name}")
      venv=$root/.venv-$2
      shift
      ;;
    *) break ;;
  esac
  shift
done
bash "$root/shared/environment.sh" --dev ${options[@]+"${options[@]}"}
cd "$root"
exec "$venv/bin/python" -m pytest ${marker[@]+"${marker[@]}"} "$@"
