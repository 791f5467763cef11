#!/usr/bin/env bash
# AISHELL-1 from nothing to results, stages 0 to 10: bash egs/aishell/run.sh --help
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../shared/run.sh
. "$recipe/../../shared/run.sh"
