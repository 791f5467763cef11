# shellcheck shell=bash
# Command-line options for the scripts of the recipes. Sourced, never run.
#
#   usage="What the script does, shown first by --help."
#   option stop_stage 7 "last stage to run"      # sets stop_stage=7; --stop-stage or --stop_stage
#   flag   dev          "with the tests' tools"  # sets dev=false; --dev makes it true
#   parse_options "$@"
#
# `--name value` and `--name=value` both work. What is shown as the default is the value at the time
# of parsing, so a plain assignment between `option` and `parse_options` changes the default.
# An unknown option, a missing value and a stray argument are refused, and so is a value other than
# true or false for an option declared with one of these.

option_names=()
option_helps=()
option_flags=" "
option_booleans=" "

option() { # NAME DEFAULT HELP
  printf -v "$1" %s "$2"
  option_names+=("$1")
  option_helps+=("$3")
  case $2 in true | false) option_booleans+="$1 " ;; esac
}

flag() { # NAME HELP
  option "$1" false "$2"
  option_flags+="$1 "
}

option_name() { # ARGUMENT; nothing for what is not written as an option
  local name
  case $1 in --?*) name=${1#--} && name=${name%%=*} && echo "${name//-/_}" ;; esac
}

is_option() { # NAME
  case $1 in "" | *[!A-Za-z0-9_]*) return 1 ;; esac
  case " ${option_names[*]} " in *" $1 "*) ;; *) return 1 ;; esac
}

parse_options() {
  local argument name value
  while [ $# -gt 0 ]; do
    argument=$1
    shift
    case $argument in
      --help | -h)
        show_options
        exit 0
        ;;
      --?*) ;;
      *) refuse_option "unexpected argument '$argument'" ;;
    esac
    name=$(option_name "$argument")
    is_option "$name" || refuse_option "unknown option '${argument%%=*}'"
    if [ "$argument" != "${argument#*=}" ]; then
      value=${argument#*=}
    elif [ "$option_flags" != "${option_flags/ $name /}" ]; then
      value=true
    elif [ $# -gt 0 ] && ! is_option "$(option_name "$1")"; then
      value=$1
      shift
    else
      refuse_option "option '$argument' needs a value"
    fi
    if [ "$option_booleans" != "${option_booleans/ $name /}" ]; then
      case $value in
        true | false) ;;
        *) refuse_option "option '${argument%%=*}' is true or false, not '$value'" ;;
      esac
    fi
    printf -v "$name" %s "$value"
  done
}

show_options() {
  local i name
  printf '%s\n\nOptions:\n' "${usage:-Usage: $0 [options]}"
  for i in "${!option_names[@]}"; do
    name=${option_names[i]}
    if [ "$option_flags" != "${option_flags/ $name /}" ]; then
      printf '  --%s\n      %s\n' "${name//_/-}" "${option_helps[i]}"
    else
      printf '  --%s VALUE\n      %s (default: %s)\n' \
        "${name//_/-}" "${option_helps[i]}" "${!name:-none}"
    fi
  done
}

refuse_option() { # MESSAGE
  {
    echo "$0: $1"
    printf 'Known options:'
    local name
    for name in "${option_names[@]}"; do printf ' --%s' "${name//_/-}"; done
    printf ' --help\n'
  } >&2
  exit 2
}
