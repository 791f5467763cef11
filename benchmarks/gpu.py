#!/usr/bin/env python3
"""The GPU's transport against torch's: comparison, the kernel's tests, a step per system, timings.

Needs torch 2, triton and, for the kernel's tests, numpy and pytest; no corpus. One training step
of each system has the same random features, weights and dropout with backend "cuda" and "torch";
losses and gradients are compared. Writes OUTPUT.json and OUTPUT.md, and exits with status 1 if
anything differs. Without a GPU, TRITON_INTERPRET=1 makes a dry run on the CPU (with --small, and
minutes for all systems).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.rows import ROWS, load_row  # noqa: E402
from gmot.cli import ArgumentParser, run  # noqa: E402
from gmot.common import GmotError, write_json  # noqa: E402

# Relative, of a loss and of the gradient of all parameters. Solves are converged to about 0.01.
MAX_DIFFERENCE = 0.01
TEACHER_DIM, VOCABULARY = 48, 30
# (frames before subsampling, labels) of each utterance; (N, T, L) that are timed.
UTTERANCES = [(640, 38), (500, 30), (333, 14), (120, 5)]
SIZES = [(16, 112, 16), (16, 200, 20), (16, 400, 60), (64, 112, 16)]
SMALL_UTTERANCES = [(40, 3), (30, 2)]
SMALL_SIZES = [(1, 5, 4)]
TIMED_SYSTEMS = ("cma_ot", "tot", "uot", "gm_ot")


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="gpu", help="path of the two files, without a suffix")
    parser.add_argument("--systems", nargs="+", help="configurations of the recipes; default: all")
    parser.add_argument("--small", action="store_true", help="sizes of a dry run")
    parser.add_argument("--skip-tests", action="store_true", help="leave out the kernel's tests")
    return parser


def kernel_tests() -> dict[str, str]:
    """Failures (a traceback) or "" of each case of tests/ot/test_backend_cuda.py."""
    file = ROOT / "tests" / "ot" / "test_backend_cuda.py"
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True)
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {"all cases": f"status {done.returncode}\n{done.stderr[-2000:]}"}


def training_step(
    system: str, backend: str, utterances: Sequence[tuple[int, int]], device: Any
) -> tuple[float, Any]:
    """Loss and gradient (of all parameters, flat, float64) of a step without the update."""
    import torch
    from torch.nn import functional
    from torch.nn.utils.rnn import pad_sequence

    from gmot.model.ctc_model import CtcModel, ModelConfig
    from gmot.transfer.losses import combine
    from gmot.transfer.objective import make_objective

    settings = replace(load_row(system), backend=backend)
    torch.manual_seed(0)
    shape = ModelConfig(
        vocab_size=VOCABULARY, d_model=64, num_heads=4, ffn_dim=128, num_layers=4, kernel_size=7,
        subsampling_channels=16, adapter_scale=settings.adapter_scale,
        teacher_dim=TEACHER_DIM if settings.has_adapter else None,
    )  # fmt: skip
    model = CtcModel(shape).to(device).train()
    features = [torch.randn(frames, shape.num_features) for frames, _ in utterances]
    teacher = [torch.randn(labels + 2, TEACHER_DIM) for _, labels in utterances]
    labels = [torch.randint(1, VOCABULARY, (n,)) for _, n in utterances]

    def padded(items: list[Any]) -> tuple[Any, Any]:
        lens = torch.tensor([len(x) for x in items], device=device)
        return pad_sequence(items, batch_first=True).to(device), lens

    parameters = list(model.parameters())
    objective = None
    if settings.has_adapter:
        objective = make_objective(settings, VOCABULARY, TEACHER_DIM).to(device)
        parameters += objective.parameters()
    torch.manual_seed(1)  # dropout on the device
    layers = objective.layers(shape.num_layers) if objective is not None else ()
    output = model(*padded(features), layers=layers)
    targets, target_lens = padded(labels)
    ctc = functional.ctc_loss(
        output.log_probs.transpose(0, 1), targets, output.lengths, target_lens, reduction="none"
    )
    loss = ctc.mean()
    if objective is not None:
        ids = targets, target_lens
        transfer = objective(output.intermediate, output.lengths, *padded(teacher), *ids)
        loss = combine(ctc, transfer, settings).mean()
    loss.backward()
    gradients = [p.grad.double().flatten().cpu() for p in parameters if p.grad is not None]
    return loss.item(), torch.cat(gradients)


def compare_steps(
    systems: Sequence[str], utterances: Sequence[tuple[int, int]], device: Any
) -> list[dict[str, Any]]:
    """A row per system."""
    from gmot.ot.kernels import cuda

    launches: list[int] = []
    solve = cuda.solve
    cuda.solve = lambda *case: launches.append(1) or solve(*case)

    def compare(system: str) -> dict[str, Any]:
        expected, gradient = training_step(system, "torch", utterances, device)
        launches.clear()
        found, its_gradient = training_step(system, "cuda", utterances, device)
        differences = {
            "loss_difference": abs(found - expected) / abs(expected),
            "gradient_difference": float((its_gradient - gradient).norm() / gradient.norm()),
        }
        return {
            "launches": len(launches),
            "loss_torch": expected,
            "loss_cuda": found,
            **differences,
            "agrees": all(d <= MAX_DIFFERENCE for d in differences.values()),  # not if it is NaN
        }

    rows = [attempt(compare, system=system) for system in systems]
    cuda.solve = solve
    return rows


def attempt(measure: Callable[..., dict[str, Any]], **about: Any) -> dict[str, Any]:
    """``about`` and what is measured of it, or its error: the others are worth having."""
    try:
        row = {**about, **measure(**about)}
    except Exception as error:
        row = {**about, "error": f"{type(error).__name__}: {error}"}
    print(json.dumps(row), flush=True)
    return row


def milliseconds(call: Any, device: Any) -> float:
    """The least of five, after one that compiles; by events on a GPU."""
    import torch

    call()
    times = []
    for _ in range(5 if device.type == "cuda" else 1):
        if device.type == "cuda":
            events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            torch.cuda.synchronize(device)
            events[0].record()
            call()
            events[1].record()
            torch.cuda.synchronize(device)
            times.append(events[0].elapsed_time(events[1]))
        else:
            started = time.perf_counter()
            call()
            times.append(1e3 * (time.perf_counter() - started))
    return min(times)


def time_transport(
    systems: Sequence[str], sizes: Sequence[tuple[int, int, int]], device: Any
) -> list[dict[str, Any]]:
    """Milliseconds of ``transport_loss``, the forward pass, per system and size."""
    import torch

    from gmot.transfer.losses import transport_loss

    def measure(system: str, size: Sequence[int]) -> dict[str, float]:
        count, frames, tokens = size
        generator = torch.Generator().manual_seed(0)
        nodes = [torch.randn(count, n, 256, generator=generator) for n in (frames, tokens)]
        lens = [torch.full((count,), n) for n in (frames, tokens)]
        arguments = [x.to(device) for x in (*nodes, *lens)]
        found = {}
        for backend in ("cuda", "torch"):
            settings = replace(load_row(system), backend=backend)
            call = partial(transport_loss, *arguments, settings)
            with torch.no_grad():
                found[backend] = milliseconds(call, device)
        return found

    return [attempt(measure, system=system, size=size) for system in systems for size in sizes]


def write_markdown(path: Path, result: dict[str, Any]) -> None:
    """The tables of ``result``, main's."""
    failed = [name for name, said in result["tests"].items() if said]
    lines = [
        "# The GPU's transport against torch's",
        "",
        *(f"- {name}: {value}" for name, value in result["machine"].items() if value),
        f"- comparison before the first use: {result['verdict']['reason'] or 'agrees'}",
        f"- tests of the kernel: {len(result['tests'])}, failed: {', '.join(failed) or 'none'}",
        "",
        f"A training step; relative differences, at most {MAX_DIFFERENCE:g} allowed.",
        "",
        "| system | launches | loss: torch | cuda | difference | of the gradient | agrees |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["steps"]:
        numbers = (
            "{launches} | {loss_torch:.6f} | {loss_cuda:.6f} | {loss_difference:.1e} | "
            "{gradient_difference:.1e} | {agrees}"
        )
        cells = row["error"] if "error" in row else numbers.format(**row)
        lines.append(f"| {row['system']} | {cells} |")
    lines += ["", "Losses of the transport of a batch, forward.", ""]
    lines += ["| system | N x T x L | cuda, ms | torch, ms |", "|---|---|---|---|"]
    for row in result["timings"]:
        size = " x ".join(map(str, row["size"]))
        cells = row["error"] if "error" in row else "{cuda:.2f} | {torch:.2f}".format(**row)
        lines.append(f"| {row['system']} | {size} | {cells} |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def solves_transport(system: str) -> bool:

    settings = load_row(system)
    return settings.learns_from_teacher and settings.objective == "transport"


def main() -> None:
    args = get_parser().parse_args()
    import torch

    from gmot.ot.kernels import verification

    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if not torch.cuda.is_available() and not interpreted:
        raise GmotError(
            "no GPU that torch can use. On one, run this again; for a dry run on the CPU: "
            "TRITON_INTERPRET=1 python benchmarks/gpu.py --small"
        )
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    systems = args.systems or list(ROWS)
    unknown = sorted(set(systems) - set(ROWS))
    if unknown:
        raise GmotError(f"--systems {unknown}: expected some of {', '.join(ROWS)}.")
    timed = [system for system in TIMED_SYSTEMS if system in systems]
    utterances, sizes = (SMALL_UTTERANCES, SMALL_SIZES) if args.small else (UTTERANCES, SIZES)
    verdict = verification.read(device) or verification.verify(device)
    print(f"comparison: {verdict.reason or 'agrees'}", flush=True)
    tests = {} if args.skip_tests else kernel_tests()
    steps = compare_steps(systems, utterances, device)
    result = {
        "machine": verdict.key,
        "verdict": {"reason": verdict.reason, "differences": verdict.differences},
        "tests": tests,
        "steps": steps,
        "timings": time_transport(timed, sizes, device),
    }
    output = Path(args.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(output.with_name(output.name + ".json"), result)
    write_markdown(output.with_name(output.name + ".md"), result)
    wrong = {
        "tests": [name for name, said in tests.items() if said],
        "steps": [row["system"] for row in steps if not row.get("agrees")],
        "steps without the kernel": [
            row["system"]
            for row in steps
            if not row.get("launches") and solves_transport(row["system"])
        ],
        "timings": [row["system"] for row in result["timings"] if "error" in row],
        "comparison": [verdict.reason] if verdict.reason else [],
    }
    if any(wrong.values()):
        found = "; ".join(f"{what}: {', '.join(names)}" for what, names in wrong.items() if names)
        raise GmotError(f"{output}.json has what failed. {found}.")
    print(f"{output}.json, {output}.md: all agree")


if __name__ == "__main__":
    run(main)
