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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = [(3, minor) for minor in range(10, 15)]
K2_FOR_TORCH_1_13 = """\
  k2 for this torch:
    python -m pip install --require-hashes -r requirements/pip.txt
    python -m pip install --require-hashes --no-deps -r requirements/k2.txt"""
SETS_WITH_K2 = """\
  two sets of packages have k2 (requirements/README.md):
    bash shared/environment.sh --set pypi     Python 3.10 or 3.11, Linux x86_64
    bash shared/environment.sh --set modern   NVIDIA GPU, Linux x86_64"""
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


def version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def ask(code: str) -> tuple[bool, str]:
    """Whether ``code`` runs in a process of its own (a broken k2 may crash), and its last line."""
    result = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = result.stdout.strip().splitlines()
    return result.returncode == 0, lines[-1] if lines else f"exit status {result.returncode}"


def remedy(torch: str | None, python: tuple[int, int]) -> str:
    """Commands that install a k2 which loads.

    Args:
      torch: version found, or None.
      python: (major, minor) of the interpreter.
    """
    if (torch or "").split("+")[0] == "1.13.1" and python in ((3, 10), (3, 11)):
        return K2_FOR_TORCH_1_13
    return SETS_WITH_K2


def show(name: str, found: str) -> None:
    print(f"{name:<20}{found}", flush=True)


def main() -> None:
    args = get_parser().parse_args()
    python = sys.version_info[:2]
    missing: list[str] = []
    show("python", f"{sys.version.split()[0]}  ({sys.executable})")
    if python not in PYTHONS:
        missing.append("Python 3.10 to 3.14")

    torch, loads = version("torch"), False
    if torch is None:
        show("torch", "missing")
        missing.append("torch")
    else:
        loads, line = ask(
            "import torch; n = torch.cuda.device_count(); print(f'{torch.__version__}  CUDA ' + ("
            "f'{torch.version.cuda}, {n} x {torch.cuda.get_device_name(0)}' if n else"
            " 'not available: runs on the CPU'))"
        )
        show("torch", line if loads else f"{torch}  does not load: {line}")
        if not loads:
            missing.append("a torch that loads")
    if args.gpu and not loads:
        show("gpu", "not checked: that needs a torch that loads")
    elif args.gpu and subprocess.run([sys.executable, "-c", GPU_REPORT]).returncode:
        show("gpu", "not checked: the process above failed")

    for name in needed():
        found = version(name)
        show(name, found or "missing")
        if found is None:
            missing.append(name)

    loads, line = ask("import k2")
    k2 = version("k2")
    show("k2", f"{k2}  loads" if loads else f"{k2}  does not load: {line}" if k2 else "missing")
    if not loads:
        print(remedy(torch, python))

    if missing:
        print(f"verdict: missing: {', '.join(missing)}. Install: bash shared/environment.sh")
    elif not loads:
        print(
            "verdict: all but k2: greedy and prefix beam search work, decoding with graphs does not"
        )
    else:
        print("verdict: everything that the recipes need is installed")
    sys.exit(0 if loads and not missing else 1)
