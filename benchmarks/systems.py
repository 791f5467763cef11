#!/usr/bin/env python3
"""Cost of a training step of each objective against CTC alone, on a recipe's own data.

    python benchmarks/systems.py --batches 12 -- --config shared/conf/small.yaml --lang-dir ...

All train on the same batches in turn in one process, so that other load of the machine hits all
alike. Figure: sum over the batches of the least time of each, and its ratio to the first. Options
after -- are those of local/train.py, without --exp-dir.
"""

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.rows import FILES  # noqa: E402
from gmot.cli import ArgumentParser, run  # noqa: E402

SYSTEMS = (
    *("ctc", "cma_ot", "hcm", "hcm_last", "tot", "uot", "gm_ot"),
    *("gm_ot_no_edges", "gm_ot_no_order", "gm_ot_temporal"),
)


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        "--systems", nargs="+", default=SYSTEMS, choices=sorted(FILES), help="configurations"
    )
    parser.add_argument("--batches", type=int, default=12, help="evenly from an epoch")
    parser.add_argument("--rounds", type=int, default=3, help="times that each batch is repeated")
    parser.add_argument("train_options", nargs="*", help="options of local/train.py, after --")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from tqdm import tqdm

    from gmot.bin import train
    from gmot.training.setup import make_trainer, prepare_process, read_inputs

    with tempfile.TemporaryDirectory() as folder:
        trainers = {}
        for system in args.systems:
            options = ["--config", str(FILES[system]), "--exp-dir", f"{folder}/{system}"]
            options = train.get_parser().parse_args([*args.train_options, *options])
            inputs = read_inputs(options)
            device = prepare_process(options.device, options.num_threads, options.training.seed)
            trainers[system] = make_trainer(options, inputs, device)
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
    print("| system | ms per step | against", args.systems[0], "|\n| --- | --- | --- |")
    for system in args.systems:
        total = sum(least[system])
        print(f"| {system} | {1e3 * total / len(batches):.0f} | {total / first:.2f} |")


if __name__ == "__main__":
    run(main)
