"""Plots of couplings."""

from collections.abc import Sequence

from torch import Tensor


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
