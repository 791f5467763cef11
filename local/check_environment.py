#!/usr/bin/env python3
"""Say whether this Python has what the recipes need.

Prints the versions found, whether k2 loads and, if it does not, the lines that
mend it for the torch that is here; the last line is the verdict. Exit status 0
when all is there, 1 otherwise. It runs where nothing is installed. With --gpu
it first compares the Triton kernel of the transport with torch on each GPU, times
both, and says which is used.
"""

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import List, Optional, Tuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from gmot.cli import ArgumentParser, run  # noqa: E402

PYTHONS = ((3, 9), (3, 10), (3, 11))
# What the stages import, by the names of the registry; torch and k2 are looked at apart.
NEEDED = [
    "numpy",
    "scipy",
    "numba",
    "llvmlite",
    "geomloss",
    "lhotse",
    "soundfile",
    "transformers",
    "safetensors",
    "kaldialign",
    "tensorboard",
    "six",
    "matplotlib",
    "PyYAML",
    "tqdm",
    "jieba",
    "pypinyin",
    "cn2an",
    "ordered-set",
    "onnxruntime",
]
# Goes with k2, and like it has no wheels elsewhere.
if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
    NEEDED.append("kaldilm")
OPTIONAL = {"kaldi_native_fbank": "for --pitch: pip install -r requirements/pitch.txt"}
DEFAULT_PAIR = """\
  torch 1.13.1 and k2 1.23.4, in an environment of their own (.venv):
    bash shared/environment.sh"""
CUDA12_PAIR = """\
  torch 2.8.0 and k2 for CUDA 12 (Linux x86_64), in the present environment:
    python -m pip install -r requirements/cuda12.txt"""
# pip 26.3 refuses the names of k2's wheels; requirements/k2.txt says more.
K2_FOR_TORCH_1_13 = """\
  k2 for the torch that is here:
    python -m pip install pip==26.0.1
    python -m pip install --no-deps -r requirements/k2.txt"""

GPU_REPORT = f"""\
import sys; sys.path.insert(0, {str(ROOT)!r})
from gmot.ot.backends.verification import report
for line in report(): print(f"{{'gpu':<14}}{{line}}", flush=True)"""


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", action="store_true", help="compare and time the GPU's transport")
    return parser


def version(distribution: str) -> Optional[str]:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def ask(code: str) -> Tuple[bool, str]:
    """Run ``code`` in a Python of its own: a broken k2 may take the process with it.

    Returns:
      Whether it ended well, and the last line it printed.
    """
    result = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = result.stdout.strip().splitlines()
    return result.returncode == 0, lines[-1] if lines else f"exit status {result.returncode}"


def remedy(torch: Optional[str], python: Tuple[int, int]) -> str:
    """The lines that bring a k2 which loads.

    Args:
      torch: the version found, or None.
      python: (major, minor) of the interpreter.
    """
    linux = sys.platform.startswith("linux")
    if torch is not None and torch.split("+")[0] == "1.13.1" and python in PYTHONS and linux:
        return K2_FOR_TORCH_1_13
    found = "no torch" if torch is None else f"torch {torch}"
    return f"  {found} here; two pairs of torch and k2 that go together:\n" + "\n".join(
        (DEFAULT_PAIR, CUDA12_PAIR)
    )


def main() -> None:
    args = get_parser().parse_args()
    python = sys.version_info[:2]
    missing: List[str] = []

    def show(name: str, found: str) -> None:
        print(f"{name:<14}{found}", flush=True)

    show("python", f"{sys.version.split()[0]}  ({sys.executable})")
    if python not in PYTHONS:
        missing.append("Python 3.9, 3.10 or 3.11")

    torch = version("torch")
    if torch is None:
        show("torch", "missing")
        missing.append("torch")
    else:
        loads, said = ask(
            "import torch; n = torch.cuda.device_count(); print(f'{torch.__version__}  CUDA ' + ("
            "f'{torch.version.cuda}, {n} x {torch.cuda.get_device_name(0)}' if n else"
            " 'not available: runs on the CPU'))"
        )
        show("torch", said if loads else f"{torch}  does not load: {said}")
        if not loads:
            missing.append("a torch that loads")
    if args.gpu:
        if torch is None or not loads:
            show("gpu", "not looked at: that needs a torch that loads")
        elif subprocess.run([sys.executable, "-c", GPU_REPORT]).returncode:
            show("gpu", "not looked at: the process above failed")

    for name in NEEDED:
        found = version(name)
        show(name, found or "missing")
        if found is None:
            missing.append(name)
    for name, use in OPTIONAL.items():
        show(name, version(name) or f"not there ({use})")

    loads, said = ask("import k2")
    k2 = version("k2")
    show("k2", f"{k2}  loads" if loads else f"{k2 or 'missing'}" + (f"  {said}" if k2 else ""))
    if not loads:
        print(remedy(torch, python))

    if missing:
        print(f"verdict: missing: {', '.join(missing)}. Mend it with: bash shared/environment.sh")
    elif not loads:
        print("verdict: all but k2: greedy decoding works, decoding with graphs does not")
    else:
        print("verdict: all the recipes need is here")
    sys.exit(0 if loads and not missing else 1)


if __name__ == "__main__":
    run(main)
