# shellcheck shell=bash
# Stages of a recipe: a command, its inputs and its products. Sourced by the recipes.
#
#   stage NUMBER NAME [--after NAME...] [--in PATH...] [--out PATH...] [--keep FILE...] -- COMMAND...
#
# When COMMAND has succeeded, the marker $marker_dir/NAME.done (NAME.done if NAME is a path) records
# its command line, inputs and products. A later run skips the stage, unless
#   - its command line has changed (but for the options of $unrecorded, which change no product),
#   - an input (--in) has changed: a file by its content (above 64 MiB: size and time), a folder by
#     the names, sizes and times of its files,
#   - a stage that it builds on (--after) has run again,
#   - a product (--out) is missing, empty or of another size; of files that other commands may
#     extend (--keep) only presence is checked.
# It then prints what has changed and runs again. The marker is removed before COMMAND and written
# in one step after it, so that a stage killed at any point runs again. Stages of a NUMBER outside
# $stage ... $stop_stage are left out. Call `stage` as a plain command (inside a condition bash
# ignores failures). COMMAND runs in a subshell; a function does its last work by `exec`, so that
# signals reach it. SIGTERM is passed on to COMMAND (SIGINT of a terminal reaches it anyway), the
# shell waits for its end, and exits with status 75: interrupted, to be continued.

if declare -F stage >/dev/null; then return; fi # sourced already
set -eo pipefail # without -u, for which bash before 4.4 takes an empty array for an unset one
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
started_in=$PWD
# shellcheck source=parse_options.sh
. "$root/shared/parse_options.sh"
unrecorded=" --num-jobs --num-threads --num-workers --data.num_workers --data.features --device --executor \
--training.compile --training.keep_last --training.keep_best --training.save_steps --training.save_minutes \
--training.log_interval --training.max_skipped "
interrupted_status=75 # EX_TEMPFAIL; also of an interrupted local/train.py

log() { printf '%s %s\n' "$(date '+%Y-%m-%d %H:%M:%S')" "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2 && exit 1; }

# Of two simultaneous runs the second waits. The lock ends with the process and its children.
lock() { # FILE WHAT
  local status=0
  command -v flock >/dev/null || return 0
  { exec 8>>"$1" && flock -n 8; } 2>/dev/null || status=$?
  if [ -f "$1" ] && [ "$status" -eq 1 ]; then
    log "Waiting for another run that uses $2"
    flock 8 && return
  fi
  [ "$status" -eq 0 ] || log "$1 cannot be locked: do not start a second run that uses $2"
}

make_folder() { # PATH, possibly behind a symbolic link to a folder that does not exist yet
  mkdir -p "$1" 2>/dev/null || mkdir -p "$(readlink -m "$1")"
}

short_hash() { # of standard input
  if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c 1-16
}

# GNU's options of stat, or BSD's.
stat_size=(stat -L -c '%n %s') stat_time=(stat -L -c '%n %s %.Y')
"${stat_size[@]}" / &>/dev/null || stat_size=(stat -L -f '%N %z') stat_time=(stat -L -f '%N %z %Fm')

# One word for the content of an input or the sizes of a product.
state_of() { # input|product PATH
  local facts=("${stat_size[@]}")
  if [ "$1" = input ]; then
    facts=("${stat_time[@]}")
    if [ -f "$2" ] && [ "$(wc -c <"$2")" -le 67108864 ]; then short_hash <"$2" && return; fi
  fi
  { find -L "$2" -name '.?*' -prune -o -type f -exec "${facts[@]}" {} + 2>/dev/null || true; } |
    LC_ALL=C sort | short_hash
}

# The command line, one option per line.
command_lines() { # COMMAND...
  local word line="command"
  while [ $# -gt 0 ]; do
    word=$1
    shift
    case $unrecorded in
      *" $word "*) shift && continue ;;
      *" ${word%%=*} "*) continue ;;
    esac
    case $word in
      "" | *[[:space:]]*) word="'${word//$'\n'/ }'" ;;
      --*) printf '%s\n' "$line" && line="command" ;;
    esac
    line+=" $word"
  done
  printf '%s\n' "$line"
}

marker_of() { # NAME
  # shellcheck disable=SC2154  # the recipe's
  case $1 in */*) echo "$1.done" ;; *) echo "$marker_dir/$1.done" ;; esac
}

explain_change() { # BEFORE NOW
  [ "$1" != "$2" ] || return 0
  local lines
  lines=$(grep -Fxv -e "$2" <<<"$1" | sed -e 's/^/  was: /' || true)
  lines+=${lines:+$'\n'}$(grep -Fxv -e "$1" <<<"$2" | sed -e 's/^/  now: /' || true)
  printf '%s\n' "${lines:-  the order of the options}"
}

running_stage=
announce_failure() { # STATUS, at exit
  trap '' INT TERM HUP
  if [ "$1" -eq 0 ] || [ -z "$running_stage" ]; then return; fi
  local what="failed (status $1)"
  if [ "$1" -eq "$interrupted_status" ]; then what="interrupted, its work is saved"; fi
  log "$running_stage: $what. Run the same command again to continue from here."
}

interrupted=
forward_interrupt= # SIGINT as SIGTERM: background shells and what they start ignore it
interrupt() { # SIGNAL; the shell goes on in `wait_for`
  local started
  interrupted=true
  read -r -d '' -a started <<<"$(jobs -pr)" || true
  [ ${#started[@]} -gt 0 ] || exit "$interrupted_status"
  log "Interrupted: waiting for ${running_stage:-the experiments} to end"
  [ "$1$forward_interrupt" = INT ] || kill -TERM "${started[@]}" 2>/dev/null || true
}

set_traps() { # also in each subshell, which inherits none
  trap 'announce_failure "$?"' EXIT
  trap 'interrupt INT' INT
  trap 'interrupt TERM' TERM
  trap 'interrupt HUP' HUP
}
set_traps

# A command in the background, where traps of the shell run while it does, but SIGINT is ignored
# unless reset. A program takes the place of the subshell, so that signals to it reach the program.
run_command() { # COMMAND...
  trap - INT
  if [ "$(type -t "$1")" = file ]; then exec "$@"; fi
  "$@"
}

# Exit status of a background process; signals only interrupt `wait`.
wait_for() { # PID
  local status=0 again=0
  wait "$1" || status=$?
  while kill -0 "$1" 2>/dev/null; do
    status=0
    wait "$1" || status=$?
  done
  wait "$1" 2>/dev/null || again=$?
  [ "$again" -eq 127 ] || status=$again
  return "$status"
}

stage() {
  # Underscores, because COMMAND may be a function and sees these names.
  local _number=$1 _name=$2 _title _marker _list="" _now="" _why="" _word _status=0
  local _products=() _kept=()
  shift 2
  # shellcheck disable=SC2154  # the recipe's
  if [ "$_number" -lt "$stage" ] || [ "$_number" -gt "$stop_stage" ]; then return; fi
  _marker=$(marker_of "$_name")
  _title="Stage $_number $_name"
  case $_name in */*) _title="Stage $_number $(basename "$(dirname "$_name")")/${_name##*/}" ;; esac

  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    _word=$1
    shift
    case "$_list $_word" in
      *" --after" | *" --in" | *" --out" | *" --keep") _list=$_word ;;
      "--after "*)
        _word=$(marker_of "$_word")
        [ -f "$_word" ] || die "$_title: needs the stage '$(basename "$_word" .done)', which is not" \
          "finished. Run again from an earlier --stage (finished stages are skipped)."
        _now+="after $_word, run $(tail -n 1 "$_word")"$'\n'
        ;;
      "--in "*)
        [ -e "$_word" ] || die "$_title: input $_word does not exist."
        _now+="input $_word, state $(state_of input "$_word")"$'\n'
        ;;
      "--out "*) _products+=("$_word") ;;
      "--keep "*) _kept+=("$_word") ;;
      *) die "$_title: '$_word': expected --after, --in, --out or --keep before it" ;;
    esac
  done
  shift
  _now=$(command_lines "$@")$'\n'$_now

  if [ -f "$_marker" ]; then
    _why=$(explain_change "$(sed -e '$d' -e '/^product /d' "$_marker")" "${_now%$'\n'}")
    for _word in "${_products[@]}" "${_kept[@]}"; do
      if [ ! -s "$_word" ]; then
        _why+="${_why:+$'\n'}  missing: $_word"
      elif grep -qF "product $_word, state " "$_marker" &&
        ! grep -qFx "product $_word, state $(state_of product "$_word")" "$_marker"; then
        _why+="${_why:+$'\n'}  not as made: $_word"
      fi
    done
    if [ -z "$_why" ]; then log "$_title: up to date" && return; fi
    log "$_title: runs again because of a change"$'\n'"$_why"
  else
    log "$_title"
  fi

  rm -f "$_marker"
  make_folder "$(dirname "$_marker")"
  running_stage=$_title
  SECONDS=0
  (run_command "$@") &
  wait_for "$!" || _status=$?
  if [ -n "$interrupted" ] && [ "$_status" -ne 0 ]; then _status=$interrupted_status; fi
  [ "$_status" -eq 0 ] || exit "$_status"
  for _word in "${_products[@]}" "${_kept[@]}"; do
    [ -s "$_word" ] || die "$_title: ended without making $_word."
  done
  for _word in "${_products[@]}"; do
    _now+="product $_word, state $(state_of product "$_word")"$'\n'
  done
  # The last line makes the marker of each run unique, which is what --after compares.
  printf '%s%s %s\n' "$_now" "$(date -u '+%Y-%m-%dT%H:%M:%SZ')" "$$.$RANDOM" >"$_marker.tmp"
  mv "$_marker.tmp" "$_marker"
  running_stage=
  log "$_title: done in $SECONDS s"
  if [ -n "$interrupted" ]; then exit "$interrupted_status"; fi
}

absolute() { case $1 in "" | /*) echo "$1" ;; *) echo "$started_in/$1" ;; esac }

# After parse_options of a recipe: absolute paths, environment, lock, folder of the markers.
# shellcheck disable=SC2154  # options of the recipes
begin() { # PATH_OPTION...
  local name
  for name in stage stop_stage; do
    [ "${!name}" -eq "${!name}" ] 2>/dev/null || die "--${name/_/-} ${!name}: expected a number"
  done
  for name; do printf -v "$name" %s "$(absolute "${!name}")"; done
  if [ -d "$(absolute "$teacher")" ]; then teacher=$(absolute "$teacher"); fi
  cd "$root"
  if [ "$venv" != none ]; then
    venv=$(cd "$started_in" && absolute "${venv:-$root/.venv${set:+-$set}}")
    bash shared/environment.sh --venv "$venv" ${set:+--set "$set"} "${environment_options[@]}"
    PATH=$venv/bin:$PATH
  fi
  shopt -s nullglob
  marker_dir=$data_dir/.stages
  make_folder "$marker_dir"
  lock "$data_dir/.lock" "$data_dir"
  if declare -F plan_experiments >/dev/null; then plan_experiments; fi
}
