#!/usr/bin/env python3
"""What a training step of each system costs beside one of CTC alone, on a recipe's own data.

All systems train on the same batches in turn, in one process, so that whatever else the machine
does hits all alike; the figure is the sum over the batches of each one's least time, as a ratio.
Options that are not of this script are those of local/train.py.
"""

import runpy
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from gmot.cli import ArgumentParser, run  # noqa: E402

SYSTEMS = (
    *("ctc", "cma_ot", "hcm", "hcm_last", "tot", "uot", "gm_ot"),
    *("gm_ot_no_edges", "gm_ot_no_order", "gm_ot_temporal"),
)


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--systems", nargs="+", default=SYSTEMS, help="the first is the measure")
    parser.add_argument("--batches", type=int, default=12, help="evenly from an epoch")
    parser.add_argument("--rounds", type=int, default=3, help="each batch so many times")
    return parser


def main() -> None:
    args, others = get_parser().parse_known_args()
    from tqdm import tqdm

    from gmot.training.setup import make_trainer

    script = runpy.run_path(str(ROOT / "local" / "train.py"))
    with tempfile.TemporaryDirectory() as folder:
        trainers = {}
        for system in args.systems:
            options = [*others, "--system", system, "--exp-dir", f"{folder}/{system}"]
            trainers[system] = make_trainer(script["get_parser"]().parse_args(options), ())
            trainers[system].model.train()
        batches = list(trainers[args.systems[0]].train_loader)
        batches = batches[:: max(1, len(batches) // args.batches)]
        least = {system: [float("inf")] * len(batches) for system in args.systems}
        for _ in tqdm(range(args.rounds), desc="rounds", disable=None):
            for number, batch in enumerate(batches):
                for system, trainer in trainers.items():
                    started = time.perf_counter()
                    trainer._update(batch, 0.0)
                    elapsed = time.perf_counter() - started
                    least[system][number] = min(least[system][number], elapsed)
    first = sum(least[args.systems[0]])
    print(f"{len(batches)} batches, {args.rounds} rounds")
    print("| system | ms a step | against", args.systems[0], "|\n| --- | --- | --- |")
    for system in args.systems:
        total = sum(least[system])
        print(f"| {system} | {1e3 * total / len(batches):.0f} | {total / first:.2f} |")


if __name__ == "__main__":
    run(main)
