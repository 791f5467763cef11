#!/usr/bin/env python3
"""Train one system (stage 8): a CTC recogniser, taught by a frozen language model or not.

Goes on from the last epoch found in --exp-dir. Epochs count from 1. The
defaults are the papers' model and settings where they give them; a --config
file fills options by name, and the command line wins over it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, layer, run, str2bool  # noqa: E402

# Options that are not compared when a training is resumed: where things lie (tokens and teacher are
# known by their fingerprints), how long, how fast it computes, and what the settings of the system
# and the model's configuration hold, which are compared.
FREE = (
    *("config", "exp_dir", "lang_dir", "init_lang_dir", "fbank_dir", "teacher", "teacher_store"),
    *("teacher_layer", "final_sinkhorn", "positions"),
    *("num_epochs", "keep_last", "num_threads", "num_workers", "device"),
)


def get_parser() -> ArgumentParser:
    from gmot.data.options import add_data_options

    parser = ArgumentParser(description=__doc__, with_config=True)
    parser.add_argument("--system", default="gm_ot", help="a row of gmot/transfer/systems.py")
    parser.add_argument("--exp-dir", required=True, help="gets checkpoints, log/ and tensorboard/")
    parser.add_argument("--lang-dir", required=True, help="made by stage 4")
    parser.add_argument("--teacher", required=True, help="its tokenizer makes the labels")
    parser.add_argument(
        "--teacher-store", help="made by stage 7; systems that learn from the teacher need it"
    )
    parser.add_argument(
        "--teacher-layer",
        type=layer,
        help="layer that --teacher-store must hold: a number or last; default: any",
    )
    parser.add_argument(
        "--final-sinkhorn",
        type=str2bool,
        metavar="true|false",
        help="end GM-OT's proximal loop with the Sinkhorn of Eq. 7 at beta (docs/readings.md); "
        "default: as the system says",
    )

    group = parser.add_argument_group("training")
    group.add_argument("--num-epochs", type=int, default=130)
    group.add_argument(
        "--init-from",
        metavar="FILE.pt",
        help="start from these weights (acoustic pretraining); relative to the folder above "
        "--exp-dir. A system with an adapter may start from one without",
    )
    group.add_argument(
        "--init-lang-dir",
        metavar="DIR",
        help="the lang folder of --init-from, where its tokens are others: outputs for tokens of "
        "both are taken over",
    )
    group.add_argument(
        "--base-lr", type=float, default=0.001, help="highest learning rate; 0.002 in UOT"
    )
    group.add_argument("--warmup-steps", type=int, default=20000, help="updates")
    group.add_argument("--schedule", choices=("noam", "cosine"), default="noam")
    group.add_argument("--weight-decay", type=float, default=0.0)
    group.add_argument("--clip-norm", type=float, default=5.0, help="of the whole gradient")
    group.add_argument("--keep-last", type=int, default=10, help="checkpoints kept (to average)")
    group.add_argument("--seed", type=int, default=42)
    group.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... or auto")
    group.add_argument("--num-threads", type=int, default=0, help="of torch; 0: all cores")

    group = parser.add_argument_group("model")
    group.add_argument("--d-model", type=int, default=256)
    group.add_argument("--num-heads", type=int, default=4)
    group.add_argument("--ffn-dim", type=int, default=2048)
    group.add_argument("--num-layers", type=int, default=16)
    group.add_argument("--kernel-size", type=int, default=15, help="of the convolution module")
    group.add_argument("--subsampling-channels", type=int, default=256)
    group.add_argument("--dropout", type=float, default=0.1)
    group.add_argument(
        "--positions",
        default="relative",
        help="relative (in the attention; ours) or absolute (added to the input; the papers')",
    )

    add_data_options(parser)
    parser.add_argument("--train-part", default="train", help="the part that is learned from")
    parser.add_argument("--dev-part", default="dev", help="the part that is watched")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from gmot.training.setup import train

    train(args, free=FREE)


if __name__ == "__main__":
    run(main)
