#!/usr/bin/env python3
"""Speed of training: steps of each system, a profile of a step, and peers of the same size.

Needs no corpus (benchmarks/steps.py). Prints tables and, with --output FILE.md, puts them between
the marks of the file. Peers, in the same run on the same batches: the encoder of
``transformers``' Wav2Vec2Conformer behind our subsampling and CTC head, and with --wenet PATH (a
checkout of https://github.com/wenet-e2e/wenet) its Conformer-CTC. Ratios are of the least times
of interleaved rounds.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.pages import command_line, replace_section, table  # noqa: E402
from gmot.cli import ArgumentParser, run  # noqa: E402

SIZES = ("tiny", "small", "paper")


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=["small", "paper"], choices=SIZES)
    parser.add_argument("--systems", nargs="+", type=str, help="default: ctc and the transfers")
    parser.add_argument("--parts", nargs="+", default=["systems", "profile", "peers"])
    parser.add_argument("--batches", type=int, default=4, help="of short to long utterances")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of each batch")
    parser.add_argument("--warm-up", type=int, default=2, help="steps of each before")
    parser.add_argument("--seconds", type=float, help="of speech per batch, instead of the size's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--wenet", help="checkout of wenet")
    parser.add_argument("--output", help="page whose section of the same heading is replaced")
    return parser


def systems(size: Any, batches: list[Any], args: Any, device: Any) -> list[str]:
    """Updates of the systems (forward, backward, clipping, Adam), relative to the first."""
    from benchmarks import steps

    names = args.systems or list(steps.SYSTEMS)
    calls = {}
    for name in names:
        updater = steps.make_updater(size, name, device)
        calls[name] = lambda batch, updater=updater: steps.update(updater, batch)
    for batch in batches[:: max(1, len(batches) // args.warm_up)]:
        for call in calls.values():
            call(batch)
    found = steps.interleaved(calls, batches, args.rounds, steps.clock(device))
    speech = sum(sum(batch.durations) for batch in batches) / len(batches)
    first = found[names[0]]
    rows = [
        [name, f"{1e3 * s:.0f}", f"{1 / s:.2f}", f"{speech / s:.0f}", f"{s / first:.2f}"]
        for name, s in found.items()
    ]
    return table(f"system|ms per step|steps/s|s of speech per s|against {names[0]}", rows)


def main() -> None:
    args = get_parser().parse_args()
    from benchmarks import peers, profiles, steps
    from gmot.provenance import environment
    from gmot.training.setup import prepare_process

    device = prepare_process(args.device, args.threads, seed=0)
    facts = environment()
    sizes = " and ".join(args.sizes)
    heading = (
        f"## Steps of {sizes} on {args.device}, {args.threads} thread{'s' * (args.threads > 1)}"
    )
    lines = [heading, ""]
    lines += [
        f"torch {facts['torch']}, commit {facts['commit']}; `{command_line()}`. Least of "
        f"{args.rounds} interleaved rounds, mean of {args.batches} batches. Seconds on a CPU are "
        "those of the process, without what other processes took."
    ]
    for name in args.sizes:
        size = steps.load_size(name, args.seconds)
        batches = steps.make_batches(size, args.batches)
        shapes = ", ".join(f"{len(b)} x {b.features.size(1)}" for b in batches)
        lines += ["", f"### {name}", "", f"Batches (utterances x frames): {shapes}.", ""]
        if "systems" in args.parts:
            lines += [*systems(size, batches, args, device), ""]
        if "profile" in args.parts:
            lines += [*table(*profiles.profile(size, batches, args.rounds, device)), ""]
        if "peers" in args.parts:
            lines += table(*peers.compare(size, batches, args.rounds, device, args.wenet))
        print("\n".join(lines), flush=True)
    if args.output:
        replace_section(Path(args.output), heading, lines)


if __name__ == "__main__":
    run(main)
