#!/usr/bin/env python3
"""Draw the couplings of a trained system: which frames its transport ties to which tokens.

With --sweep, Fig. 3 of the GM-OT paper: one utterance under other weights of the edges (alpha), of
the positional cost (rho) and of the entropy (beta), and a fourth row of ours. Beside the picture a
FILE.md tells numbers of several utterances, and whether they bear out what the paper says.

A system without transfer will not do: it has no FC2 that brings frames into the teacher's space.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, layer, number, run  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--exp-dir", required=True, help="of a system with transfer")
    parser.add_argument(
        "--epoch", type=number(int, 1), help="the last to use; default: the last there is"
    )
    parser.add_argument(
        "--avg", type=number(int, 1), default=1, help="epochs to average, ending at --epoch"
    )
    parser.add_argument("--fbank-dir", required=True)
    parser.add_argument("--prefix", required=True, help="name of the manifests")
    parser.add_argument("--part", default="dev")
    parser.add_argument(
        "--utterances",
        nargs="*",
        help="ids; default: the two longest of the part, with --sweep (which draws one) that of "
        "middle length",
    )
    parser.add_argument("--teacher", required=True, help="folder or hub name of the teacher")
    parser.add_argument("--teacher-layer", type=layer, help="default: that of the training")
    parser.add_argument("--random-weights", action="store_true", help="as in stage 7")
    parser.add_argument("--output", required=True, metavar="FILE.png")
    parser.add_argument("--sweep", action="store_true", help="draw Fig. 3 of the GM-OT paper")
    group = parser.add_argument_group("with --sweep")
    group.add_argument("--alphas", nargs="+", type=float, default=[0, 0.02, 0.1, 0.3, 0.6, 1])
    group.add_argument("--rhos", nargs="+", type=float, default=[0, 0.1, 0.3, 0.5, 1, 3])
    group.add_argument("--betas", nargs="+", type=float, default=[0.05, 0.1, 0.3, 0.5, 1, 3])
    group.add_argument(
        "--sweep-utterances", type=number(int, 1), default=20, help="numbers are means over so many"
    )
    group.add_argument(
        "--converged",
        action="store_true",
        help="projected gradient until nothing changes, in place of the system's own steps",
    )
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from gmot.common import GmotError
    from gmot.training.couplings import TrainedTransport
    from gmot.training.sweep import check_grid

    if Path(args.output).suffix != ".png":
        raise GmotError(f"--output {args.output}: expected a name that ends in .png.")
    if args.sweep:
        for parameter in ("alpha", "rho", "beta"):
            check_grid(parameter, getattr(args, f"{parameter}s"))
        if args.utterances is not None and len(args.utterances) != 1:
            raise GmotError(f"--utterances {args.utterances}: --sweep draws one, give one.")
        if args.sweep_utterances < 1:
            raise GmotError(f"--sweep-utterances {args.sweep_utterances}: expected 1 or more.")
    trained = TrainedTransport(
        exp_dir=args.exp_dir,
        epoch=args.epoch,
        avg=args.avg,
        fbank_dir=args.fbank_dir,
        prefix=args.prefix,
        part=args.part,
        teacher=args.teacher,
        layer=args.teacher_layer,
        random_weights=args.random_weights,
    )
    if args.sweep:
        draw_figure3(args, trained)
    else:
        draw(args, trained)


def draw(args, trained) -> None:
    import logging

    from gmot.common import atomic_path
    from gmot.plots import draw_couplings
    from gmot.training.couplings import couplings

    found = couplings(trained, args.utterances)
    figure = draw_couplings(
        [c.plan for c in found],
        [len(c.plan) for c in found],
        [c.pieces for c in found],
        [f"{c.id}: node {c.node:.3f}, edge {c.edge:.3f}" for c in found],
    )
    with atomic_path(args.output) as temporary:
        figure.savefig(temporary, dpi=110)
    logging.info("%s: %d couplings", args.output, len(found))


def draw_figure3(args, trained) -> None:
    from gmot.common import atomic_path
    from gmot.plots import draw_sweep
    from gmot.training.sweep import choose_utterances, describe_row, sweep, sweep_report

    drawn = args.utterances[0] if args.utterances else None
    chosen = choose_utterances(trained, drawn, args.sweep_utterances)
    utterances = trained.utterances(chosen)
    grids = {"alpha": args.alphas, "rho": args.rhos, "beta": args.betas}
    rows = sweep(trained.settings, utterances, grids, args.converged)
    figure = draw_sweep(
        [[panel.plan for panel in row.panels] for row in rows],
        utterances[0].pieces,
        [describe_row(row) for row in rows],
        [[f"{row.design.parameter} = {panel.value:g}" for panel in row.panels] for row in rows],
    )
    report = sweep_report(trained, utterances[0].id, rows, Path(args.output).name)
    with atomic_path(args.output) as temporary:
        figure.savefig(temporary, dpi=110)
    with atomic_path(Path(args.output).with_suffix(".md")) as temporary:
        temporary.write_text(report, encoding="utf-8")
    print(report)


if __name__ == "__main__":
    run(main)
