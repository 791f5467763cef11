"""Average the last epochs of a training into one checkpoint.

The same average that decoding makes by --avg, to initialize another training (train.py
--init-from) or to keep when the epochs are deleted.
"""

from gmot.cli import ArgumentParser, PositiveInt


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--exp-dir", required=True, help="folder of the experiment")
    parser.add_argument(
        "--epoch", type=PositiveInt, help="last epoch to use, from 1; default: the last"
    )
    parser.add_argument(
        "--avg", type=PositiveInt, default=10, help="epochs to average, --epoch included"
    )
    parser.add_argument("--output", required=True, metavar="FILE.pt", help="checkpoint to write")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from gmot.model.checkpoint import load_for_decoding, save_checkpoint

    model, config = load_for_decoding(args.exp_dir, args.epoch, args.avg)
    save_checkpoint(args.output, {"model": model.state_dict(), "config": config})
