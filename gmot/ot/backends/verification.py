"""Whether the Triton kernel may be used: its first use on a machine is compared with ``torch``.

A compiler or a driver can crash, hang or compute something else, so the comparison runs in a
process of its own (:mod:`gmot.ot.backends.verification_run`). The verdict is kept in the user's
cache, by card, driver, versions and sources; processes that start together each compare, and write
the same. A cache that cannot be written costs a comparison per process.
"""

import importlib.util
import json
import logging
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch

from gmot.common import fingerprint, write_json
from gmot.ot.backends.verification_run import MAX_DIFFERENCE

KERNEL = "gmot.ot.backends.cuda"
# Beside the kernel's module: what a verdict depends on.
_SOURCES = ("gmot.ot.backends.cuda_kernel", "gmot.ot.backends.verification_run")
# Seconds. Compilation takes half a minute at most, a cold file system as long again.
TIMEOUT = 300.0
SIZES = ((16, 200, 20), (16, 400, 60))
# Ends that say nothing about the kernel, and may not come again.
_PASSING = ("SIGKILL", "SIGTERM", "SIGINT", "out of memory")
_LOOK = "`python local/check_environment.py --gpu` compares again"
_PROGRAM = (
    "import json, sys; request = json.load(sys.stdin); sys.path[:] = request['path'];"
    "from gmot.ot.backends.verification_run import main; main(request)"
)
_verdicts: Dict[Tuple[str, str], "Verdict"] = {}


@dataclass(frozen=True)
class Verdict:
    """Result of a comparison.

    Attributes:
      reason: why the kernel is not used, or None.
      key: card, driver, versions and sources it holds for.
      differences: L1 distance of plans per problem.
      timings: size [N, T, L], and milliseconds of "kernel" and "torch".
      kept: it is worth keeping: the kernel itself was seen to pass or to fail.
    """

    reason: Optional[str]
    key: Dict[str, str]
    differences: Dict[str, float] = field(default_factory=dict)
    timings: Sequence[Dict[str, Any]] = ()
    kept: bool = False


def refusal(device: torch.device, kernel: str = KERNEL) -> Optional[str]:
    """None, or why ``kernel`` is not used on ``device``; compares it at its first use.

    Args:
      kernel: name of a module with the ``solve`` of a backend.
    """
    known = (str(device), kernel)
    if known not in _verdicts:
        found = read(device, kernel)
        if found is None:
            logging.getLogger("gmot.ot").info(
                "comparing the Triton kernel with torch: its first use here"
            )
            found = verify(device, kernel)
        _verdicts[known] = found
    reason = _verdicts[known].reason
    return reason and f"{reason}; {_LOOK}"


def read(device: torch.device, kernel: str = KERNEL) -> Optional[Verdict]:
    """The verdict kept in the user's cache; None if there is none that is whole and fits."""
    key = make_key(device, kernel)
    try:
        kept = json.loads(_path(key).read_text(encoding="utf-8"))
        fits = kept["key"] == key and isinstance(kept["reason"], (str, type(None)))
        return Verdict(**kept, kept=True) if fits else None
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return None


def verify(
    device: torch.device,
    kernel: str = KERNEL,
    sizes: Sequence[Tuple[int, int, int]] = (),
    timeout: float = TIMEOUT,
) -> Verdict:
    """Compare ``kernel`` with ``torch`` and keep the verdict.

    Args:
      sizes: (N, T, L) to time as well.
      timeout: seconds for all of it.
    """
    key = make_key(device, kernel)
    request = {"path": sys.path, "device": str(device), "kernel": kernel, "sizes": list(sizes)}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=timeout,
        )
        end = "" if done.returncode == 0 else _describe_end(done.returncode, done.stderr)
        output = done.stdout
    except subprocess.TimeoutExpired as error:
        end, output = f"no end after {timeout:g} s", error.stdout or b""
    except OSError as error:  # no memory for a process, for example
        end, output = str(error), b""
    verdict = _judge(key, _parse(output), end)
    if verdict.kept:
        content = {k: getattr(verdict, k) for k in ("reason", "key", "differences", "timings")}
        try:
            write_json(_path(key), content)
        except (OSError, RuntimeError) as error:
            logging.getLogger("gmot.ot").info("verdict of the Triton kernel not kept: %s", error)
    return verdict


def _judge(key: Dict[str, str], events: List[Dict[str, Any]], end: str) -> Verdict:
    differences = {e["problem"]: e["difference"] for e in events if "difference" in e}
    timings = [e for e in events if "size" in e]
    worst = max(differences, key=lambda name: differences[name], default=None)
    reason = None
    if worst is not None and not differences[worst] <= MAX_DIFFERENCE:
        reason = (
            f"on {key['card']} its plan differs from torch's by {differences[worst]:.2g} (L1, "
            f"{worst}; expected at most {MAX_DIFFERENCE:g})"
        )
    elif end or not any("finished" in e for e in events):
        step = next((e["problem"] for e in reversed(events) if "problem" in e), "the start")
        reason = (
            f"on {key['card']} its comparison with torch ended in '{step}': "
            f"{end or 'the last line is missing'}"
        )
    # Before "ready" something else failed: a card that another process holds, for example.
    ready = next((e for e in events if "ready" in e), None)
    other = ready and ready["card"] not in (None, key["card"]) and ready["card"]
    if other:  # CUDA_VISIBLE_DEVICES was changed in this process
        reason = f"{key['card']} was not compared: a process started here sees {other}"
    passing = any(sign in end for sign in _PASSING)
    kept = ready is not None and not other and not passing
    return Verdict(reason, key, differences, timings, kept)


def make_key(device: torch.device, kernel: str = KERNEL) -> Dict[str, str]:
    """What a verdict holds for: card, driver, versions and sources."""
    import triton

    card, capability, driver = "Triton's interpreter", "", ""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        card, capability = properties.name, f"{properties.major}.{properties.minor}"
        driver = _driver()
    files = [importlib.util.find_spec(name).origin for name in (kernel, *_SOURCES)]
    return {
        "card": card,
        "capability": capability,
        "driver": driver,
        "torch": str(torch.__version__),
        "triton": triton.__version__,
        "interpreted": os.environ.get("TRITON_INTERPRET", "0"),
        "sources": fingerprint(kernel, *(Path(file).read_bytes() for file in files)),
    }


def _driver() -> str:
    """The first line of the kernel module's own words, or the version of CUDA it offers."""
    try:
        return Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError):
        version = getattr(torch._C, "_cuda_getDriverVersion", lambda: "unknown")
        return f"CUDA {version()}"


def _path(key: Dict[str, str]) -> Path:
    """Raises RuntimeError where there is no home."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "gmot" / "kernels" / f"{fingerprint(json.dumps(key, sort_keys=True))}.json"


def _parse(output: bytes) -> List[Dict[str, Any]]:
    """Lines of JSON; what libraries print between them is left out."""
    events = []
    for line in output.decode("utf-8", "replace").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            events.append(value)
    return events


def _describe_end(status: int, stderr: bytes) -> str:
    if status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    # CUDA's errors end in advice.
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (errors or lines or [f"status {status}"])[-1]


def report() -> Iterator[str]:
    """Lines on each card: a new comparison, with timings, and which backend "auto" is.

    Under Triton's interpreter (TRITON_INTERPRET=1) a machine without a card has a report too.
    """
    from gmot.ot.backends import unavailable
    from gmot.ot.backends.verification_run import TIMED, make_task

    devices = [torch.device("cuda", n) for n in range(torch.cuda.device_count())]
    sizes = SIZES
    if not devices and os.environ.get("TRITON_INTERPRET") == "1":
        devices, sizes = [torch.device("cpu")], ((1, 4, 2),)
    if not devices:
        yield "none that torch can use; the transport is solved on the CPU"
    for device in devices:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "interpreter"
        reason = unavailable("cuda", make_task([(4, 2)], device, torch.float32, **TIMED))
        if reason is None:
            verdict = verify(device, sizes=sizes)
            yield ", ".join(f"{k} {v}" for k, v in verdict.key.items() if v)
            for problem, distance in verdict.differences.items():
                yield f"  {problem}: differs from torch by {distance:.1e} (L1)"
            for timing in verdict.timings:
                size = " x ".join(map(str, timing["size"]))
                yield f"  {size}: kernel {timing['kernel']:.2f} ms, torch {timing['torch']:.2f} ms"
            reason = verdict.reason
        if reason:
            yield f"{device} {name}: backend torch is used; the Triton kernel is not: {reason}"
        else:
            yield f"{device} {name}: backend cuda is used; the Triton kernel agrees with torch"
