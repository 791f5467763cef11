#!/usr/bin/env bash
# Python environment of this project: `bash shared/environment.sh --help`.
# Finds a Python to start shared/environment.py with, which chooses and installs.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

starts() { # PYTHON: it is 3.10 or newer
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

if [ -n "${PYTHON:-}" ] && ! starts "$PYTHON"; then
  echo "error: PYTHON=$PYTHON does not start, or is older than 3.10" >&2
  exit 1
fi
for python in ${PYTHON:+"$PYTHON"} python3 python3.{11,12,13,10,14} python /usr/bin/python3; do
  if starts "$python"; then exec "$python" -I "$root/shared/environment.py" "$@"; fi
done
if command -v uv >/dev/null; then
  python=$(uv python find 3.11 2>/dev/null) ||
    { uv python install 3.11 >&2 && python=$(uv python find 3.11); }
  exec "$python" -I "$root/shared/environment.py" "$@"
fi
cat >&2 <<'END'
error: no Python 3.10 or newer is found. Any one of these brings it:
  Debian, Ubuntu:  apt-get install python3 python3-venv
  Fedora:          dnf install python3
  macOS:           brew install python@3.11
  conda:           conda create -n py311 python=3.11; then PYTHON=$(conda run -n py311 which python)
  uv:              with 'uv' on the PATH this script fetches Python 3.11 itself
Then run the same command again.
END
exit 1
