#!/usr/bin/env python3
"""A training step beside other jobs on the same cores, by OpenMP's threads and waiting policy.

Each line is a process of its own; policies take turns, alone and beside ``--jobs`` processes that
compute all the time. Needs no corpus (benchmarks/steps.py). With --output FILE.md, the table
becomes a section of the file.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.pages import command_line, replace_section, table  # noqa: E402
from gmot.cli import ArgumentParser, run  # noqa: E402

# Threads and environment.
POLICIES = {
    "1 thread": (1, {}),
    "2 threads, spinning (OpenMP's default)": (2, {"GOMP_SPINCOUNT": "300000"}),
    "2 threads, sleeping (passive)": (2, {"OMP_WAIT_POLICY": "passive"}),
    "2 threads, spinning for a short time (gmot)": (2, {}),
}
# Another job: computes until this process has ended, killed or not.
JOB = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): pass"
HEADING = "## Beside other jobs"


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=3, help="other processes, one thread each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of a measurement, at least")
    parser.add_argument("--size", default="small", choices=["tiny", "small", "paper"])
    parser.add_argument("--output", help="page whose section of the same heading is replaced")
    parser.add_argument("--measure", type=int, help="(internal) measure here, with so many threads")
    return parser


def measure(size_name: str, threads: int, seconds: float) -> dict[str, float]:
    """Milliseconds of wall and CPU time per update."""
    from benchmarks import steps
    from gmot.training.setup import prepare_process

    device = prepare_process("cpu", threads, seed=0)
    size = steps.load_size(size_name)
    batches = steps.make_batches(size, 4)
    updater = steps.make_updater(size, "ctc", device)
    for batch in batches:
        steps.update(updater, batch)
    count, wall, cpu = 0, time.perf_counter(), time.process_time()
    while count % len(batches) or time.perf_counter() - wall < seconds:
        steps.update(updater, batches[count % len(batches)])
        count += 1
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": 1e3 * wall / count, "cpu": 1e3 * cpu / count}


def start(threads: int, policy: dict[str, str], args) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """:func:`measure` in a process with its environment."""
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment.update(policy, OMP_NUM_THREADS=str(threads))
    words = ("--measure", threads, "--seconds", args.seconds, "--size", args.size)
    command = [sys.executable, __file__, *map(str, words)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    args = get_parser().parse_args()
    if args.measure:
        print(json.dumps(measure(args.size, args.measure, args.seconds)))
        return
    found: dict[tuple[int, str], list[dict[str, float]]] = {}
    for _ in range(args.rounds):
        for jobs in (0, args.jobs):
            command = [sys.executable, "-c", JOB, str(os.getpid())]
            others = [subprocess.Popen(command) for _ in range(jobs)]
            try:
                for name, (threads, policy) in POLICIES.items():
                    result = start(threads, policy, args)
                    found.setdefault((jobs, name), []).append(result)
                    print(jobs, name, result, flush=True)
            finally:
                for other in others:
                    other.kill()
                    other.wait()
    rows = []
    for name in POLICIES:
        alone, beside = (
            {key: min(r[key] for r in found[jobs, name]) for key in ("wall", "cpu")}
            for jobs in (0, args.jobs)
        )
        numbers = (alone["wall"], alone["cpu"], beside["wall"], beside["cpu"])
        ratio = beside["wall"] / alone["wall"]
        rows.append([name, *(f"{n:.0f}" for n in numbers), f"{ratio:.1f}"])
    columns = f"ctc, {args.size}|alone: ms per step|CPU ms|beside {args.jobs} jobs: ms per step"
    lines = [HEADING, "", f"`{command_line()}`, {os.cpu_count()} cores, least of the rounds.", ""]
    lines += table(f"{columns}|CPU ms|against alone", rows)
    print("\n".join(lines))
    if args.output:
        replace_section(Path(args.output), HEADING, lines)


if __name__ == "__main__":
    run(main)
