#!/usr/bin/env bash
# The mini corpus from its archives to error rates, stages 0 to 10: bash egs/mini/run.sh --help
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
title="mini: synthetic speech"
config=(conf/ctc.yaml conf/gm_ot.yaml)
pretrain_config=conf/ctc.yaml
model=small
avg=3
. "$recipe/../../shared/run.sh"
