"""Check the Python environment: versions of torch, k2 and the recipes' packages.

Prints the versions found, whether torch and k2 load, and how to get what is missing; the last line
is the verdict. Exit status 0 if everything is there, 1 otherwise. It starts without any package.
With --gpu, it also compares the Triton kernel of the transport with torch on each GPU, times both,
and reports which one is used.
"""

import argparse
import platform
import re
import subprocess
import sys
from importlib import metadata

from gmot.provenance import ROOT, version

PYTHONS = [(3, minor) for minor in range(10, 15)]
K2_FOR_TORCH_1_13 = """\
  k2 for this torch:
    python -m pip install --require-hashes -r requirements/pip.txt
    python -m pip install --require-hashes --no-deps -r requirements/k2.txt"""
SETS_WITH_K2 = """\
  two sets of packages have k2 (requirements/README.md):
    bash shared/environment.sh --set pypi     Python 3.10 or 3.11, Linux x86_64
    bash shared/environment.sh --set modern   NVIDIA GPU, Linux x86_64"""
TORCH_REPORT = """\
import torch
n, text = torch.cuda.device_count(), f"{torch.__version__}  CUDA "
if n: print(f"{text}{torch.version.cuda}, {n} x {torch.cuda.get_device_name(0)}")
else: print(f"{text}not available: runs on the CPU")"""
GPU_REPORT = f"""\
import sys; sys.path.insert(0, {str(ROOT)!r})
from gmot.ot.kernels.verification import report
for line in report(): print(f"{{'gpu':<20}}{{line}}", flush=True)"""


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpu", action="store_true", help="compare and time the GPU's transport")
    return parser


def needed() -> list[str]:
    """Packages of the extra "recipe" on this platform, apart from torch and k2."""
    file = ROOT / "requirements" / "recipe.in"
    if file.is_file():
        lines = [line for line in file.read_text().splitlines() if line and line[0] != "#"]
    else:  # an installed wheel
        asked = metadata.requires("gmot") or []
        lines = [line for line in asked if re.search(r"extra == .recipe.", line)]
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        lines = [line for line in lines if "platform_machine" not in line]
    return [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in lines]


def remedy(torch: str | None, python: tuple[int, int]) -> str:
    """Commands that install a k2 which loads, for the version of torch (if any) and Python."""
    if (torch or "").split("+")[0] == "1.13.1" and python in ((3, 10), (3, 11)):
        return K2_FOR_TORCH_1_13
    return SETS_WITH_K2


def show(name: str, found: str) -> None:
    print(f"{name:<20}{found}", flush=True)


def show_loaded(name: str, code: str) -> tuple[str | None, bool]:
    """Version of a package, and whether ``code``, which prints what to show, runs."""
    found = version(name)
    # In a process of its own, because a broken k2 may crash.
    result = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    last = [f"exit status {result.returncode}", *result.stdout.strip().splitlines()][-1]
    loads = result.returncode == 0
    show(name, last if loads else f"{found}  does not load: {last}" if found else "missing")
    return found, loads


def main() -> None:
    args = get_parser().parse_args()
    python = sys.version_info[:2]
    missing = [] if python in PYTHONS else ["Python 3.10 to 3.14"]
    show("python", f"{sys.version.split()[0]}  ({sys.executable})")
    torch, torch_loads = show_loaded("torch", TORCH_REPORT)
    if not torch_loads:
        missing.append("a torch that loads" if torch else "torch")
    if args.gpu and not torch_loads:
        show("gpu", "not checked: that needs a torch that loads")
    elif args.gpu and subprocess.run([sys.executable, "-c", GPU_REPORT]).returncode:
        show("gpu", "not checked: the process above failed")
    for name in needed():
        found = version(name)
        show(name, found or "missing")
        if found is None:
            missing.append(name)
    _, k2_loads = show_loaded("k2", f"import k2; print({version('k2')!r}, ' loads')")
    if not k2_loads:
        print(remedy(torch, python))

    if missing:
        print(f"verdict: missing: {', '.join(missing)}. Install: bash shared/environment.sh")
    elif not k2_loads:
        print(
            "verdict: all but k2: greedy and prefix beam search work, decoding with graphs does not"
        )
    else:
        print("verdict: everything that the recipes need is installed")
    sys.exit(0 if k2_loads and not missing else 1)
