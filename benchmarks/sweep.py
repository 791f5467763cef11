"""Couplings under other parameters, with measures: Figure 3 of GM-OT (arXiv 2505.13079)."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gmot.analysis.couplings import TrainedTransport, Utterance
from gmot.analysis.plan_measures import PlanMeasures, measure_plan, rank_correlation
from gmot.common import GmotError
from gmot.transfer.config import TransferConfig
from gmot.transfer.losses import transport_loss


class Design(NamedTuple):
    """What a row varies.

    Attributes:
      parameter: that is varied.
      held: others that the row says.
      node_temperature: beta goes down with the weight of the nodes, as beta (1 - alpha): their
        cost keeps its strength against the entropy, and edges alone are added.
    """

    parameter: str
    held: dict[str, float]
    node_temperature: bool = False


# The three rows of GM-OT's Fig. 3. rho = 0 in the first is ours (the paper does not say), as is
# what no row names: it is the experiment's. So is the fourth: in the first a larger alpha also
# weakens the nodes (Eq. 12), which by itself makes a plan more diffuse.
ROWS = (
    Design("alpha", {"rho": 0.0}),
    Design("rho", {"alpha": 0.1}),
    Design("beta", {"alpha": 0.1, "rho": 0.5}),
    Design("alpha", {"rho": 0.0}, node_temperature=True),
)

# What the paper's text says of it: the words, and measures with the sign of their change.
CLAIMS: dict[str, tuple[str, tuple[tuple[str, int], ...]]] = {
    "alpha": ("a more even segmentation", (("evenness", 1), ("variation", -1))),
    "rho": ("nearer to the diagonal, monotone", (("diagonal", -1), ("backward", -1))),
    "beta": ("a more diffuse coupling", (("entropy", 1),)),
}
CLEAR = 0.5  # a mean rank correlation that is an effect

# The stationary point of the entropic objective that training descends.
CONVERGED = {
    "method": "projected_gradient",
    "final_sinkhorn": False,
    "max_outer": 2000,
    "max_inner": 1000,
    "tolerance": 1e-5,
}


class Panel(NamedTuple):
    """Attributes:
    value: of the parameter that is varied.
    measures: of each utterance, (N,).
    marginal_error: the largest of them, L1.
    plan: (T, L) of the utterance that is drawn.
    """

    value: float
    measures: PlanMeasures
    marginal_error: float
    plan: Tensor


class Row(NamedTuple):
    """Attributes:
    design: what is varied.
    settings: what is held; of the parameter itself it says nothing.
    panels: by value, ascending.
    """

    design: Design
    settings: TransferConfig
    panels: list[Panel]


def check_grid(parameter: str, values: Sequence[float]) -> list[float]:
    """The values of a row, ascending.

    Raises:
      GmotError: out of range, or fewer than two.
    """
    expected = {"alpha": "from 0 to 1", "rho": "of 0 or more", "beta": "above 0"}[parameter]
    for value in values:
        low = value > 0 if parameter == "beta" else value >= 0
        if not (low and math.isfinite(value)) or (parameter == "alpha" and value > 1):
            raise GmotError(f"--{parameter}s: expected numbers {expected}, found {value:g}.")
    if len(set(values)) < 2:
        raise GmotError(f"--{parameter}s: expected two different values or more, found {values}.")
    return sorted(set(values))


def choose_utterances(trained: TrainedTransport, drawn: str | None, count: int) -> list[str]:
    """The utterance to draw, and others of all lengths to measure.

    Args:
      trained: the experiment with its split.
      drawn: None: the one of middle length.
      count: how many in all, if the split has them.

    Raises:
      GmotError: ``drawn`` is not in the split.
    """
    drawn = trained.ids[len(trained.ids) // 2] if drawn is None else drawn
    trained.check_ids([drawn])
    others = [name for name in trained.ids if name != drawn]
    count = min(count - 1, len(others))
    return [drawn] + [others[(2 * k + 1) * len(others) // (2 * count)] for k in range(count)]


@torch.no_grad()
def sweep(
    settings: TransferConfig,
    utterances: Sequence[Utterance],
    grids: dict[str, Sequence[float]],
    converged: bool = False,
) -> list[Row]:
    """The rows of GM-OT's Fig. 3: the transport of some utterances under other parameters.

    Args:
      settings: of the experiment, for the solver and for what a row does not say.
      utterances: all are measured, the first is drawn.
      grids: values of "alpha", "rho" and "beta".
      converged: with ``CONVERGED`` in place of the experiment's own solver settings.

    Raises:
      GmotError: the experiment has no edges in its transport, or a value is out of range.
    """
    grids = {parameter: check_grid(parameter, values) for parameter, values in grids.items()}
    if settings.max_outer == 1:
        raise GmotError(
            "the transport of this training has no edges whose weight could vary (max_outer 1). "
            "Use an experiment with edges, such as gm_ot."
        )
    h = pad_sequence([u.h for u in utterances], batch_first=True)
    z = pad_sequence([u.z for u in utterances], batch_first=True)
    lens = (
        torch.tensor([len(u.h) for u in utterances]),
        torch.tensor([len(u.z) for u in utterances]),
    )
    base = replace(settings, positional=settings.positional or "gm_ot")
    if converged:
        base = replace(base, **CONVERGED)
    rows = []
    for design in ROWS:
        values, panels = grids[design.parameter], []
        if design.node_temperature:
            values = [value for value in values if value < 1]  # without nodes there is none
            if len(values) < 2:
                continue
        for value in values:
            asked = replace(base, **{**design.held, design.parameter: value})
            if design.node_temperature:
                asked = replace(asked, beta=asked.beta * (1 - asked.alpha))
            result = transport_loss(h, z, *lens, asked).result
            panels.append(
                Panel(
                    value,
                    measure_plan(result.plan, *lens),
                    float(result.marginal_error.max()),
                    result.plan[0, : lens[0][0], : lens[1][0]],
                )
            )
        rows.append(Row(design, replace(base, **design.held), panels))
    return rows


def describe_row(row: Row) -> str:
    """What is varied and held in a row, in words."""
    varied = row.design.parameter
    held = [
        f"{name} = {getattr(row.settings, name):g}"
        for name in ("alpha", "rho", "beta")
        if name != varied
    ]
    ours = " (1 - alpha): nodes keep their strength" if row.design.node_temperature else ""
    return f"{varied} varied; {', '.join(held)}{ours}"


def verdicts(row: Row) -> list[str]:
    """Does what the paper's text says of a row hold? A line for all of it, and one a measure."""
    parameter = row.design.parameter
    claim, expected = CLAIMS[parameter]
    values = torch.tensor([panel.value for panel in row.panels], dtype=torch.float64)
    words = {1: "holds", 0: "no clear effect", -1: "opposite"}
    found, lines = [], []
    for name, sign in expected:
        series = torch.stack([getattr(panel.measures, name) for panel in row.panels])  # (K, N)
        each = rank_correlation(values, series)
        mean, ends = float(each.mean()), series.mean(1)
        found.append(1 if sign * mean >= CLEAR else -1 if sign * mean <= -CLEAR else 0)
        lines.append(
            f"{name}: expected to {'rise' if sign > 0 else 'fall'}; mean rank correlation "
            f"{mean:+.2f}, {int((sign * each > 0).sum())} of {len(each)} utterances with the "
            f"expected sign; {float(ends[0]):.3f} at the smallest {parameter}, "
            f"{float(ends[-1]):.3f} at the largest: {words[found[-1]]}"
        )
    if min(found) == 1:
        word = "holds"
    elif -1 in found:
        word = "CONTRADICTED" if max(found) < 1 else "MIXED"
    else:
        word = "NOT SEEN" if max(found) < 1 else "holds in part"
    return [f"larger {parameter}, {claim}: {word}", *lines]


def sweep_report(trained: TrainedTransport, drawn: str, rows: Sequence[Row], picture: str) -> str:
    """Means over the utterances and the verdicts, as Markdown.

    Args:
      trained: the experiment.
      drawn: id of the utterance in the picture.
      rows: of :func:`sweep`.
      picture: its file, beside the report.
    """
    solver, epoch, avg = rows[0].settings, trained.config["epoch"], trained.config["avg"]
    count = len(rows[0].panels[0].measures.entropy)
    parts = [
        "# Couplings under other parameters (GM-OT, Fig. 3)",
        f"![Couplings of {drawn}]({picture})",
        f"Written by `benchmarks/figure3.py`. Experiment {trained.name}, epochs "
        f"{epoch - avg + 1} to {epoch}; split {trained.split}: means over {count} "
        f"utterances of all lengths, the picture shows {drawn}. The encoder was trained with this "
        "transport; that of the paper's study was trained with CTC and held. "
        f"Solver: {solver.method}, at most {solver.max_outer} steps of {solver.max_inner} Sinkhorn "
        f"iterations, tolerance {solver.tolerance:g}"
        f"{', then a Sinkhorn at beta' if solver.final_sinkhorn else ''}. rho = 0 where alpha is "
        "varied is ours; beta is the experiment's where it is not varied. A larger alpha adds "
        "edges and takes weight from the nodes; where beta falls as (1 - alpha), it adds edges "
        "only: that part is no row of the paper.",
        "evenness: entropy of the tokens' frames (of the argmax) by its maximum; variation: "
        "coefficient of variation of their number; backward: share of steps to an earlier token; "
        "diagonal: mean distance to it; entropy of the plan in nats; diffuseness: the same by its "
        "maximum (`gmot/analysis/plan_measures.py`); marginal error: L1, the largest. "
        f"A measure holds if the rank correlation with the parameter, averaged over utterances, "
        f"is {CLEAR} or more in the expected direction, and is opposite at {-CLEAR} or less.",
    ]
    for row in rows:
        header = [row.design.parameter, *PlanMeasures._fields, "marginal error"]
        lines = [header, []]
        for panel in row.panels:
            means = [f"{float(measure.mean()):.3f}" for measure in panel.measures]
            lines.append([f"{panel.value:g}", *means, f"{panel.marginal_error:.1e}"])
        widths = [max(map(len, column)) for column in zip(header, *lines[2:])]
        lines[1] = ["-" * width for width in widths]
        table = "\n".join(
            f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths))} |"
            for line in lines
        )
        first, *others = verdicts(row)
        bullets = "\n".join(f"- {line}" for line in others)
        parts += [f"## {describe_row(row)}", table, f"**{first}.**", bullets]
    return "\n\n".join(parts) + "\n"
