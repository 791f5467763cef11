"""Verification of the Triton kernel: its first use on a machine is compared with ``torch``.

A compiler or a driver may crash, hang or compute something else, so the comparison runs in a
process of its own (:mod:`gmot.ot.kernels.verification_run`). The verdict is cached per card,
driver, versions and sources; without a writable cache, each process compares.
"""

import importlib.util
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from gmot.common import fingerprint, write_json
from gmot.ot.kernels.verification_run import COMPARED, FINISHED, MAX_DIFFERENCE, make_case

KERNEL = "gmot.ot.kernels.cuda"
# Further modules that a verdict depends on.
_SOURCES = ("gmot.ot.kernels.cuda_kernel", "gmot.ot.kernels.verification_run")
# Seconds. Compilation takes half a minute at most, a cold file system as long again.
TIMEOUT = 300.0
# Ends with other causes than the kernel, which may not come again.
_PASSING = ("SIGKILL", "SIGTERM", "SIGINT", "out of memory")
_ADVICE = "`python local/check_environment.py --gpu` compares again"
_PROGRAM = (
    "import json, sys; request = json.load(sys.stdin); sys.path[:] = request['path'];"
    "from gmot.ot.kernels.verification_run import main; main(request)"
)
_LOGGER = logging.getLogger("gmot.ot")


@dataclass(frozen=True)
class Verdict:
    """Result of a comparison."""

    reason: str | None  # why the kernel is not used
    key: dict[str, str]  # what it is valid for, see make_key
    differences: dict[str, float] = field(default_factory=dict)  # of plans (L1), per problem
    is_kept: bool = False  # cached: the kernel itself passed or failed


@cache
def refusal(device: torch.device, kernel: str = KERNEL) -> str | None:
    """Reason why ``kernel`` (a module) is not used on ``device``, or None; compares it at first."""
    reason = (read(device, kernel) or verify(device, kernel)).reason
    return reason and f"{reason}; {_ADVICE}"


def read(device: torch.device, kernel: str = KERNEL) -> Verdict | None:
    """The cached verdict, or None where there is none that is complete and valid here."""
    key = make_key(device, kernel)
    try:
        kept = json.loads(_path(key).read_text(encoding="utf-8"))
        is_valid = kept["key"] == key and isinstance(kept["reason"], (str, type(None)))
        return Verdict(**kept) if is_valid else None
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return None


def verify(device: torch.device, kernel: str = KERNEL, timeout: float = TIMEOUT) -> Verdict:
    """Compare ``kernel`` with ``torch`` within ``timeout`` seconds and cache the verdict."""
    _LOGGER.info("comparison of the Triton kernel with torch")
    key = make_key(device, kernel)
    request = {"path": sys.path, "device": str(device), "kernel": kernel}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=timeout,
        )
        end, output = _describe_end(done.returncode, done.stderr), done.stdout
    except subprocess.TimeoutExpired as error:
        end, output = f"no end after {timeout:g} s", error.stdout or b""
    except OSError as error:  # no memory for a process, for example
        end, output = str(error), b""
    lines = [line for line in output.splitlines() if line.startswith(b'{"step"')]  # not libraries'
    verdict = _judge(key, [json.loads(line) for line in lines], end)
    if verdict.is_kept:
        try:
            write_json(_path(key), asdict(verdict))
        except (OSError, RuntimeError) as error:
            _LOGGER.info("verdict of the Triton kernel not cached: %s", error)
    return verdict


def _judge(key: dict[str, str], events: list[dict[str, Any]], end: str) -> Verdict:
    steps = ["the start", *(e["step"] for e in events)]
    differences = {e["step"]: e["difference"] for e in events if "difference" in e}
    worst = max(differences, key=lambda name: differences[name], default=None)
    reason = None
    if worst is not None and not differences[worst] <= MAX_DIFFERENCE:
        reason = (
            f"on {key['card']} its plan differs from torch's by {differences[worst]:.2g} (L1, "
            f"{worst}; expected at most {MAX_DIFFERENCE:g})"
        )
    elif end or steps[-1] != FINISHED:
        reason = (
            f"on {key['card']} its comparison with torch ended in '{steps[-1]}': "
            f"{end or 'its output is incomplete'}"
        )
    # Before the first event something else failed: a card in use by another process, for example.
    is_kept = bool(events) and not any(sign in end for sign in _PASSING)
    card = events[0]["card"] if events else None
    if card not in (None, key["card"]):  # CUDA_VISIBLE_DEVICES was changed in this process
        reason = f"{key['card']} was not compared: a process started here sees {card}"
        is_kept = False
    return Verdict(reason, key, differences, is_kept)


def make_key(device: torch.device, kernel: str = KERNEL) -> dict[str, str]:
    """Card, driver, versions and sources that a verdict is valid for."""
    import triton

    card, driver = "Triton's interpreter", ""
    if device.type == "cuda":
        card, driver = torch.cuda.get_device_name(device), _driver()
    specs = [importlib.util.find_spec(name) for name in (kernel, *_SOURCES)]
    sources = [Path(spec.origin).read_bytes() for spec in specs if spec and spec.origin]
    return {
        "card": card,
        "driver": driver,
        "torch": str(torch.__version__),
        "triton": triton.__version__,
        "interpreted": os.environ.get("TRITON_INTERPRET", "0"),
        "sources": fingerprint(kernel, *sources),
    }


def _driver() -> str:
    """First line of the driver's version file, or the CUDA version it offers."""
    try:
        return Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError):
        version = getattr(torch._C, "_cuda_getDriverVersion", lambda: "unknown")
        return f"CUDA {version()}"


def _path(key: dict[str, str]) -> Path:
    """Raises RuntimeError where there is no home folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "gmot" / "kernels" / f"{fingerprint(json.dumps(key, sort_keys=True))}.json"


def _describe_end(status: int, stderr: bytes) -> str:
    """Signal or error that ended a process; empty: none."""
    if status <= 0:
        return signal.Signals(-status).name if status else ""
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    # CUDA's errors end in advice.
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (errors or lines or [f"status {status}"])[-1]


def report() -> Iterator[str]:
    """Lines per card (or for Triton's interpreter): a new comparison and the backend of "auto"."""
    from gmot.ot.kernels import unavailable

    devices = [torch.device("cuda", n) for n in range(torch.cuda.device_count())]
    if not devices and os.environ.get("TRITON_INTERPRET") == "1":
        devices = [torch.device("cpu")]
    if not devices:
        yield "none that torch can use; the transport is solved on the CPU"
    _, options = COMPARED["balanced Sinkhorn"]
    for device in devices:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "interpreter"
        reason = unavailable("cuda", *make_case([(4, 2)], device, torch.float32, **options))
        if reason is None:
            verdict = verify(device)
            yield ", ".join(f"{k} {v}" for k, v in verdict.key.items() if v)
            for problem, distance in verdict.differences.items():
                yield f"  {problem}: differs from torch by {distance:.1e} (L1)"
            reason = verdict.reason
        used = f"torch is used; the Triton kernel is not: {reason}"
        agrees = "cuda is used; the Triton kernel agrees with torch"
        yield f"{device} {name}: backend {used if reason else agrees}"
