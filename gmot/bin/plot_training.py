"""Draw training curves of several experiments.

One panel per scalar of the TensorBoard event files, one colour per experiment: parts of the loss,
CTC loss and CER on dev, learning rate, gradient norm, or the scalars of --tags. Of more than 120
values, means over intervals are drawn, and their ranges as shades.
"""

from pathlib import Path

from gmot.cli import ArgumentParser, PositiveInt
from gmot.common import GmotError


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--exp-dirs", nargs="+", required=True, help="folders of the experiments")
    parser.add_argument("--output", required=True, metavar="FILE.png", help="file to write")
    parser.add_argument("--tags", nargs="*", help="scalars, such as train/memory_gb")
    parser.add_argument("--columns", type=PositiveInt, default=3, help="panels side by side")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    if Path(args.output).suffix != ".png":
        raise GmotError(f"--output {args.output}: expected a name that ends in .png.")
    import logging

    from gmot.analysis.curves import COMPARED, make_panels
    from gmot.analysis.history import read_histories
    from gmot.analysis.plots import draw_curves
    from gmot.common import atomic_path

    histories = read_histories(args.exp_dirs)
    known = sorted({tag for history in histories for tag in history.scalars})
    unknown = sorted(set(args.tags or []) - set(known))
    if unknown:
        raise GmotError(f"--tags {unknown[0]}: not in the event files; found: {', '.join(known)}.")
    panels = make_panels(histories, args.tags or COMPARED)
    if not panels:
        raise GmotError(f"nothing to draw: no finite values of {', '.join(args.tags or COMPARED)}.")
    figure = draw_curves(panels, args.columns)
    with atomic_path(args.output) as temporary:
        figure.savefig(temporary, dpi=110)
    logging.info("%s: %d panels of %d experiments", args.output, len(panels), len(histories))
