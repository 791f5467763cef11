#!/usr/bin/env python3
"""Write the mean of a training's last epochs as one checkpoint.

What decoding averages by --avg, as a file: to start another training from
(local/train.py --init-from), or to keep when the epochs are deleted.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, number, run  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--exp-dir", required=True, help="folder of one system")
    parser.add_argument(
        "--epoch", type=number(int, 1), help="last epoch to use, from 1; default: the last"
    )
    parser.add_argument(
        "--avg", type=number(int, 1), default=10, help="epochs to average, --epoch included"
    )
    parser.add_argument("--output", required=True, metavar="FILE.pt", help="to write")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from gmot.training.checkpoint import load_for_decoding, save_checkpoint

    model, config = load_for_decoding(args.exp_dir, args.epoch, args.avg)
    save_checkpoint(args.output, {"model": model.state_dict(), "config": config})


if __name__ == "__main__":
    run(main)
