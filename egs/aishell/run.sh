#!/usr/bin/env bash
# AISHELL-1 from its archives to error rates, stages 0 to 10: bash egs/aishell/run.sh --help
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
title=AISHELL-1
config=(conf/baseline.yaml conf/gm_ot_setting5.yaml)
pretrain_config=conf/baseline.yaml
model=paper
avg=10
. "$recipe/../../shared/run.sh"
