# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # options of run.sh, results for it
# Several experiments at a time (run.sh --jobs N). Sourced by run.sh.

# Checks --nproc, --jobs, --devices and --num-threads, and sets their defaults.
plan_devices() {
  local name list gpus=0 cores share
  if [ "$nproc" = auto ] || { [ -n "$jobs" ] && [ -z "$devices" ]; }; then
    gpus=$(python -c "import torch; print(torch.cuda.device_count())")
  fi
  if [ "$nproc" = auto ]; then nproc=$((gpus > 1 ? gpus : 1)); fi
  read -r -a list <<<"$devices"
  if [ ${#list[@]} -gt 0 ]; then : "${jobs:=${#list[@]}}"; fi
  for name in nproc jobs num_threads; do
    case ${!name} in
      *[!0-9]* | 0*) die "--${name//_/-} ${!name}: expected a number from 1 on" ;;
    esac
  done
  if [ -n "$jobs" ] && [ "$nproc" -gt 1 ]; then
    die "--jobs or --devices with --nproc $nproc: expected one of them. Experiments at a time have one process each."
  fi
  if [ ${#list[@]} -eq 0 ]; then
    for ((share = 0; share < gpus; share++)); do devices+="cuda:$share "; done
  fi
  : "${devices:=cpu}"
  share=$((${jobs:-1} * nproc))
  if [ -z "$num_threads" ] && [ "$share" -gt 1 ]; then
    cores=$(command nproc 2>/dev/null || getconf _NPROCESSORS_ONLN) # those of this process
    num_threads=$((cores > share ? cores / share : 1))
  fi
}

# Runs `experiment` for each line of $plan, $jobs at a time; sets failed=(NAME...). Experiments with
# a start wait for all before them, the pretrained ones.
run_jobs() {
  local list fields i slot pids=() started=() slots=() pretrained=""
  read -r -a list <<<"$devices"
  forward_interrupt=true
  while IFS=$'\t' read -r -u 9 -a fields; do
    if [ "${fields[7]}" != - ] && [ -z "$pretrained" ]; then
      for i in "${pids[@]}"; do wait_for "$i" || true; done
      pretrained=true
    fi
    find_slot
    if [ -n "$interrupted" ]; then break; fi
    (job "${list[slot % ${#list[@]}]}" "${fields[@]}") &
    pids+=("$!") started+=("${fields[0]}") slots[slot]=$!
  done 9<<<"$plan"
  for i in "${!pids[@]}"; do wait_for "${pids[i]}" || failed+=("${started[i]}"); done
  if [ -n "$interrupted" ]; then exit "$interrupted_status"; fi
}

# Sets slot=NUMBER, the first without a running job. (`wait -n` needs bash 4.3.)
find_slot() {
  local alive
  while [ -z "$interrupted" ]; do
    alive=" $(jobs -pr | tr '\n' ' ')"
    for ((slot = 0; slot < jobs; slot++)); do
      case $alive in *" ${slots[slot]:-none} "*) ;; *) return 0 ;; esac
    done
    sleep 1 &
    wait_for "$!" || true
  done
}

# One experiment, in a subshell: all output in its own log, one line per event on the console.
job() { # DEVICE NAME FIELD...
  job_name=$2 job_log=$exp_dir/$2/log/run.log
  make_folder "${job_log%/*}"
  exec 3>&2 >>"$job_log" 2>&1
  log() {
    local line
    line="$(date '+%Y-%m-%d %H:%M:%S') $*"
    printf '%s\n' "$line" >&2
    printf '%s\n' "${line%%$'\n'*}" >&3
  }
  set_traps
  trap 'end_job "$?"' EXIT
  log "$job_name: started on $1, log $job_log"
  experiment "$@"
  log "$job_name: finished"
}

end_job() { # STATUS
  announce_failure "$1"
  if [ "$1" -ne 0 ] && [ -z "$interrupted" ]; then log "$job_name: stopped, see $job_log"; fi
}
