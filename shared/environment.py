"""Python environment of the recipes: choose a set of packages, install it, keep it up to date.

Started by shared/environment.sh with any Python from 3.10 on, before anything is installed, so it
uses the standard library only. Sets, locks and their platforms: requirements/README.md.
"""

import argparse
import fcntl
import hashlib
import html
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
K2_PAGE = "https://k2-fsa.github.io/k2/cuda.html"
# Pythons of each set, the preferred one first.
PYTHONS = {
    "pypi": ("3.11", "3.10"),
    "torch2": ("3.12", "3.13", "3.11", "3.10", "3.14"),
    "modern": ("3.12", "3.13", "3.11", "3.10", "3.14"),
}

HELP = """Make the Python environment of this project, or bring it up to date.

Sets (requirements/README.md):
  pypi    Python 3.10 or 3.11 on Linux x86_64: torch 1.13.1 and k2
  torch2  Python 3.10 to 3.14: torch 2 without k2 (greedy and prefix beam search only)
  modern  NVIDIA GPU on Linux x86_64, Python 3.10 to 3.14: torch 2, and k2 from k2's own page
Without --set: modern with an NVIDIA driver, else pypi with Python 3.10 or 3.11, else torch2.

No root is needed, and nothing outside the environment's folder is touched, except for FOLDER.lock
beside it. A stopped install continues when the command is given again. Where no Python fits and
'uv' is on the PATH, uv brings Python 3.11. Variables: PYTHON forces an interpreter, GMOT_K2_PAGE
names another page of k2's wheels, and pip reads its own (with an index of PyTorch's CPU builds in
PIP_EXTRA_INDEX_URL, torch2 takes the CPU build)."""

Driver = tuple[int, int]  # newest CUDA version that an NVIDIA driver supports


def log(message: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), message, file=sys.stderr, flush=True)


def die(message: str) -> NoReturn:
    sys.exit(f"error: {message}")


# --- choice of the set and of k2's wheel ---------------------------------------------------------


def modern_versions(driver: Driver | None) -> tuple[str, str, str]:
    """Lock, torch and CUDA of the set "modern"; without a driver those of the newest."""
    if driver is not None and driver[0] < 13:
        return "modern-cuda12.txt", "2.8.0", "12.8"
    return "modern.txt", "2.12.0", "13.0"


def usable_pythons(name: str, system: tuple[str, str], driver: Driver | None) -> tuple[str, ...]:
    """Pythons of a set on a platform, the preferred one first.

    Args:
      name: of the set.
      system: ``platform.system()`` and ``platform.machine()``.
      driver: CUDA of the NVIDIA driver, or None.
    """
    if name != "torch2" and system != ("Linux", "x86_64"):
        return ()
    if name == "modern" and modern_versions(driver)[1] == "2.8.0":
        return tuple(p for p in PYTHONS[name] if p != "3.14")  # no such wheel of torch 2.8
    return PYTHONS[name]


def choose_set(
    pythons: Iterable[str], system: tuple[str, str], driver: Driver | None
) -> tuple[str, str]:
    """Name of a set, and the reason for it in a few words."""
    found = set(pythons)
    modern, pypi = (found & {*usable_pythons(n, system, driver)} for n in ("modern", "pypi"))
    if modern and driver is not None and driver >= (12, 0):
        return "modern", f"an NVIDIA driver for CUDA {driver[0]}.{driver[1]}"
    if pypi:
        return "pypi", "PyPI has k2 for it"
    if system != ("Linux", "x86_64"):
        return "torch2", f"PyPI has no k2 for {' '.join(system)}"
    return "torch2", "PyPI has k2 for Python 3.10 and 3.11 only"


def choose_wheel(
    links: Iterable[str], python: str, torch: str, cuda: str, machine: str = "x86_64"
) -> str | None:
    """Link to k2's newest Linux wheel for a Python, a torch and its CUDA; None without one.

    Args:
      links: file names or URLs, percent-encoded or not.
      python, torch, cuda: versions as "3.12", "2.12.0", "13.0".
      machine: ``platform.machine()``.
    """
    tag = "cp" + python.replace(".", "")
    pattern = re.compile(
        rf"k2-(?P<version>[\w.]+)\+cuda{re.escape(cuda)}\.torch{re.escape(torch)}"
        rf"-{tag}-{tag}-(?=.*linux)[\w.]*{re.escape(machine)}\.whl"
    )
    matches = [(pattern.fullmatch(file_name(link)), link) for link in links]
    return max(
        (([int(n) for n in re.findall(r"\d+", m["version"])], link) for m, link in matches if m),
        default=(None, None),
    )[1]


def file_name(link: str) -> str:
    return urllib.parse.unquote(link).rsplit("/", 1)[-1]


def find_k2(python: str, driver: Driver | None) -> tuple[str | None, str]:
    """Link to the k2 wheel of the set "modern", and one line about it."""
    _, torch, cuda = modern_versions(driver)
    url = os.environ.get("GMOT_K2_PAGE") or K2_PAGE
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            page = answer.read().decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        return None, f"k2 is not installed: {url} cannot be read ({error})"
    found = re.findall(r"""href\s*=\s*["']([^"'#]+\.whl)["'#]""", page)
    links = [urllib.parse.urljoin(url, html.unescape(link)) for link in found]
    wheel = choose_wheel(links, python, torch, cuda, platform.machine())
    if wheel is None:
        wanted = f"Python {python}, torch {torch}, CUDA {cuda}"
        return None, f"k2 is not installed: {url} has no wheel for {wanted}"
    return wheel, f"k2: {file_name(wheel)}"


def cuda_of_driver() -> Driver | None:
    """Newest CUDA version that the NVIDIA driver supports; None without a driver."""
    try:
        answer = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"CUDA[^:|\n]*Version:\s*(\d+)\.(\d+)", answer.stdout)
    return (int(match[1]), int(match[2])) if match and answer.returncode == 0 else None


# --- the interpreter ---------------------------------------------------------------------------


def probe(python: str) -> tuple[str, str, bool] | None:
    """Version, path outside environments, whether it can make one; None: it does not start."""
    code = (
        "import sys; print('%d.%d' % sys.version_info[:2])\n"
        "print(getattr(sys, '_base_executable', None) or sys.executable)\n"
        "import ensurepip, venv; print('venv')"
    )
    try:
        answer = subprocess.run(
            [python, "-I", "-c", code], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = answer.stdout.split("\n")
    return (lines[0], lines[1], lines[2] == "venv") if len(lines) > 2 else None


def find_python(name: str | None, driver: Driver | None) -> tuple[str, str, str]:
    """The set, and version and path of its Python; logs what is chosen and why."""
    system = (platform.system(), platform.machine())
    asked = os.environ.get("PYTHON")
    names = [*(f"python3.{minor}" for minor in range(10, 15)), "python3", "/usr/bin/python3"]
    found: dict[str, str] = {}
    notes: list[str] = []
    for candidate in [asked] if asked else [*names, sys.executable]:
        version, path, complete = probe(candidate) or ("", "", False)
        if complete:
            found.setdefault(version, path)
        elif version:
            notes.append(f"  {candidate} is Python {version} without its venv module")
    if name is None:
        name, reason = choose_set(found, system, driver)
    else:
        reason = "asked for"
    wanted = usable_pythons(name, system, driver)
    if not wanted:
        die(f"--set {name} needs Linux x86_64; this is {' '.join(system)}")
    uv = shutil.which("uv")
    if uv and not asked and "3.11" in wanted and not found.keys() & {*wanted}:
        log("uv brings Python 3.11")
        subprocess.run([uv, "python", "install", "3.11"], stdout=sys.stderr)
        answer = subprocess.run([uv, "python", "find", "3.11"], capture_output=True, text=True)
        version, path, complete = probe(answer.stdout.strip()) or ("", "", False)
        if complete:
            found[version] = path
            if reason != "asked for":
                name, reason = choose_set(found, system, driver)
                wanted = usable_pythons(name, system, driver)
    for version in wanted:
        if version in found:
            log(f"Set {name} with Python {version}: {reason}")
            return name, version, found[version]
    suggested = wanted[0]
    notes += [f"  found: Python {version}" for version in sorted(found)]
    notes += [f"  PYTHON={asked} was asked for"] if asked else []
    die(
        f"set {name} needs one of Python {', '.join(sorted(wanted))}, with its venv module.\n"
        + "".join(f"{note}\n" for note in notes)
        + f"""Any one of these brings it:
  Debian, Ubuntu:  apt-get install python{suggested} python{suggested}-venv
  Fedora:          dnf install python{suggested}
  macOS:           brew install python@{suggested}
  conda:           conda create -n gmot python={suggested}
                   then: PYTHON=$(conda run -n gmot which python)
  uv:              with 'uv' on the PATH this script fetches Python 3.11 itself
Then run the same command again."""
    )


# --- the environment ---------------------------------------------------------------------------


class Environment:
    """A virtual environment, with a record of the locks that are installed completely."""

    def __init__(self, folder: str):
        self.name = folder
        self.folder = Path(os.path.realpath(folder))
        self.python = str(self.folder / "bin" / "python")
        self.record = self.folder / "gmot-environment.json"
        self.log = self.folder / "pip.log"

    def lock(self) -> None:
        """Wait until no other process installs here; held until this process ends."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._lock = open(f"{self.folder}.lock", "a")  # noqa: SIM115
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            log(f"Waiting: another process is working on {self.name}")
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def state(self) -> dict[str, Any]:
        """What :meth:`save` recorded; empty where there is no environment."""
        try:
            return json.loads(self.record.read_text()) if os.access(self.python, os.X_OK) else {}
        except (OSError, ValueError):
            return {}

    def save(self, state: dict[str, Any]) -> None:
        temporary = self.record.with_suffix(".tmp")
        temporary.write_text(json.dumps(state, indent=1) + "\n")
        os.replace(temporary, self.record)

    def make(self, python: str, version: str) -> None:
        """Keep a complete environment of this Python version, make any other anew."""
        there = probe(self.python)
        pip = [self.python, "-m", "pip", "--version"]
        if (
            there
            and there[0] == version
            and not subprocess.run(pip, capture_output=True).returncode
        ):
            return
        used = self.folder.is_dir() and any(self.folder.iterdir())
        if used and not (self.folder / "pyvenv.cfg").is_file():
            die(f"{self.name} is not a Python environment. Move it away, or give another --venv.")
        log(f"Making {self.name} with {python}")
        command = [python, "-I", "-m", "venv", "--clear", str(self.folder)]
        if subprocess.run(command, stdout=sys.stderr).returncode:
            die(f"{' '.join(command)} failed (its message is above)")

    def install(self, *arguments: str, optional: bool = False) -> bool:
        """Run ``pip install``; False if it fails and is ``optional``."""
        for site in (self.folder / "lib").glob("python3*/site-packages"):
            # Left by a kill while pip copied files; pip would take the packages for installed.
            for info in [*site.glob("*.dist-info"), *site.glob("~*")]:
                if info.name.startswith("~") or not (info / "RECORD").is_file():
                    shutil.rmtree(info, ignore_errors=True)
        variables = {"PIP_RETRIES": "10", "PIP_DEFAULT_TIMEOUT": "60", "PIP_NO_INPUT": "1"}
        variables |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", **os.environ}
        # These would lead packages out of the environment.
        for name in (
            "PIP_TARGET",
            "PIP_PREFIX",
            "PIP_ROOT",
            "PIP_USER",
            "PYTHONPATH",
            "PYTHONHOME",
        ):
            variables.pop(name, None)
        command = ["-m", "pip", "install", "--no-deps", "--progress-bar", "off", *arguments]
        process = subprocess.Popen(
            [self.python, *command],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = ["\n" + " ".join(command) + "\n"]
        with open(self.log, "a") as log_file:
            log_file.write(lines[0])
            for line in process.stdout or ():
                lines.append(line)
                log_file.write(line)
                if re.search(r"^\s*Downloading .*\d\d\.\d MB\)|^Installing collected", line):
                    print(" ", line.strip()[:100], file=sys.stderr, flush=True)
        if process.wait() and not optional:
            sys.stderr.writelines(lines[-15:])
            die(
                f"pip could not install {arguments[-1]} (its last lines are above, all of them in "
                f"{self.log}). Fix the cause and run the same command again."
            )
        return process.returncode == 0

    def install_lock(self, lock: Path, driver: Driver | None) -> None:
        flags = () if lock.parent != REQUIREMENTS else ("--require-hashes",)
        if lock.name == "torch2.txt":
            if driver is None and platform.system() == "Linux":
                cpu = str(REQUIREMENTS / "torch2-cpu.txt")
                self.install(*flags, "-r", cpu, optional=True)
            if any((self.folder / "lib").glob("python3*/site-packages/torch-*+cpu.dist-info")):
                # Without the CUDA packages, which the CPU build does not use.
                blocks = re.split(r"(?m)^(?=\S)", lock.read_text())
                lock = self.folder / lock.name
                lock.write_text("".join(b for b in blocks if not re.match("nvidia-|cuda-", b)))
        self.install(*flags, "-r", str(lock))


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shared/environment.sh",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--set", choices=sorted(PYTHONS), help="default: chosen as said above")
    parser.add_argument("--venv", help="folder; default: .venv, or .venv-NAME with --set NAME")
    parser.add_argument("--dev", action="store_true", help="with pytest and linters")
    parser.add_argument("--cluster", action="store_true", help="with Dask, for --executor")
    parser.add_argument("--synthesis", action="store_true", help="with speech synthesis")
    parser.add_argument("--dry-run", action="store_true", help="print the choice, install nothing")
    parser.add_argument("--requirements", metavar="FILE", help="install FILE instead of a set")
    return parser


def run(args: argparse.Namespace) -> None:
    environment = Environment(args.venv or str(ROOT / f".venv{f'-{args.set}' if args.set else ''}"))
    if not args.dry_run:
        environment.lock()
    state = environment.state()
    # An environment keeps its set and its Python until others are asked for.
    other = (probe(os.environ["PYTHON"]) or [None])[0] if os.environ.get("PYTHON") else None
    keep = state and args.set in (None, state["set"]) and other in (None, state["python"])
    if not keep:
        driver = cuda_of_driver()
        name, version, python = find_python(args.set, driver)
        state = {"set": name, "python": version, "path": python, "driver": driver, "locks": {}}
    driver = tuple(state["driver"]) if state["driver"] else None
    name = state["set"]

    locks = [modern_versions(driver)[0] if name == "modern" else f"{name}.txt"]
    locks += ["k2.txt"] if name == "pypi" else []
    if args.requirements:
        locks = [os.path.abspath(args.requirements)]
    chosen = {"dev": args.dev, "cluster": args.cluster or args.dev, "synthesis": args.synthesis}
    locks += [f"{extra}.txt" for extra, wanted in chosen.items() if wanted]
    files = {lock: REQUIREMENTS / lock for lock in locks}
    for file in files.values():
        if not file.is_file():
            die(f"no requirements file {file}")
    hashes = {k: hashlib.sha256(file.read_bytes()).hexdigest() for k, file in files.items()}
    if all(state["locks"].get(lock) == value for lock, value in hashes.items()):
        log(f"{environment.name} is up to date (set {name}, Python {state['python']})")
        return
    if args.dry_run:
        if name == "modern":
            log(find_k2(state["python"], driver)[1])
        log(f"Would install {', '.join(locks)} into {environment.name}")
        return

    if not keep and environment.record.exists():
        shutil.rmtree(environment.folder)  # packages of another set would remain
    environment.make(state["path"], state["python"])
    log(f"Installing into {environment.name} (the first time: minutes; log: {environment.log})")
    environment.install("--require-hashes", "-r", str(REQUIREMENTS / "pip.txt"))
    for lock, file in files.items():
        if state["locks"].pop(lock, None) == hashes[lock]:
            state["locks"][lock] = hashes[lock]
            continue
        environment.save(state)
        log(lock)
        environment.install_lock(file, driver)
        if lock.startswith("modern"):
            wheel, line = find_k2(state["python"], driver)
            if wheel and not environment.install(wheel, optional=True):
                wheel, line = None, f"k2 is not installed: {wheel} failed ({environment.log})"
            log(line if wheel else f"{line}. Greedy and prefix beam search work without it.")
        state["locks"][lock] = hashes[lock]
        environment.save(state)
    check = [environment.python, str(ROOT / "local" / "check_environment.py")]
    log(subprocess.run(check, capture_output=True, text=True).stdout.strip().rsplit("\n", 1)[-1])


if __name__ == "__main__":
    try:
        run(get_parser().parse_args())
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command continues")
