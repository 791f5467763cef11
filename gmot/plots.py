"""Pictures of couplings (the only module that imports matplotlib)."""

from typing import List, Optional, Sequence

from torch import Tensor


def draw_couplings(
    plans: Sequence[Tensor],
    lens: Sequence[int],
    pieces: Sequence[List[str]],
    titles: Optional[Sequence[str]] = None,
    seconds_per_frame: float = 0.04,
):
    """One panel an utterance: frames from left to right, tokens from top to bottom.

    Each token's row is scaled to its own maximum: rows of a long sentence stay visible.

    Args:
      plans: each (T, L), padded.
      lens: frames of each.
      pieces: tokens of each, special tokens included.
      titles: above each panel.
      seconds_per_frame: after subsampling.
    Returns:
      A matplotlib figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [0.9 + 0.22 * len(p) for p in pieces]
    figure = Figure(figsize=(8, sum(heights)), constrained_layout=True)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(pieces), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[
        :, 0
    ]
    for i, axis in enumerate(axes):
        _image(axis, plans[i][: lens[i], : len(pieces[i])], seconds_per_frame)
        axis.set_yticks(range(len(pieces[i])))
        axis.set_yticklabels(_labels(pieces[i]), fontsize=9, fontfamily=_fonts())
        axis.set_xlabel("time (s)", fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        if titles is not None:
            axis.set_title(titles[i], fontsize=9, loc="left")
    return figure


def draw_sweep(
    rows: Sequence[Sequence[Tensor]],
    pieces: List[str],
    row_titles: Sequence[str],
    titles: Sequence[Sequence[str]],
    seconds_per_frame: float = 0.04,
):
    """One utterance under several parameters: a row a parameter, a panel a value.

    Each token's row is scaled to its own maximum, as in :func:`draw_couplings`.

    Args:
      rows: of each parameter the plans, (T, L) all; rows may differ in their number.
      pieces: the L tokens.
      row_titles: above each row.
      titles: above each panel.
      seconds_per_frame: after subsampling.
    Returns:
      A matplotlib figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns, height = max(map(len, rows)), 1.0 + 0.17 * len(pieces)
    figure = Figure(figsize=(0.8 + 1.9 * columns, height * len(rows)), constrained_layout=True)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), columns, squeeze=False, sharex=True, sharey=True)
    for r, plans in enumerate(rows):
        for axis in axes[r, len(plans) :]:
            axis.set_axis_off()
        for c, plan in enumerate(plans):
            _image(axes[r, c], plan, seconds_per_frame)
            axes[r, c].set_title(f"\n\n{titles[r][c]}", fontsize=9, loc="left")
            axes[r, c].tick_params(labelsize=8)
        heading = axes[r, 0].annotate(
            row_titles[r], (0, 1), (0, 26), "axes fraction", "offset points", fontsize=10
        )
        heading.set_in_layout(False)  # it may be wider than its panel
        axes[r, 0].set_yticks(range(len(pieces)))
        axes[r, 0].set_yticklabels(_labels(pieces), fontsize=8, fontfamily=_fonts())
    for axis in axes[-1]:
        axis.set_xlabel("time (s)", fontsize=8)
    return figure


def _image(axis, plan: Tensor, seconds_per_frame: float) -> None:
    """A plan (T, L) without its padding."""
    image = plan.detach().float().cpu().numpy().T
    tokens, frames = image.shape
    axis.imshow(
        image / image.max(axis=1, keepdims=True).clip(min=1e-12),
        aspect="auto",
        cmap="viridis",
        interpolation="nearest",
        extent=(0, frames * seconds_per_frame, tokens - 0.5, -0.5),
    )


def _fonts() -> List[str]:
    """Installed fonts that can draw Chinese, then matplotlib's own."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    wanted = (
        "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei",
        "WenQuanYi Micro Hei", "Microsoft YaHei", "SimHei", "PingFang SC", "Arial Unicode MS",
    )  # fmt: skip
    return [name for name in wanted if name in installed] + ["DejaVu Sans"]


def _labels(pieces: List[str]) -> List[str]:
    """The tokens, in pinyin where no font can draw them."""
    if len(_fonts()) > 1:
        return pieces
    from pypinyin import Style, lazy_pinyin

    return ["".join(lazy_pinyin(p, style=Style.TONE)) or p for p in pieces]
