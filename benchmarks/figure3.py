#!/usr/bin/env python3
"""Figure 3 of GM-OT (arXiv 2505.13079) with a trained model: a figure and a report with numbers.

One utterance under other edge weights (alpha), positional costs (rho) and entropies (beta), and a
fourth row of ours. FILE.md beside FILE.png reports measures of several utterances and whether they
support the paper's text (docs/figure3.md).
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from gmot.bin.plot_coupling import add_model_options, load_model  # noqa: E402
from gmot.cli import ArgumentParser, PositiveInt, run  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    add_model_options(parser)
    parser.add_argument("--utterance", help="id of the drawn one; default: that of median length")
    parser.add_argument("--alphas", nargs="+", type=float, default=[0, 0.02, 0.1, 0.3, 0.6, 1])
    parser.add_argument("--rhos", nargs="+", type=float, default=[0, 0.1, 0.3, 0.5, 1, 3])
    parser.add_argument("--betas", nargs="+", type=float, default=[0.05, 0.1, 0.3, 0.5, 1, 3])
    parser.add_argument(
        "--num-utterances", type=PositiveInt, default=20, help="utterances of the means"
    )
    parser.add_argument(
        "--converged",
        action="store_true",
        help="projected gradient to convergence, in place of the steps of the training",
    )
    return parser


def draw_sweep(
    rows: Sequence[Sequence[Any]],
    pieces: list[str],
    row_titles: Sequence[str],
    titles: Sequence[Sequence[str]],
    seconds_per_frame: float = 0.04,
):
    """Couplings of one utterance: one row per parameter, one panel per value.

    Each token's row is scaled to its maximum, as in :func:`draw_couplings`.

    Args:
      rows: plans (T, L) per parameter; the number of values may differ.
      pieces: the L tokens.
      row_titles: one per row.
      titles: one per panel.
      seconds_per_frame: after subsampling.
    Returns:
      A matplotlib figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from gmot.analysis.plots import draw_plan, fonts, labels

    columns, height = max(map(len, rows)), 1.0 + 0.17 * len(pieces)
    figure = Figure(figsize=(0.8 + 1.9 * columns, height * len(rows)), constrained_layout=True)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), columns, squeeze=False, sharex=True, sharey=True)
    for r, plans in enumerate(rows):
        for axis in axes[r, len(plans) :]:
            axis.set_axis_off()
        for c, plan in enumerate(plans):
            draw_plan(axes[r, c], plan, seconds_per_frame)
            axes[r, c].set_title(f"\n\n{titles[r][c]}", fontsize=9, loc="left")
            axes[r, c].tick_params(labelsize=8)
        heading = axes[r, 0].annotate(
            row_titles[r], (0, 1), (0, 26), "axes fraction", "offset points", fontsize=10
        )
        heading.set_in_layout(False)  # may be wider than its panel
        axes[r, 0].set_yticks(range(len(pieces)))
        axes[r, 0].set_yticklabels(labels(pieces), fontsize=8, fontfamily=fonts())
    for axis in axes[-1]:
        axis.set_xlabel("time (s)", fontsize=8)
    return figure


def main() -> None:
    args = get_parser().parse_args()
    from benchmarks.sweep import check_grid, choose_utterances, describe_row, sweep, sweep_report
    from gmot.common import atomic_path

    grids = {"alpha": args.alphas, "rho": args.rhos, "beta": args.betas}
    for parameter, values in grids.items():
        check_grid(parameter, values)
    trained = load_model(args)
    utterances = trained.utterances(choose_utterances(trained, args.utterance, args.num_utterances))
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
