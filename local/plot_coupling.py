#!/usr/bin/env python3
"""Draw the couplings of a trained system: which frames its transport ties to which tokens."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, run  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--exp-dir", required=True, help="of a system with transfer")
    parser.add_argument("--epoch", type=int, help="the last to use; default: the last there is")
    parser.add_argument("--avg", type=int, default=1, help="epochs to average, ending at --epoch")
    parser.add_argument("--fbank-dir", required=True)
    parser.add_argument("--prefix", required=True, help="name of the manifests")
    parser.add_argument("--part", default="dev")
    parser.add_argument("--utterances", nargs="*", help="ids; default: the two longest of the part")
    parser.add_argument("--teacher", required=True, help="folder or hub name of the teacher")
    parser.add_argument("--teacher-layer", type=int, help="as in stage 7")
    parser.add_argument("--random-weights", action="store_true", help="as in stage 7")
    parser.add_argument("--output", required=True, metavar="FILE.png")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from gmot.common import atomic_path
    from gmot.plots import draw_couplings
    from gmot.training.couplings import couplings

    found = couplings(
        exp_dir=args.exp_dir,
        epoch=args.epoch,
        avg=args.avg,
        fbank_dir=args.fbank_dir,
        prefix=args.prefix,
        part=args.part,
        ids=args.utterances,
        teacher=args.teacher,
        layer=args.teacher_layer,
        random_weights=args.random_weights,
    )
    figure = draw_couplings(
        [c.plan for c in found],
        [len(c.plan) for c in found],
        [c.pieces for c in found],
        [f"{c.id}: node {c.node:.3f}, edge {c.edge:.3f}" for c in found],
    )
    with atomic_path(args.output) as temporary:
        figure.savefig(temporary, dpi=110)
    logging.info("%s: %d couplings", args.output, len(found))


if __name__ == "__main__":
    run(main)
