#!/usr/bin/env bash
# Prepare the mini corpus, stages 0 to 7: bash egs/mini/prepare.sh --help
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../shared/prepare.sh
. "$recipe/../../shared/prepare.sh"
