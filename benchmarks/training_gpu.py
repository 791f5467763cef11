#!/usr/bin/env python3
"""Training on a GPU: steps by precision, memory, host waits, learning in bf16, resume after a kill.

Needs no corpus. Writes OUTPUT (a page) and, beside it, a JSON of the same name, which
benchmarks/scale.py reads. Exits with status 1 if a part failed. --device cpu --small is a dry run.
"""

import os
import re
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from benchmarks.gpu import attempt  # noqa: E402
from benchmarks.pages import command_line, table  # noqa: E402
from gmot.cli import ArgumentParser, run  # noqa: E402
from gmot.common import GmotError, write_json, write_lines  # noqa: E402

# Precision, its autocast, TF32, compiled encoder.
PRECISIONS = {
    "float32": (None, False, False),
    "TF32": (None, True, False),
    "bf16": ("bfloat16", True, False),
    "bf16, compiled": ("bfloat16", True, True),
}
SYSTEMS = ("ctc", "gm_ot")


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes of a dry run")
    parser.add_argument("--kernel", help="page of benchmarks/gpu.py, which is put in")
    parser.add_argument("--output", default=str(ROOT / "docs" / "gpu.md"))
    return parser


def supported(device: Any) -> list[str]:
    """Precisions of a device; torch 1 compiles nothing, and has no layer norms in bf16 on CPUs."""
    import torch

    if hasattr(torch.nn.Module, "compile"):
        return [p for p in PRECISIONS if device.type == "cuda" or "compiled" not in p]
    return ["float32", "TF32", *(["bf16"] if device.type == "cuda" else [])]


def half(device: Any) -> str:
    """bf16 where it is supported."""
    return "bf16" if "bf16" in supported(device) else "float32"


def make_updater(size: Any, system: str, precision: str, device: Any) -> Any:
    import torch

    from benchmarks import steps
    from gmot.training.setup import compile_encoder

    name, tf32, compiled = PRECISIONS[precision]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    autocast = getattr(torch, name) if name else None
    updater = steps.make_updater(size, system, device, autocast)
    if compiled:
        compile_encoder(updater.module.model)
    return updater


def step_row(system: str, precision: str, small: bool, device: Any) -> dict[str, Any]:
    """Milliseconds per update, memory at most, seconds of computing per second of speech."""
    import torch

    from benchmarks import steps

    size = steps.load_size("tiny" if small else "paper")
    batches = steps.make_batches(size, 1 if small else 3)
    on_gpu = device.type == "cuda"
    updater = make_updater(size, system, precision, device)
    for batch in batches:
        steps.update(updater, batch)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    found = steps.interleaved(
        {"update": lambda batch: steps.update(updater, batch)},
        batches,
        1 if small else 5,
        steps.clock(device),
    )["update"]
    speech = sum(sum(batch.durations) for batch in batches) / len(batches)
    memory = torch.cuda.max_memory_allocated(device) / 1e9 if on_gpu else float("nan")
    return {
        "milliseconds": 1e3 * found,
        "seconds_per_second": found / speech,
        "memory_gb": memory,
        "loss": _loss(updater, batches[-1]),
    }


def _loss(updater: Any, batch: Any) -> float:
    import torch

    with torch.no_grad():
        return float(updater.module.losses(batch).total.mean())


def waits_row(system: str, small: bool, device: Any) -> dict[str, Any]:
    """Host waits of an update after the first, by the line that waits."""
    import torch

    from benchmarks import steps

    size = steps.load_size("tiny" if small else "small")
    (batch,) = steps.make_batches(size, 1)
    updater = make_updater(
        size, system, "bf16" if "bf16" in supported(device) else "float32", device
    )
    batch = batch.pin_memory() if device.type == "cuda" else batch
    for _ in range(2):
        steps.update(updater, batch)
    place = {"epoch": 1, "update": 1, "step": 1}
    if device.type != "cuda":
        from oracles.host_waits import count_host_waits

        with count_host_waits() as waits:
            updater([batch], place, 1e-4)
        found = Counter(wait.replace(f"{ROOT}{os.sep}", "") for wait in waits)
    else:
        torch.cuda.synchronize(device)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                updater([batch], place, 1e-4)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        lines = [f"{w.filename}:{w.lineno}" for w in caught if "synchroniz" in str(w.message)]
        found = Counter(re.sub(r".*site-packages/", "", x).replace(f"{ROOT}/", "") for x in lines)
    return {"waits": sum(found.values()), "where": dict(found)}


def learning(system: str, small: bool, device: Any) -> dict[str, Any]:
    """CER of greedy search after an epoch of the small model in bf16 on synthetic utterances."""
    import torch

    from benchmarks import steps
    from gmot.decode.ctc_search import ctc_greedy_search
    from gmot.evaluation.scoring import score

    size = steps.load_size("tiny" if small else "small")
    count = 4 if small else 400
    updater = make_updater(size, system, half(device), device)
    batches = steps.make_batches(size, count)
    test = batches[count // 2 :: max(2, count // 20)]
    train = [batch for batch in batches if all(batch is not other for other in test)]
    started = time.perf_counter()
    for number in torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).tolist():
        steps.update(updater, train[number], rate=1.5e-3)
    seconds = time.perf_counter() - started
    updater.module.eval()
    refs, hyps = {}, {}
    with torch.no_grad():
        for n, batch in enumerate(test):
            losses = updater.module.losses(batch)
            found = ctc_greedy_search(losses.log_probs, losses.lengths)
            for m, ids in enumerate(found):
                labels = batch.labels[m, : batch.label_lengths[m]].tolist()
                refs[f"{n}-{m}"], hyps[f"{n}-{m}"] = (
                    "".join(chr(0x4E00 + i) for i in row) for row in (labels, ids)
                )
    return {"updates": len(train), "seconds": seconds, "cer": score(refs, hyps).rate}


def resume(device: Any) -> dict[str, Any]:
    """A training by ``local/train.py`` that is killed and resumed, against an uninterrupted one."""
    import torch
    import toy_training

    from gmot.model.checkpoint import epochs_in, read_checkpoint, steps_in

    texts = {"train": ["今天天气好", "天好", "今天好", "气好天", "好"] * 4, "dev": ["今天", "天气"]}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        toy_training.prepare(work, texts)
        options = ["--device", str(device), "--training.save-steps", "2", "--training.log-interval"]
        options += ["1", "--training.num-epochs", "2"]
        weights = {}
        for exp in ("straight", "killed"):
            words = toy_training.train_options("gm_ot", *options, exp=exp)
            if exp == "killed":
                process = toy_training.start(work, words)
                ended = time.monotonic() + 120
                while process.poll() is None and time.monotonic() < ended:
                    if steps_in(work / exp):
                        process.send_signal(signal.SIGKILL)
                        break
                    time.sleep(0.02)
                process.communicate()
                at = steps_in(work / exp) or epochs_in(work / exp)
            toy_training.finish(toy_training.start(work, words))
            state = read_checkpoint(work / exp / f"epoch-{epochs_in(work / exp)[-1]}.pt")
            weights[exp] = torch.cat([x.double().flatten() for x in state["model"].values()])
    difference = (weights["killed"] - weights["straight"]).norm() / weights["straight"].norm()
    return {"killed_at": at[-1] if at else None, "difference": float(difference)}


def page(found: dict[str, Any], kernel: Path | None) -> list[str]:
    """Lines of the page."""
    machine = found["machine"]
    note = "" if machine["device"] != "cpu" else " **A dry run on a CPU: no figure is a GPU's.**"
    lines = [
        "# On a GPU",
        "",
        f"`{found['command']}`: {machine['card']}, torch {machine['torch']}, ",
    ]
    lines[-1] += f"commit {machine['commit']}.{note}"

    def section(title: str, header: str, name: str, cells: Any) -> None:
        rows = [
            [*row_name(r), f"error: {r['error']}"] if "error" in r else cells(r)
            for r in found[name]
        ]
        lines.extend(["", f"## {title}", "", *table(header, rows)])

    def row_name(row: dict[str, Any]) -> list[str]:
        return [str(row[key]) for key in ("system", "precision") if key in row]

    section(
        "Steps of the papers' model",
        "system|precision|ms per update|s of speech per s|memory, GB|loss",
        "steps",
        lambda r: [
            *row_name(r), f"{r['milliseconds']:.0f}", f"{1 / r['seconds_per_second']:.0f}",
            f"{r['memory_gb']:.1f}", f"{r['loss']:.4f}",
        ],
    )  # fmt: skip
    section(
        "Host waits of an update",
        "system|waits|where",
        "waits",
        lambda r: [
            r["system"], r["waits"], "; ".join(f"{n} x {w}" for w, n in r["where"].items())
        ],
    )  # fmt: skip
    section(
        "An epoch of the small model in bf16, synthetic utterances",
        "system|updates|seconds|CER",
        "learning",
        lambda r: [r["system"], r["updates"], f"{r['seconds']:.0f}", f"{r['cer']:.2f}"],
    )
    section(
        "Killed and resumed",
        "killed after update|relative difference of the weights to an uninterrupted training",
        "resume",
        lambda r: [r["killed_at"], f"{r['difference']:.1e}"],
    )
    if kernel is not None and kernel.exists():
        lines += ["", *(f"#{x}" if x.startswith("#") else x for x in _lines(kernel))]
    return lines


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def main() -> None:
    args = get_parser().parse_args()
    import torch

    from gmot.provenance import environment
    from gmot.training.setup import prepare_process

    device = prepare_process(args.device, 0, seed=0)
    facts = environment()
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    precisions = supported(device)
    sizes = {"small": args.small, "device": device}
    found: dict[str, Any] = {
        "command": command_line(),
        "machine": {"device": device.type, "card": card, "torch": facts["torch"]},
        "steps": [], "waits": [], "learning": [], "resume": [],
    }  # fmt: skip
    found["machine"]["commit"] = facts["commit"]
    for system in SYSTEMS:
        for precision in precisions:
            row = attempt(
                lambda system, precision: step_row(system, precision, **sizes),
                system=system,
                precision=precision,
            )
            found["steps"].append(row)
    for system in ("ctc", "gm_ot", "uot", "hcm"):
        found["waits"].append(attempt(lambda system: waits_row(system, **sizes), system=system))
    for system in SYSTEMS:
        found["learning"].append(attempt(lambda system: learning(system, **sizes), system=system))
    found["resume"].append(attempt(lambda: resume(device)))
    output = Path(args.output)
    write_json(output.with_suffix(".json"), found)
    write_lines(output, page(found, Path(args.kernel) if args.kernel else None))
    failed = [name for name in ("steps", "waits", "learning", "resume")
              if any("error" in row for row in found[name])]  # fmt: skip
    if failed:
        raise GmotError(f"{output}: errors in {', '.join(failed)}.")
    print(output)


if __name__ == "__main__":
    run(main)
