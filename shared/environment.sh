#!/usr/bin/env bash
usage="Make the Python environment of this project, or bring it up to date: .venv in the repository.

Usage: bash shared/environment.sh [options]

Needs Python 3.11 (or 3.10, 3.9) and the network; no root. Where the 'uv' tool is installed, it may
bring the Python. PYTHON=/path/to/python3 in the environment forces an interpreter. About 2 GB are
downloaded the first time. Nothing outside the environment's folder is touched, but for an empty
FOLDER.lock beside it. An install that was stopped goes on when the command is given again; one that
is up to date costs nothing."
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/shared/stages.sh"
. "$root/shared/parse_options.sh"

option venv "" "folder of the environment instead of .venv (.venv-torch2 with --torch2)"
option requirements "" "install this file instead of requirements.txt and k2"
flag torch2 "the second set: torch 2, without k2 (requirements/torch2.txt, Python 3.11)"
flag dev "with what the tests need (requirements/dev.txt)"
parse_options "$@"

pythons="3.11 3.10 3.9"
files=("$root"/{requirements.txt,requirements/k2.txt})
default_venv=$root/.venv
# shellcheck disable=SC2154  # flags
if $torch2; then
  pythons=3.11
  files=("$root/requirements/torch2.txt")
  default_venv=$root/.venv-torch2
fi
: "${venv:=$default_venv}"
venv=${venv%/}
if [ -L "$venv" ]; then venv=$(readlink -f "$venv"); fi # made behind a link
if [ -n "$requirements" ]; then files=("$requirements"); fi
# shellcheck disable=SC2154
if $dev; then files+=("$root/requirements/dev.txt"); fi
for file in "${files[@]}"; do
  [ -f "$file" ] || die "no requirements file $file"
done

# The environment's folder holds a list of what is installed whole: one line a requirements file.
stamp=$venv/gmot-installed
pip_log=$venv/pip.log

# --- the interpreter ---------------------------------------------------------------------------

version_of() { # PYTHON; nothing where it does not start (as pyenv's shims may not)
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3.10 python3.9 python3 python}; do
    case " $pythons " in *" $(version_of "$candidate") "*) ;; *) continue ;; esac
    "$candidate" -c 'import ensurepip, venv' 2>/dev/null || continue
    echo "$candidate"
    return
  done
}

explain_python() {
  local candidate found
  echo "error: no suitable Python: one of ${pythons// /, } with its venv module is needed."
  if [ -n "${PYTHON:-}" ]; then
    found=$(version_of "$PYTHON")
    echo "PYTHON=$PYTHON was asked for: ${found:-it does not start}"
  fi
  for candidate in python3.11 python3.10 python3.9 python3; do
    if command -v "$candidate" >/dev/null; then
      found=$(version_of "$candidate")
      echo "  found: $candidate ${found:-(does not start)}"
    fi
  done
  cat <<'END'
Any one of these brings it:
  Debian 12, Ubuntu with the deadsnakes archive:  apt-get install python3.11 python3.11-venv
  Fedora:  dnf install python3.11          macOS:  brew install python@3.11
  conda:   conda create -n py311 python=3.11; then PYTHON=$(conda run -n py311 which python)
  uv:      with 'uv' on the PATH this script fetches Python 3.11 by itself
Then run the same command again.
END
}

make_venv() {
  if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
    die "$venv is there and is not a Python environment; move it away or give another --venv"
  fi
  local python
  python=$(find_python)
  if [ -n "$python" ]; then
    log "Making $venv with $python ($(version_of "$python"))"
    "$python" -m venv --clear "$venv"
  elif [ -z "${PYTHON:-}" ] && command -v uv >/dev/null; then
    log "Making $venv with uv and Python 3.11"
    rm -rf "$venv"
    uv venv --quiet --seed --python 3.11 "$venv"
  else
    explain_python >&2
    exit 1
  fi
}

# An environment whose pip starts is kept; what a kill left half made is made again.
usable_venv() {
  case " $pythons " in *" $(version_of "$venv/bin/python") "*) ;; *) return 1 ;; esac
  if [ -n "${PYTHON:-}" ] && [ "$(version_of "$PYTHON")" != "$(version_of "$venv/bin/python")" ]; then
    return 1
  fi
  [ -f "$stamp" ] || "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

# --- the packages ------------------------------------------------------------------------------

# The file and those it names with -r, one after the other.
with_included() { # FILE
  cat "$1"
  local line
  while read -r line; do
    with_included "$(dirname "$1")/${line#-r }"
  done < <(grep '^-r ' "$1" || true)
}

# A kill in the middle of pip's copying leaves packages without their list of files, which pip
# would take for installed.
remove_half_installed() {
  local info
  for info in "$venv"/lib/python3*/site-packages/*.dist-info; do
    if [ -d "$info" ] && [ ! -f "$info/RECORD" ]; then rm -r "$info"; fi
  done
  rm -rf "$venv"/lib/python3*/site-packages/~*
}

pip_install() { # ARGUMENT...
  # What a user has set for pip elsewhere must not move the packages out of the environment.
  env -u PIP_TARGET -u PIP_PREFIX -u PIP_USER -u PIP_ROOT -u PYTHONPATH -u PYTHONHOME \
    PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_RETRIES="${PIP_RETRIES:-10}" \
    PIP_DEFAULT_TIMEOUT="${PIP_DEFAULT_TIMEOUT:-60}" \
    "$venv/bin/python" -m pip install --progress-bar off "$@" 2>&1 |
    tee -a "$pip_log" |
    { grep --line-buffered -oE '^ *Downloading .*[0-9]{2}\.[0-9] MB\)|^Installing collected packages' || true; } >&2
}

install_file() { # FILE
  local extra=() attempt
  # k2 names a torch of its own; the one that fits is in requirements.txt.
  case $1 in */k2.txt) extra=(--no-deps) ;; esac
  for attempt in 1 2 3; do
    : >"$pip_log"
    remove_half_installed
    if pip_install ${extra[@]+"${extra[@]}"} -r "$1"; then return; fi
    # pip tries a connection again, not a download that breaks off.
    grep -qiE 'timed? ?out|connection|incomplete|temporar|do not match the hashes' "$pip_log" || break
    log "attempt $attempt failed; once more"
    sleep $((attempt * 5))
  done
  tail -n 15 "$pip_log" >&2
  die "pip could not install $1 (the end of $pip_log is above). Mend it and run the same command again."
}

mkdir -p "$(dirname "$venv")"
lock "$venv.lock" "$venv"

if ! usable_venv; then make_venv; fi

wanted=""
changed=false
for file in "${files[@]}"; do
  # A line vouches for the files before it as well: when one changes, those after it are looked at.
  wanted+=$(with_included "$file")
  name=${file#"$root/"}
  line="$name $(version_of "$venv/bin/python") $(short_hash <<<"$wanted")"
  if ! grep -qFx "$line" "$stamp" 2>/dev/null; then
    $changed || log "Installing into $venv (the first time: several minutes, 2 GB; log: $pip_log)"
    changed=true
    log "$name"
    # From here on the old list is not true.
    if [ -f "$stamp" ]; then
      grep -vF "$name " "$stamp" >"$stamp.tmp" || true
      mv "$stamp.tmp" "$stamp"
    fi
    install_file "$file"
    echo "$line" >>"$stamp"
  fi
done

if ! $changed; then
  log "$venv is up to date"
elif [ -z "$requirements" ]; then
  log "$("$venv/bin/python" "$root/local/check_environment.py" 2>&1 | tail -n 1)"
fi
