#!/usr/bin/env python3
"""Compare solvers of batched fused Gromov-Wasserstein at equal quality: one run, one table."""

import argparse
import logging
import os
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SIZES = ("16x50x10", "64x120x16", "16x200x20", "16x400x60")
ENOUGH = 1e-6  # gap
GRADIENT_ENOUGH = 1e-3  # relative
MOST_REPEATS = 30
SLOW = 1.0  # seconds


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="cores the process is pinned to")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="BxTxL")
    parser.add_argument("--features", nargs="+", default=["random", "speech-like"])
    parser.add_argument("--epsilons", nargs="+", type=float, default=[0.3, 0.05, 0.01])
    parser.add_argument("--solvers", nargs="+", metavar="NAME", help="default: all there are")
    parser.add_argument("--seconds", type=float, default=0.4, help="repeats of a solver in a cell")
    parser.add_argument("--quick", action="store_true", help="a smoke test: one small cell")
    parser.add_argument("--output", default=str(ROOT / "docs" / "benchmarks"), metavar="NAME")
    return parser


def pin(threads: int) -> None:
    """Before numpy, torch and jax load: XLA looks at the process's cores and at nothing else."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if not 1 <= threads <= len(cores):
            sys.exit(f"--threads: expected 1 to {len(cores)}, found {threads}.")
        os.sched_setaffinity(0, cores[:threads])
    for name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        os.environ[f"{name}_NUM_THREADS"] = str(threads)
    os.environ["JAX_PLATFORMS"] = "cpu"


def timed(call):
    """What ``call`` gives, and its wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = call()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return found, (wall, cpu)


def measure(calls, times, seconds):
    """Bring ``times``, {name: (wall, cpu)} of what is timed already, to the least of the repeats.

    The competitors take turns, so that what else the machine does hits all alike; each goes on
    until its time is over. All have been called before.
    """
    spent = dict.fromkeys(calls, 0.0)
    for _ in range(MOST_REPEATS):
        for name, call in calls.items():
            least = times.get(name, (float("inf"), float("inf")))
            if spent[name] > seconds or (spent[name] == 0 and least[0] < float("inf")):
                continue
            _, found = timed(call)
            spent[name] += found[0]
            times[name] = tuple(min(pair) for pair in zip(least, found))


def relative_error(found, expected):
    """|found - expected| / |expected| over the gradients of x and y."""
    off = sum(float(((f - e) ** 2).sum()) for f, e in zip(found, expected))
    return (off / sum(float((e**2).sum()) for e in expected)) ** 0.5


def choose(solver, problem, best, expected):
    """{kind: (row's fields, call, seconds of its first call)}, by the first setting that will do.

    For "forward" the gap is to be small, for "forward+backward" the gradient's error too.
    """
    from problems import quality

    chosen, last = {}, len(solver.settings[problem.epsilon]) - 1
    for number, setting in enumerate(solver.settings[problem.epsilon]):
        calls = solver.prepare(problem, setting)
        found, first = timed(calls.forward)
        fields = quality(problem, calls.plan(found), best.value)._asdict()
        fields.update(setting=setting, change=best.change)
        exact = abs(fields["gap"]) <= ENOUGH
        if "forward" not in chosen and (exact or number == last):
            chosen["forward"] = fields, calls.forward, first
        if exact or number == last:
            found, first = timed(calls.step)
            error = relative_error(found, expected)
            if error <= GRADIENT_ENOUGH or number == last:
                fields = dict(fields, gradient_error=error)
                chosen["forward+backward"] = fields, calls.step, first
                return chosen


def run_cell(size, features, epsilon, solvers, seconds):
    """The rows of one problem."""
    from adapters import floor
    from problems import gradient, make_problem, reference
    from report import Row

    problem = make_problem(size, features, epsilon)
    best = reference(problem, seconds=10)
    expected = gradient(problem, best.plan)
    solvers = [s for s in solvers if epsilon in s.settings]
    chosen = {s.name: choose(s, problem, best, expected) for s in solvers}
    rows = []
    for kind in ("forward", "forward+backward"):
        calls = {name: kinds[kind][1] for name, kinds in chosen.items()}
        # A slow first call of what compiles nothing is as good as any other.
        times = {
            s.name: chosen[s.name][kind][2]
            for s in solvers
            if not s.compiles and chosen[s.name][kind][2][0] > SLOW
        }
        if kind != "forward":
            calls["floor"] = floor(problem)
            calls["floor"]()
        measure(calls, times, seconds)
        cell = (kind, size, features, epsilon)
        for solver in solvers:
            row = Row(*cell, solver.name, solver.objective, *times[solver.name])
            rows.append(row._replace(**chosen[solver.name][kind][0]))
    rows.append(Row(*cell, "floor", "costs only", *times["floor"]))
    return rows


def main() -> None:
    args = get_parser().parse_args()
    if args.quick:
        args.sizes, args.features, args.epsilons = ["16x50x10"], ["speech-like"], [0.3]
        args.seconds = 0.1
    sizes = [tuple(int(n) for n in size.split("x")) for size in args.sizes]
    pin(args.threads)
    sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]
    from gmot.common import use_avx2_in_mkl

    use_avx2_in_mkl()
    logging.basicConfig(level=logging.ERROR)
    warnings.simplefilter("ignore")  # what is not exact enough is seen in the table
    import torch

    torch.set_num_threads(args.threads)
    from report import write
    from solvers import EPSILONS, SOLVERS

    for epsilon in args.epsilons:
        if epsilon not in EPSILONS:
            sys.exit(f"--epsilons: there are settings for {EPSILONS}, found {epsilon}.")
    solvers = []
    for solver in SOLVERS:
        reason = solver.missing()
        if reason:
            print(f"{solver.name}: left out, {reason}", flush=True)
        elif not args.solvers or solver.name in args.solvers:
            solvers.append(solver)
    cells = [(s, f, e) for s in sizes for f in args.features for e in args.epsilons]
    rows, start = [], time.perf_counter()
    for number, (size, features, epsilon) in enumerate(cells, 1):
        found = run_cell(size, features, epsilon, solvers, args.seconds)
        rows += found
        elapsed = time.perf_counter() - start
        print(f"[{number}/{len(cells)}, {elapsed:.0f} s] {size} {features} eps {epsilon}: ", end="")
        times = (f"{r.name} {1e3 * r.cpu:.1f}" for r in found if r.kind == "forward")
        print(", ".join(times) + " ms CPU", flush=True)
    command = "python benchmarks/transport.py " + " ".join(sys.argv[1:])
    write(args.output, rows, solvers, args.threads, command.strip(), time.perf_counter() - start)
    print(f"{args.output}.md, {args.output}.png")


if __name__ == "__main__":
    main()
