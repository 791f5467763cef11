"""Draw couplings of a trained model: frames to tokens.

The training needs a transport; a model of CTC alone has no adapter into the teacher's space.
Figure 3 of the GM-OT paper: benchmarks/figure3.py.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gmot.bin._options import add_options
from gmot.cli import ArgumentParser, Layer
from gmot.common import GmotError

if TYPE_CHECKING:
    from gmot.analysis.couplings import TrainedTransport


def add_model_options(parser: ArgumentParser) -> None:
    """Options of a trained model, its data and its teacher, and ``--output``."""
    data = ("--lang-dir", "--fbank-dir", "--prefix")
    add_options(parser, "--exp-dir", "--epoch", "--avg", *data)
    add_options(parser, "--teacher", required=True)
    parser.add_argument("--split", default="dev", help="split of the utterances")
    parser.add_argument("--teacher-layer", type=Layer, help="default: that of the training")
    parser.add_argument("--random-weights", action="store_true", help="as in stage 7")
    parser.add_argument("--output", required=True, metavar="FILE.png")


def load_model(args: argparse.Namespace) -> "TrainedTransport":
    """The model of :func:`add_model_options`.

    Raises:
      GmotError: wrong options, or as :class:`TrainedTransport`.
    """
    from gmot.analysis.couplings import TrainedTransport

    if Path(args.output).suffix != ".png":
        raise GmotError(f"--output {args.output}: expected a name that ends in .png.")
    return TrainedTransport(args)


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    add_model_options(parser)
    parser.add_argument("--utterances", nargs="*", help="ids; default: the two longest")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from gmot.analysis.couplings import couplings
    from gmot.analysis.plots import draw_couplings
    from gmot.common import atomic_path

    found = couplings(load_model(args), args.utterances)
    figure = draw_couplings(
        [c.plan for c in found],
        [len(c.plan) for c in found],
        [c.pieces for c in found],
        [f"{c.id}: node {c.node:.3f}, edge {c.edge:.3f}" for c in found],
    )
    with atomic_path(args.output) as temporary:
        figure.savefig(temporary, dpi=110)
    logging.info("%s: %d couplings", args.output, len(found))
