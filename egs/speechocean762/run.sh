#!/usr/bin/env bash
# speechocean762 from its archive to error rates, stages 0 to 10: bash egs/speechocean762/run.sh --help
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
title="speechocean762: English of Mandarin speakers"
config=(conf/ctc.yaml conf/gm_ot.yaml)
pretrain_config=conf/ctc.yaml
model=small
avg=3
. "$recipe/../../shared/run.sh"
