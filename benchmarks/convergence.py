#!/usr/bin/env python3
"""Distance of the plans in training from the converged plans, for every system and backend.

A row per distinct transport of the recipes' configurations, a column per size (frames x tokens)
and backend; entries are the largest L1 distance, per utterance, between the float32 plan that a
training step computes and the float64 plan of the same utterance with every inner problem solved to
1e-10. Plans have mass 1 (unbalanced: less). Features: independent, speech-like (frames follow
the tokens in order, with noise), and anisotropic (a common direction, as those of BERT). Each batch
is padded: it holds an utterance of the full size and one of half the size.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.rows import ROWS  # noqa: E402
from gmot.cli import ArgumentParser, run  # noqa: E402
from gmot.common import atomic_path  # noqa: E402
from gmot.transfer.config import TransferConfig  # noqa: E402
from gmot.transfer.losses import transport_loss  # noqa: E402

SIZES = ((60, 10), (112, 16), (350, 40), (400, 60))
FEATURES = ("independent", "speech-like", "anisotropic")
DIMENSION = 64
BOUND = 0.01
# What does not change the transport.
_NEUTRAL = {
    "entropy_in_value": False,
    "alignment_tokens": "inner",
    "adapter_scale": 0.0,
    "ctc_weight": 0.0,
    "random_teacher": False,
}


def distinct_solves() -> dict[str, TransferConfig]:
    """Distinct transports by the names of the configurations that share them."""
    groups: dict[TransferConfig, list[str]] = {}
    for name, settings in ROWS.items():
        if settings.objective == "transport":
            groups.setdefault(replace(settings, **_NEUTRAL), []).append(name)
    return {", ".join(names): ROWS[names[0]] for names in groups.values()}


def make_features(kind: str, frames: int, tokens: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(1, T, D) frames and (1, L, D) tokens, float64."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    h, z = normal(frames, DIMENSION), normal(tokens, DIMENSION)
    if kind == "speech-like":
        starts = torch.randperm(frames - 1, generator=generator)[: tokens - 1].sort().values + 1
        h = z[torch.bucketize(torch.arange(frames), starts, right=True)] + 0.5 * h
    elif kind == "anisotropic":
        common = 1.5 * normal(DIMENSION)
        h, z = 0.5 * h + common, z + common
    return h[None], z[None]


def worst_distance(
    settings: TransferConfig,
    frames: int,
    tokens: int,
    backends: Sequence[str],
    features: Sequence[str] = FEATURES,
    device: str = "cpu",
) -> list[float]:
    """Largest L1 distance of a plan in training from its converged plan, per backend."""
    exact = replace(settings, backend="torch", max_inner=5000, tolerance=1e-10)
    if exact.newton_steps:
        exact = replace(exact, newton_steps=200, max_inner=1000)
    worst = [0.0] * len(backends)
    for kind in features:
        h, z = make_features(kind, frames, tokens)
        h_lengths = torch.tensor([frames, frames // 2])
        z_lengths = torch.tensor([tokens, tokens // 2])
        both = h.expand(2, -1, -1), z.expand(2, -1, -1)
        expected = transport_loss(*both, h_lengths, z_lengths, exact).result.plan
        lens = h_lengths.to(device), z_lengths.to(device)
        h, z = (x.to(device).float() for x in both)
        for n, backend in enumerate(backends):
            loss = transport_loss(h, z, *lens, replace(settings, backend=backend))
            distance = (loss.result.plan.cpu().double() - expected).abs().sum((1, 2))
            worst[n] = max(worst[n], distance.max().item())
    return worst


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--backends", nargs="+", default=["torch", "cpu", "geomloss"])
    parser.add_argument("--device", default="cpu", help="of the plan in training")
    parser.add_argument("--output", type=Path, help="Markdown file for the table")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from tqdm import tqdm

    columns = [(size, backend) for size in SIZES for backend in args.backends]
    heads = [f"{frames}x{tokens} {backend}" for (frames, tokens), backend in columns]
    lines = [f"| systems | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
    worst = 0.0
    for names, settings in tqdm(distinct_solves().items(), disable=None):
        row = []
        for size in SIZES:
            row += worst_distance(settings, *size, args.backends, device=args.device)
        worst = max(worst, *row)
        lines.append(f"| {names} | {' | '.join(f'{x:.4f}' for x in row)} |")
    lines.append(f"\nLargest: {worst:.4f} (bound {BOUND}).")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.output:
        with atomic_path(args.output) as path:
            path.write_text(text, encoding="utf-8")
    if worst > BOUND:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
