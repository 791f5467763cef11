# shellcheck shell=bash
# Command-line options of the scripts. Sourced.
#
#   usage="What the script does; printed by --help."
#   option stop_stage 7 "last stage to run"   # sets stop_stage=7; --stop-stage or --stop_stage
#   option dev false "with the test tools"    # a boolean: --dev, --dev true or --dev=true
#   option_list config "experiments"          # array config; each --config appends a value, and the
#                                             # first one replaces a default assigned before
#   parse_options "$@"
#
# `--name value` and `--name=value` are equivalent. An assignment between `option` and
# `parse_options` changes the default. With dotted_options=true, options --group.key VALUE... are
# collected unchanged in the array `dotted`. All other arguments are refused.

option_names=()
option_helps=()
option_booleans=" "
option_lists=" "
dotted=()

option() { # NAME DEFAULT HELP
  printf -v "$1" %s "$2"
  option_names+=("$1")
  option_helps+=("$3")
  case $2 in true | false) option_booleans+="$1 " ;; esac
}

option_list() { # NAME HELP
  option_names+=("$1")
  option_helps+=("$2 (may be repeated)")
  option_lists+="$1 "
}

parse_options() {
  local argument option name value given=" "
  while [ $# -gt 0 ]; do
    argument=$1 option=${1%%=*}
    shift
    case $option in
      --help | -h) show_options && exit 0 ;;
      --*.*)
        [ "${dotted_options:-false}" = true ] || refuse_option "unknown option '$option'"
        dotted+=("$argument")
        while [ $# -gt 0 ] && [[ $1 != --* ]]; do dotted+=("$1") && shift; done
        continue
        ;;
      --?*) name=${option#--} name=${name//-/_} ;;
      *) refuse_option "unexpected argument '$argument'" ;;
    esac
    [[ $name != *[!A-Za-z0-9_]* && " ${option_names[*]} " == *" $name "* ]] ||
      refuse_option "unknown option '$option'"
    if [ "$argument" != "$option" ]; then
      value=${argument#*=}
    elif [[ $option_booleans == *" $name "* && $1 != true && $1 != false ]]; then
      value=true
    else
      [[ $# -gt 0 && $1 != --* ]] || refuse_option "option '$option' needs a value"
      value=$1
      shift
    fi
    if [[ $option_booleans == *" $name "* && $value != true && $value != false ]]; then
      refuse_option "option '$option': expected true or false, found '$value'"
    elif [[ $option_lists != *" $name "* ]]; then
      printf -v "$name" %s "$value"
    else
      [[ $given == *" $name "* ]] || eval "$name=()"
      eval "$name+=(\"\$value\")"
      given+="$name "
    fi
  done
}

show_options() {
  local i name value
  printf '%s\n\nOptions:\n' "${usage:-Usage: $0 [options]}"
  for i in "${!option_names[@]}"; do
    name=${option_names[i]} value=${!option_names[i]}
    if [[ $option_lists == *" $name "* ]]; then eval "value=\${${name}[*]}"; fi
    printf '  --%s VALUE\n      %s (default: %s)\n' "${name//_/-}" "${option_helps[i]}" "${value:-none}"
  done
}

refuse_option() { # MESSAGE
  printf '%s: %s\nKnown options:%s --help\n' "$0" "$1" "$(printf ' --%s' "${option_names[@]//_/-}")" >&2
  exit 2
}
