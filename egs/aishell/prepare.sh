#!/usr/bin/env bash
# Prepare AISHELL-1, stages 0 to 7: bash egs/aishell/prepare.sh --help
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../shared/prepare.sh
. "$recipe/../../shared/prepare.sh"
