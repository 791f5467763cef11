#!/usr/bin/env bash
# festvox-ru from its package to error rates, stages 0 to 10: bash egs/festvox_ru/run.sh --help
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
title="festvox-ru: one speaker, read Russian"
config=(conf/ctc.yaml conf/gm_ot.yaml)
pretrain_config=conf/ctc.yaml
model=small
avg=3
. "$recipe/../../shared/run.sh"
