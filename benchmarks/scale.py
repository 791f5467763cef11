#!/usr/bin/env python3
"""Hours of a training of the papers' size on 1, 4 and 8 cards, from measured steps.

Seconds of computing per second of speech are measured here (one step of the papers' model), or
read from the page's data of benchmarks/training_gpu.py (--gpu FILE.json). The gradients are
exchanged once per update, after its last batch: communication does not overlap with computing. Its
time is measured for gloo (two processes of this machine) and computed for nccl: a ring moves
2 (n - 1) / n times the bytes of the gradient per card.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.pages import command_line, replace_section, table  # noqa: E402
from gmot.cli import ArgumentParser, run  # noqa: E402

HEADING = "## Hours on several cards"
# Bytes per second that nccl's ring moves per card: what its tests report as bus bandwidth.
LINKS = {"NVLink (A100), 200 GB/s": 200e9, "PCIe 4, 20 GB/s": 20e9, "25 Gb/s Ethernet": 2.5e9}
CARDS = (1, 4, 8)


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=456.0, help="of speech per epoch")
    parser.add_argument("--epochs", type=int, default=130)
    parser.add_argument("--update-duration", type=float, default=1000.0, help="seconds per update")
    parser.add_argument("--size", default="paper", choices=["tiny", "small", "paper"])
    parser.add_argument("--system", default="gm_ot")
    parser.add_argument(
        "--assumed",
        nargs="*",
        default=["A100, bound by launches (egs/aishell/README.md)=0.0003"],
        metavar="NAME=SECONDS",
        help="further seconds of computing per second of speech, not measured",
    )
    parser.add_argument("--gpu", help="JSON of benchmarks/training_gpu.py")
    parser.add_argument("--batch", type=float, default=16.0, help="seconds of the step measured")
    parser.add_argument("--output", help="page whose section of the same heading is replaced")
    return parser


def measured_rate(args: Any) -> float:
    """Seconds of computing per second of speech, on one thread of this machine."""
    from benchmarks import steps
    from gmot.training.setup import prepare_process

    device = prepare_process("cpu", 1, seed=0)
    size = steps.load_size(args.size, args.batch)
    batches = steps.make_batches(size, 1)
    updater = steps.make_updater(size, args.system, device)
    steps.update(updater, batches[0])
    calls = {"step": updater.accumulate}
    found = steps.interleaved(calls, batches, 2, steps.clock(device))
    return found["step"] / sum(batches[0].durations)


def _exchange(rank: int, numbers: int, port: int, result: Any) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    gradient = torch.ones(numbers)
    times = []
    for _ in range(4):
        dist.barrier()
        started = time.perf_counter()
        dist.all_reduce(gradient)
        times.append(time.perf_counter() - started)
    if rank == 0:
        result.put(min(times))
    dist.destroy_process_group()


def measured_gloo(numbers: int) -> float:
    """Seconds of an all-reduce of ``numbers`` float32 over two processes."""
    import socket

    import torch.multiprocessing as multiprocessing

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    result = context.Queue()
    others = [
        context.Process(target=_exchange, args=(rank, numbers, port, result)) for rank in range(2)
    ]
    for process in others:
        process.start()
    seconds = result.get(timeout=300)
    for process in others:
        process.join()
    return seconds


def ring(bytes_: float, cards: int, bandwidth: float) -> float:
    """Seconds of an all-reduce of nccl's ring, without its latency."""
    return 2 * (cards - 1) / cards * bytes_ / bandwidth


def rows(rates: dict[str, float], bytes_: float, args: Any) -> list[list[Any]]:
    """A row per rate, number of cards and link."""
    updates, found = args.hours * 3600 / args.update_duration, []
    for name, rate in rates.items():
        for cards in CARDS:
            for link, bandwidth in LINKS.items() if cards > 1 else [("-", 1.0)]:
                computing = args.update_duration * rate / cards
                exchange = ring(bytes_, cards, bandwidth)
                epoch = updates * (computing + exchange) / 3600
                share = 100 * exchange / (computing + exchange)
                total = args.epochs * epoch
                found.append([name, cards, link, f"{epoch:.3g}", f"{total:.3g}", f"{share:.2g} %"])
    return found


def main() -> None:
    args = get_parser().parse_args()
    from benchmarks import steps
    from gmot.provenance import environment

    if args.gpu:
        content = json.loads(Path(args.gpu).read_text(encoding="utf-8"))
        rates = {
            f"{content['machine']['card']}, {row['precision']}": row["seconds_per_second"]
            for row in content["steps"]
            if row["system"] == args.system and "seconds_per_second" in row
        }
    else:
        rates = {"one core of this machine": measured_rate(args)}
    measured = "; ".join(
        f"{name}: {rate:.4g} s per second of speech" for name, rate in rates.items()
    )
    for assumed in args.assumed:
        name, _, rate = assumed.rpartition("=")
        rates[f"assumed: {name}"] = float(rate)
    size = steps.load_size(args.size)
    updater = steps.make_updater(size, args.system, steps.torch.device("cpu"))
    numbers = sum(p.numel() for p in updater.parameters)
    gloo = measured_gloo(numbers)
    lines = [HEADING, ""]
    lines += [
        f"`{command_line()}`, torch {environment()['torch']}: {args.hours:g} hours of speech per "
        f"epoch (150 at three speeds), updates of {args.update_duration:g} seconds, {args.system}, "
        f"gradients of {4 * numbers / 1e6:.0f} MB in float32. **Measured**: {measured}; gloo "
        f"between two processes of this machine: {gloo:.2f} s per exchange. **Computed**: "
        "everything below (cards divide the seconds of an update, nccl's ring without latency; "
        "reading data is not in it).",
        "",
        *table(
            "computing|cards|link|hours per epoch|total|communication",
            rows(rates, 4 * numbers, args),
        ),
    ]
    print("\n".join(lines))
    if args.output:
        replace_section(Path(args.output), HEADING, lines)


if __name__ == "__main__":
    run(main)
