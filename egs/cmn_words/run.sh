#!/usr/bin/env bash
# cmn_words from its recordings to error rates, stages 0 to 10: bash egs/cmn_words/run.sh --help
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
title="cmn_words: Mandarin words of one speaker"
config=(conf/ctc.yaml)
pretrain_config=conf/ctc.yaml
model=small
avg=3
. "$recipe/../../shared/run.sh"
