# shellcheck shell=bash
# Stages that know what they were made from. Sourced, never run.
#
#   stage NUMBER NAME "title" [--after NAME...] [--settings VARIABLE...] [--inputs FILE...] \
#         [--functions FUNCTION...] [--outputs PATH...] [--records FILE...] -- COMMAND [ARGUMENT...]
#
# COMMAND makes the stage's product. A marker, $marker_dir/NAME.done (or NAME.done where NAME is a
# path), is removed before and written, whole, after it; so a stage killed at any point is run
# again. The marker holds what the product was made from:
#   --settings   the values of these variables (what does not change the product is not listed)
#   --inputs     the content of these files (of those over 64 MiB: size and time)
#   --functions  the text of these shell functions, where they are defined
#   --after      the markers of the stages it builds on; each run of one of them leaves a new marker
# and what the product was: the sizes of the files of --outputs (of a folder: of all files in it).
# When one of these has changed, or a file of --outputs or --records (which other commands may add
# to) is missing, the stage says which and runs again, and so do, in turn, the stages after it. Else
# it is skipped with one line.
# A stage refuses to end without --outputs and --records, and to begin before those it builds on.
#
# Only stages with $stage <= NUMBER <= $stop_stage are considered. The caller sets these two and
# marker_dir, and calls `stage` plainly (in a condition, bash would ignore failures inside COMMAND).
# COMMAND runs in a subshell: it may change folder or variables as it likes.

set -euo pipefail

log() {
  printf '%s %s\n' "$(date '+%Y-%m-%d %H:%M:%S')" "$*" >&2
}

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Of two runs at the same time the second waits; the lock goes with the process and its children.
lock() { # FILE WHAT
  local status=0
  command -v flock >/dev/null || return 0
  if { exec 8>>"$1"; } 2>/dev/null; then
    flock -n 8 2>/dev/null || status=$?
    if [ "$status" -eq 1 ]; then
      log "Another run is at work on $2; waiting for it"
      status=0
      flock 8 2>/dev/null || status=$?
    fi
    if [ "$status" -eq 0 ]; then return; fi
  fi
  log "Going on without a lock, for $1 cannot be locked: do not start a second run on $2"
}

# Behind symbolic links too, whose targets are yet to be made.
make_folder() { # PATH
  if [ -d "$1" ]; then
    return
  elif [ -L "$1" ]; then
    mkdir -p "$(readlink -f "$1")"
  else
    make_folder "$(dirname "$1")"
    mkdir -p "$1"
  fi
}

short_hash() { # of standard input
  if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c 1-16
}

marker_of() { # NAME
  # shellcheck disable=SC2154  # the caller's
  case $1 in
    */*) echo "$1.done" ;;
    *) echo "$marker_dir/$1.done" ;;
  esac
}

# What a file holds, in one word.
file_state() { # FILE
  local size
  size=$(wc -c <"$1" | tr -d ' ')
  if [ "$size" -gt 67108864 ]; then
    # GNU's option, then BSD's.
    echo "$size@$(stat -c %Y "$1" 2>/dev/null || stat -f %m "$1")"
  else
    short_hash <"$1"
  fi
}

# Sizes of a product, in one word; symbolic links are followed.
product_size() { # PATH
  if [ -d "$1" ]; then
    (cd "$1" && find -L . -type f ! -name '.tmp-*' -exec wc -c {} + | sed '/ total$/d' |
      LC_ALL=C sort | short_hash)
  else
    wc -c <"$1" | tr -d ' '
  fi
}

running_stage=
announce_failure() {
  local status=$?
  if [ "$status" -ne 0 ] && [ -n "$running_stage" ]; then
    log "$running_stage: stopped (status $status). Run the same command again to go on from here."
  fi
}
trap announce_failure EXIT

stage() {
  # Underscores, for COMMAND sees these names.
  local _number=$1 _name=$2 _title="Stage $1: $3" _list="" _made_from="" _word _marker _why=""
  local _outputs=() _records=()
  shift 3
  # shellcheck disable=SC2154  # the caller's
  if [ "$_number" -lt "$stage" ] || [ "$_number" -gt "$stop_stage" ]; then return; fi

  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    _word=$1
    shift
    case $_word in
      --after | --settings | --inputs | --functions | --outputs | --records)
        _list=$_word
        continue
        ;;
    esac
    case $_list in
      --after)
        _marker=$(marker_of "$_word")
        [ -f "$_marker" ] || die "$_title: needs stage '$_word', which is not finished." \
          "Run again from an earlier --stage (finished stages are skipped)."
        _made_from+="stage ${_word##*/}, run $(file_state "$_marker")"$'\n'
        ;;
      --settings)
        _made_from+="$_word='${!_word//$'\n'/ }'"$'\n'
        ;;
      --inputs)
        [ -f "$_word" ] || die "$_title: its input $_word is not there."
        _made_from+="file $_word, content $(file_state "$_word")"$'\n'
        ;;
      --functions)
        if declare -F "$_word" >/dev/null; then
          _made_from+="function $_word, text $(declare -f "$_word" | short_hash)"$'\n'
        fi
        ;;
      --outputs)
        _outputs+=("$_word")
        ;;
      --records)
        _records+=("$_word")
        ;;
      *) die "$_title: '$_word' stands before any of --after, --settings, ..." ;;
    esac
  done
  shift

  _marker=$(marker_of "$_name")
  if [ -f "$_marker" ]; then
    _why=$(explain_change "$_marker" "$_made_from")
    for _word in ${_outputs[@]+"${_outputs[@]}"} ${_records[@]+"${_records[@]}"}; do
      if [ ! -s "$_word" ]; then
        _why+="${_why:+$'\n'}  missing: $_word"
      elif grep -qF "product $_word, size " "$_marker" &&
        ! grep -qFx "product $_word, size $(product_size "$_word")" "$_marker"; then
        _why+="${_why:+$'\n'}  not whole: $_word"
      fi
    done
    if [ -z "$_why" ]; then
      log "$_title: up to date"
      return
    fi
    log "$_title: runs again, because what it was made from has changed"
    printf '%s\n' "$_why" >&2
  else
    log "$_title"
  fi

  rm -f "$_marker"
  mkdir -p "$(dirname "$_marker")"
  running_stage=$_title
  SECONDS=0
  ("$@")
  for _word in ${_outputs[@]+"${_outputs[@]}"} ${_records[@]+"${_records[@]}"}; do
    [ -s "$_word" ] || die "$_title: ended without making $_word."
  done
  for _word in ${_outputs[@]+"${_outputs[@]}"}; do
    _made_from+="product $_word, size $(product_size "$_word")"$'\n'
  done
  # The last line makes each run's marker differ, which is what --after looks at.
  printf '%srun %s %s\n' "$_made_from" "$(date -u '+%Y-%m-%dT%H:%M:%SZ')" "$$.$RANDOM" >"$_marker.tmp"
  mv "$_marker.tmp" "$_marker"
  running_stage=
  log "$_title: done in $SECONDS s"
}

# Lines that only the marker has (was) and only the present has (now).
explain_change() { # MARKER MADE_FROM
  local before
  before=$(sed -e '$d' -e '/^product /d' "$1")
  grep -Fxv -e "$2" <<<"$before" | sed -e '/^$/d' -e 's/^/  was: /' || true
  grep -Fxv -e "$before" <<<"${2%$'\n'}" | sed -e '/^$/d' -e 's/^/  now: /' || true
}
