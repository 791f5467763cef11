"""Average the last epochs of a training into one checkpoint.

The same average that decoding makes by --avg, to initialize another training (train.py
--init-from) or to keep when the epochs are deleted.
"""

from gmot.bin._options import add_options, make_parser
from gmot.cli import ArgumentParser


def get_parser() -> ArgumentParser:
    parser = make_parser(__doc__, "--exp-dir", "--epoch", "--average")
    add_options(parser, "--avg", default=10)
    parser.add_argument("--output", required=True, metavar="FILE.pt", help="checkpoint to write")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from gmot.model.checkpoint import load_for_decoding, save_checkpoint

    model, config = load_for_decoding(args.exp_dir, args.epoch, args.avg, average=args.average)
    save_checkpoint(args.output, {"model": model.state_dict(), "config": config})
