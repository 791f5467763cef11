"""Plots of couplings and of training curves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from gmot.analysis.curves import Panel

# Okabe and Ito's colours, which are told apart with any colour vision. True: on a dark page.
COLOURS = {
    False: ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c"),
    True: ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#f0e442", "#a0a0a0"),
}
INK = {False: "#3a3f47", True: "#c3c8d0"}  # text and axes


def draw_couplings(
    plans: Sequence[Tensor],
    lengths: Sequence[int],
    pieces: Sequence[list[str]],
    titles: Sequence[str] | None = None,
    seconds_per_frame: float = 0.04,
):
    """Couplings, one panel per utterance: frames from left to right, tokens from top to bottom.

    Each token's row is scaled to its maximum, so that long sentences stay visible.

    Args:
      plans: (T, L) per utterance, padded to any size; ``lengths`` are its frames.
      pieces: tokens per utterance, special tokens included.
      titles: one per panel.
      seconds_per_frame: after subsampling.
    Returns:
      A matplotlib figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [0.9 + 0.22 * len(p) for p in pieces]
    figure = Figure(figsize=(8, sum(heights)), constrained_layout=True)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(pieces), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for i, axis in enumerate(axes[:, 0]):
        draw_plan(axis, plans[i][: lengths[i], : len(pieces[i])], seconds_per_frame)
        axis.set_yticks(range(len(pieces[i])))
        axis.set_yticklabels(labels(pieces[i]), fontsize=9, fontfamily=fonts())
        axis.set_xlabel("time (s)", fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        if titles is not None:
            axis.set_title(titles[i], fontsize=9, loc="left")
    return figure


def draw_plan(axis, plan: Tensor, seconds_per_frame: float) -> None:
    """Image of a plan (T, L) without padding."""
    image = plan.detach().float().cpu().numpy().T
    tokens, frames = image.shape
    axis.imshow(
        image / image.max(axis=1, keepdims=True).clip(min=1e-12),
        aspect="auto",
        cmap="viridis",
        interpolation="nearest",
        extent=(0, frames * seconds_per_frame, tokens - 0.5, -0.5),
    )


def fonts() -> list[str]:
    """Installed fonts with Chinese glyphs, then matplotlib's default."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    wanted = (
        "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei",
        "WenQuanYi Micro Hei", "Microsoft YaHei", "SimHei", "PingFang SC", "Arial Unicode MS",
    )  # fmt: skip
    return [name for name in wanted if name in installed] + ["DejaVu Sans"]


def labels(pieces: list[str]) -> list[str]:
    """Tokens, as pinyin without a Chinese font."""
    if len(fonts()) > 1:
        return pieces
    from pypinyin import Style, lazy_pinyin

    return ["".join(lazy_pinyin(p, style=Style.TONE)) or p for p in pieces]


def draw_curves(
    panels: Sequence[Panel],
    columns: int = 1,
    dark: bool = False,
    width: float = 4.4,
    axis: str = "update",
):
    """Training curves, one panel per scalar, one colour per experiment.

    Shades are ranges of the values that a point is the mean of.

    Args:
      columns: panels side by side.
      dark: text and axes for a dark page (the background is left to it).
      width: of a panel, in inches.
      axis: title of the horizontal axes.
    Returns:
      A matplotlib figure; with a legend if there are several experiments.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    legend_rows = -(-len(names) // columns) if len(names) > 1 else 0
    size = (width * columns, 0.6 * width * rows + 0.3 * legend_rows)
    figure = Figure(figsize=size, constrained_layout=True)
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    palette = COLOURS[dark]
    colours = {name: palette[i % len(palette)] for i, name in enumerate(names)}
    for place, panel in zip(axes, panels):
        _draw_panel(place, panel, colours, INK[dark])
        place.set_xlabel(axis, fontsize=8, color=INK[dark])
    for place in axes[len(panels) :]:
        place.remove()
    if legend_rows:
        figure.legend(
            _legend_lines(names, colours),
            names,
            loc="outside upper left",
            ncols=columns,
            frameon=False,
        )
    return figure


def _draw_panel(axis, panel: Panel, colours: dict[str, str], ink: str) -> None:
    from matplotlib import ticker

    for name, line in panel.lines.items():
        few = len(line.updates) <= 30
        style = {"color": colours[name], "linewidth": 1.6, "marker": "o" if few else None}
        axis.plot(line.updates, line.values, markersize=3, **style)
        if (line.low < line.high).any():
            band = {"color": colours[name], "alpha": 0.18, "linewidth": 0}
            axis.fill_between(line.updates, line.low, line.high, **band)
    if panel.logarithmic:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_locator(ticker.NullLocator())
    axis.set_title(panel.title, fontsize=10, loc="left", color=ink)
    axis.tick_params(labelsize=8, colors=ink, which="both")
    axis.grid(color=ink, alpha=0.15, linewidth=0.6)
    axis.set_facecolor("none")
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(ink)


def _legend_lines(names: Sequence[str], colours: dict[str, str]):
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=colours[name], linewidth=2.5) for name in names]


def to_svg(figure) -> bytes:
    """SVG of a figure without background, fonts (text as paths) and date."""
    from matplotlib import rc_context

    file = io.BytesIO()
    with rc_context({"svg.hashsalt": "gmot", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue()
