#!/usr/bin/env bash
# gpu.sh [--output docs/gpu.md] [--device cuda] [--small]: all measurements of a GPU in one page, in
# under 8 minutes: the transport's kernel against torch (benchmarks/gpu.py), then training
# (benchmarks/training_gpu.py). --device cpu --small is a dry run of every part.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
output="$root/docs/gpu.md" device=cuda small=()
while [ $# -gt 0 ]; do
  case $1 in
    --output) output=$2; shift 2 ;;
    --device) device=$2; shift 2 ;;
    --small) small=(--small); shift ;;
    *) echo "error: unknown option $1 (expected --output, --device, --small)" >&2; exit 2 ;;
  esac
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
if [ "$device" != cpu ] || [ "${TRITON_INTERPRET:-0}" = 1 ]; then
  python "$root/benchmarks/gpu.py" --output "$work/kernel" "${small[@]}" || status=$?
fi
python "$root/benchmarks/training_gpu.py" --device "$device" --kernel "$work/kernel.md" \
  --output "$output" "${small[@]}" || status=$?
exit "$status"
