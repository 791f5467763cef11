"""Ahead-of-time compilation of the Triton kernel with every Triton of a supported torch.

No GPU is needed. A Triton that is not the environment's is installed once into the user's cache
(``gmot/tritons``, about 600 MB each). Each version compiles in a process of its own, because a
fault of its compiler can be a segmentation fault. Only the second set of packages runs this: the
kernel needs torch 2.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.integration
VERSIONS = re.findall(r"^triton==(\S+)", (ROOT / "tests/ot/tritons.txt").read_text(), re.M)
ARCHITECTURES = (80, 90)
# Of each program, without a request to the driver.
MAX_SHARED = 48 * 1024


# ------------------------------------------------------------------ in a process of its own


def cases():
    """Problems and settings whose launches are the kernel's specialisations, by name."""
    from gmot.ot import DenseEdges
    from gmot.ot.problem import Problem, Settings

    def make(rows, columns, edges, **options):
        a, b = torch.full((1, rows), 1 / rows), torch.full((1, columns), 1 / columns)
        both = [DenseEdges(torch.zeros(1, n, n)) if edges else None for n in (rows, columns)]
        chosen = {"epsilon": 0.1, "proximal": False, "max_outer": 10, "max_inner": 20}
        chosen.update(tolerance=1e-4, marginal_tolerance=1e-4, **options)
        settings = Settings(edge_weight=0.5 if edges else 0.0, **chosen)
        return Problem(torch.zeros(1, rows, columns), a, b, *both), settings

    once = {"max_outer": 1}  # a constant to Triton
    return {
        "edges, proximal, 400 x 60": make(400, 60, True, proximal=True),
        # Sizes divisible by 16, which Triton knows as well.
        "edges, 160 x 128": make(160, 128, True),
        "balanced, 112 x 16": make(112, 16, False, **once),
        "unbalanced, 112 x 16": make(112, 16, False, **once, reach_a=0.9, reach_b=0.8),
        "edges, proximal, 1 x 1": make(1, 1, True, proximal=True, max_outer=1, max_inner=1),
        "proximal, 21 x 33": make(21, 33, False, proximal=True),
    }


class Recorder:
    """Stands where the kernel is launched and keeps what Triton would specialise it for."""

    def __init__(self, kernel):
        self.kernel, self.launches = kernel, []

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *args, num_warps, **constants):
        types = {torch.float32: "*fp32", torch.int32: "*i32", torch.int64: "*i64", float: "fp32"}
        signature, attributes = {}, {}
        for position, (name, value) in enumerate(zip(self.kernel.arg_names, args)):
            is_tensor = isinstance(value, torch.Tensor)
            if not is_tensor and isinstance(value, int):
                if value == 1:
                    constants[name] = 1
                signature[name] = "i32"
                number = value
            else:
                signature[name] = types[value.dtype if is_tensor else type(value)]
                number = value.data_ptr() if is_tensor else 1
            if number % 16 == 0:
                attributes[(position,)] = [["tt.divisibility", 16]]
        signature.update(dict.fromkeys(constants, "constexpr"))
        signature = {name: signature[name] for name in self.kernel.arg_names}
        self.launches.append((signature, constants, attributes, {"num_warps": num_warps}))


def registers(cubin):
    """Registers and bytes spilled of a thread, by the wheel's own tool."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        said = subprocess.check_output([str(tool), "-res-usage", file.name], text=True)
    return [int(n) for n in re.search(r"REG:(\d+) STACK:(\d+)", said).groups()]


def compile_all():
    """A line of JSON per kernel, as soon as it is compiled."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from gmot.ot.kernels import cuda, cuda_kernel

    kernel = cuda_kernel.solve_item
    cuda_kernel.solve_item = recorder = Recorder(kernel)
    done = []
    for name, case in cases().items():
        cuda.solve(*case)
        signature, constants, attributes, options = launch = recorder.launches.pop()
        if launch in done:  # nothing that differs is known when it is compiled
            continue
        done.append(launch)
        for architecture in ARCHITECTURES:
            found = {"triton": triton.__version__, "sm": architecture, "case": name}
            print(json.dumps(found), flush=True)
            source = ASTSource(kernel, signature, constants, attributes)
            compiled = compile(source, GPUTarget("cuda", architecture, 32), options)
            found["shared"] = compiled.metadata.shared
            found["registers"], found["stack"] = registers(compiled.asm["cubin"])
            print(json.dumps(found), flush=True)


# ------------------------------------------------------------------------------ in pytest


def find_triton(version):
    """The folder to put on PYTHONPATH, or None for the environment's own."""
    try:
        if metadata.version("triton") == version:
            return None
    except metadata.PackageNotFoundError:
        pass
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gmot/tritons"
    folder = cache / f"{version}-{sys.implementation.cache_tag}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            command = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet"]
            command += ["--retries=1", "--timeout=15", f"--target={temporary}/it"]
            command += ["--disable-pip-version-check", f"triton=={version}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
                pytest.skip(f"triton {version} cannot be had here: {last}")
            try:
                os.rename(f"{temporary}/it", folder)
            except OSError:
                assert folder.is_dir()  # another process was faster
    return folder


@pytest.mark.skipif(int(torch.__version__.split(".")[0]) < 2, reason="the kernel needs torch 2")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Triton's wheels are for Linux")
@pytest.mark.parametrize("version", VERSIONS)
def test_kernel_compiles(version, tmp_path, capsys):
    folder = find_triton(version)
    path = [str(folder)] if folder else []
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRITON_")}
    environment.update(
        PYTHONPATH=os.pathsep.join([*path, str(ROOT)]), TRITON_CACHE_DIR=str(tmp_path)
    )
    done = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=600
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"status {done.returncode} after {lines[-1:]}\n{done.stderr}"
    compiled = [line for line in lines if "shared" in line]
    with capsys.disabled():
        print()
        for line in compiled:
            print(
                "compiled: triton {triton}, sm_{sm}, {case}: {registers} registers, {stack} bytes "
                "of stack, {shared} of shared memory".format(**line)
            )
    assert {line["triton"] for line in compiled} == {version}
    assert {line["sm"] for line in compiled} == set(ARCHITECTURES)
    assert len(compiled) >= 10 and len(lines) == 2 * len(compiled)
    assert all(line["shared"] <= MAX_SHARED for line in compiled)


def test_versions_are_those_of_the_locks():
    for lock in ("torch2.txt", "modern.txt", "modern-cuda12.txt"):
        text = (ROOT / "requirements" / lock).read_text()
        assert re.search(r"^triton==(\S+)", text, re.M).group(1) in VERSIONS, lock


if __name__ == "__main__":
    compile_all()
