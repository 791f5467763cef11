#!/usr/bin/env bash
# Make the environment and run the tests in it; arguments go to pytest:
#   bash tests/run.sh                      in .venv, the default set
#   bash tests/run.sh --torch2 -k sinkhorn in .venv-torch2, the second set
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
options=()
if [ "${1:-}" = --torch2 ]; then
  venv=$root/.venv-torch2
  options=(--torch2)
  shift
fi
bash "$root/shared/environment.sh" --dev ${options[@]+"${options[@]}"}
cd "$root"
exec "$venv/bin/python" -m pytest "$@"
