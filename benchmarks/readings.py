#!/usr/bin/env python3
"""What the two readings of GM-OT's solver do to the plan, in Markdown (docs/readings.md).

Frames follow the tokens in order, with noise, as in the speech-like problems of problems.py: 112
frames and 16 tokens of 256 dimensions. For each row of GM-OT's Table 2 with proximal steps: the
plan of the last step, and the plan of a last Sinkhorn at beta.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
from benchmarks.rows import load_row  # noqa: E402
from gmot.cli import ArgumentParser, run  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--utterances", type=int, default=32, help="figures are means over them")
    parser.add_argument("--frames", type=int, default=112)
    parser.add_argument("--tokens", type=int, default=16)
    return parser


def figures(row: str, final_sinkhorn: bool, size: tuple[int, int, int]) -> tuple[float, ...]:
    """Diffuseness, distance to the diagonal, L_align (Eq. 16) and L_FGWD (Eq. 12): means."""
    import torch
    from problems import make_problem

    from gmot.analysis.plan_measures import measure_plan
    from gmot.transfer.losses import transport_loss

    problem = make_problem(size, "speech-like", epsilon=1.0)
    h, z = torch.from_numpy(problem.x).double(), torch.from_numpy(problem.y).double()
    lens = torch.full((size[0],), size[1]), torch.full((size[0],), size[2])
    settings = load_row(row, final_sinkhorn=final_sinkhorn)
    loss = transport_loss(h, z, *lens, settings)
    measures = measure_plan(loss.result.plan)
    found = (measures.diffuseness, measures.diagonal, loss.alignment, loss.transport)
    return tuple(float(value.mean()) for value in found)


def main() -> None:
    args = get_parser().parse_args()
    size = (args.utterances, args.frames, args.tokens)
    print("| row | plan of | diffuseness | distance to the diagonal | L_align | L_FGWD |")
    print("|---|---|---|---|---|---|")
    for number in range(2, 9):
        for final_sinkhorn in (False, True):
            name = "a last Sinkhorn at beta" if final_sinkhorn else "the last proximal step"
            cells = figures(f"gm_ot_setting{number}", final_sinkhorn, size)
            print(f"| setting {number} | {name} |", " | ".join(f"{x:.3f}" for x in cells), "|")


if __name__ == "__main__":
    run(main)
