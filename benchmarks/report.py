"""The table and the picture of a run."""

import datetime
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

ENTROPIC = "F_eps"
SHOWN = ((16, 200, 20), (16, 400, 60))
PACKAGES = ("torch", "numba", "numpy", "POT", "geomloss", "ott-jax", "jax")
# Okabe and Ito's colours; the markers tell them apart in grey.
STYLES = {
    "gmot cpu": ("#D55E00", "o"),
    "gmot torch": ("#E69F00", "s"),
    "gmot geomloss": ("#CC79A7", "v"),
    "OTT-JAX": ("#0072B2", "D"),
    "POT loop": ("#009E73", "^"),
    "POT loop torch": ("#56B4E9", "P"),
    "POT batch": ("#000000", "X"),
    "POT exact": ("#8C8C00", "*"),
    "floor": ("#777777", "_"),
}


class Row(NamedTuple):
    """One solver on one problem; times in seconds."""

    kind: str
    size: tuple[int, int, int]
    features: str
    epsilon: float
    name: str
    objective: str
    wall: float
    cpu: float
    gap: float | None = None
    marginal: float | None = None
    cost: float | None = None
    gradient_error: float | None = None
    setting: Any = None
    change: float = 0.0

    @property
    def cell(self) -> tuple[Any, ...]:
        return self.kind, self.size, self.features, self.epsilon


class Rows:
    """What was measured, and what ratios are to: gmot's fastest backend that is exact enough."""

    def __init__(self, rows: Sequence[Row], threads: int):
        self.rows = rows
        self.threads = threads

    def time(self, row: Row) -> float:
        return row.cpu if self.threads == 1 else row.wall

    def base(self, cell: tuple[Any, ...]) -> float | None:
        ours = [r for r in self.rows if r.cell == cell and r.name.startswith("gmot")]
        if not ours:
            return None
        # Where none is exact, those as good as the best but for rounding.
        enough = max(1e-6, 1.1 * min(abs(r.gap) for r in ours))
        return min(self.time(r) for r in ours if abs(r.gap) <= enough)

    def ratio(self, row: Row) -> str:
        base = self.base(row.cell)
        return "-" if base is None else f"{self.time(row) / base:.2f}"

    def find(self, *cell: Any) -> dict[str, Row]:
        return {row.name: row for row in self.rows if row.cell == cell}


def write(
    output: str,
    rows: Sequence[Row],
    solvers: Sequence[Any],
    threads: int,
    command: str,
    took: float,
) -> None:
    """``output``.md and ``output``.png, each complete or not at all."""
    from gmot.common import atomic_path

    found = Rows(rows, threads)
    picture = Path(output).with_suffix(".png")
    # The header first: it tells whether the tree is that of the commit, which the files change.
    parts = [_header(found, command, took), _summary(found)]
    if any(r.features == "speech-like" and r.epsilon == 0.05 for r in rows):
        with atomic_path(picture) as path:
            _figure(found).savefig(path, dpi=150)
        parts.append(f"![Time against size]({picture.name})\n")
    parts += [_reading(found, solvers), *_details(found)]
    with atomic_path(Path(output).with_suffix(".md")) as path:
        path.write_text("\n".join(parts), encoding="utf-8")


# ------------------------------------------------------------------------------- the page


def _header(found: Rows, command: str, took: float) -> str:
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return f"""# Fused Gromov-Wasserstein on a CPU

Made by `{command}` in {took:.0f} seconds; do not edit.

| | |
| --- | --- |
| date | {datetime.date.today().isoformat()} |
| commit | {_commit()} |
| CPU | {_cpu()}, pinned to {found.threads} core{"s" if found.threads > 1 else ""} |
| Python | {platform.python_version()} |
| packages | {versions} |
"""


def _summary(found: Rows) -> str:
    sizes = [s for s in SHOWN if any(r.size == s for r in found.rows)]
    if not sizes or not found.find("forward", sizes[0], "speech-like", 0.05):
        return ""
    clock = "CPU" if found.threads == 1 else "wall"
    heads = [f"{kind} {_name(size)}" for size in sizes for kind in ("forward", "forward+backward")]
    lines = [
        "## In short",
        "",
        f"Speech-like features, epsilon 0.05: {clock} ms (ratio to gmot's best).",
        "",
        "| solver | objective | gap | " + " | ".join(heads) + " |",
        "| --- " * (3 + len(heads)) + "|",
    ]
    cells = [(k, s, "speech-like", 0.05) for s in sizes for k in ("forward", "forward+backward")]
    columns = [found.find(*cell) for cell in cells]
    for name, row in columns[1].items():
        gaps = [c[name].gap for c in columns if c[name].gap is not None] if row.gap else []
        worst = f"{max(gaps, key=abs):.1e}" if gaps and row.objective == ENTROPIC else "-"
        times = (
            f"{1e3 * found.time(c[name]):.1f} ({found.ratio(c[name])})" if name in c else "-"
            for c in columns
        )
        lines.append(f"| {name} | {row.objective} | {worst} | " + " | ".join(times) + " |")
    return "\n".join(lines) + "\n"


def _reading(found: Rows, solvers: Sequence[Any]) -> str:
    ratio = "CPU time" if found.threads == 1 else "wall time"
    notes = "\n".join(f"| {s.name} | {s.objective} | {s.note} |" for s in solvers)
    return f"""## How to read it

The problem: F_eps(P) = (1 - alpha) <M, P> + alpha sum |C1_ij - C2_kl|^2 P_ik P_jl
+ epsilon sum P log P, with alpha 0.5, cosine distances of 256-dimensional vectors and uniform
weights; B problems of T frames and L tokens (BxTxL). "speech-like": frames follow the tokens in
order, each for a random duration, with noise. "random": independent vectors, an easy problem.

- **forward**: from cost matrices, ready in the library's own arrays, to the plan.
  **forward+backward**: from features to the gradient with respect to both sides' features.
- **floor**: the three cost tensors by plain torch and the gradient through them, without any
  transport; what builds and differentiates the costs like that cannot be faster. gmot's edges make
  their gradient from the plan alone, so it can.
- **gap**: F_eps of the plan, rounded to the marginals (arXiv 1705.09634, Algorithm 2), minus that
  of a float64 reference; of the items the worst. **marginal**: L1 error before rounding. The gap
  of another objective (`F`: without entropy) says nothing of its quality; for those see **F**, the
  mean cost without entropy, rounded: lower is better.
- **gradient error**: relative L2 distance to the gradient of F_eps at the reference.
- Times are the least of the repeats, the competitors taking turns; **CPU** counts all threads and
  suffers less from other jobs. **ratio**: {ratio} over that of gmot's fastest backend with a
  gap of at most 1e-6 (or its smallest gap, if none has that).
- Each solver has a few settings from fast to careful, tuned by hand; in each cell the first with a
  gap of at most 1e-6 is timed, and for forward+backward also a gradient error of at most 1e-3.
  Where none has that, the last is timed: see the columns. POT loop torch differentiates another
  function (F, without entropy), so its gradient error is no fault of its precision.
- gmot geomloss and POT loop torch take minutes at epsilon 0.01 and are left out there.
- At epsilon 0.01 there are several stationary points, and the reference is slow: a gap is signed
  and may be negative, and a solver may have come to another point. Where the reference was still
  moving, the cell says by how much.

| solver | objective | how it is used |
| --- | --- | --- |
{notes}
"""


def _details(found: Rows) -> list[str]:
    parts = []
    for kind in ("forward", "forward+backward"):
        backward = kind != "forward"
        heads = ["size", "features", "epsilon", "solver", "objective", "wall ms", "CPU ms", "ratio"]
        heads += ["gap", "gradient error" if backward else "marginal", "F", "setting"]
        lines = [
            f"## All: {kind}",
            "",
            "| " + " | ".join(heads) + " |",
            "| --- " * len(heads) + "|",
        ]
        for row in (r for r in found.rows if r.kind == kind):
            cells = [_name(row.size), row.features, f"{row.epsilon:g}", row.name, row.objective]
            cells += [f"{1e3 * row.wall:.2f}", f"{1e3 * row.cpu:.2f}", found.ratio(row)]
            if row.gap is None:
                cells += ["-"] * 4
            else:
                error = row.gradient_error if backward else row.marginal
                cells += [
                    f"{row.gap:.1e}",
                    f"{error:.1e}",
                    f"{row.cost:.5f}",
                    _setting(row.setting),
                ]
            lines.append("| " + " | ".join(cells) + " |")
        parts.append("\n".join(lines) + "\n")
    moving = {(r.size, r.features, r.epsilon): r.change for r in found.rows if r.change > 1e-11}
    if moving:
        cells = (
            f"{_name(s)} {f} {e:g}: {change:.0e}" for (s, f, e), change in sorted(moving.items())
        )
        parts.append("The reference's last change of a plan (L1): " + "; ".join(cells) + ".\n")
    return parts


def _setting(setting: Any) -> str:
    if setting is None:
        return "defaults"
    if isinstance(setting, dict):
        return ", ".join(f"{key} {value:g}" for key, value in setting.items())
    return ", ".join(f"{value:g}" for value in setting)


def _name(size: tuple[int, int, int]) -> str:
    return "x".join(str(n) for n in size)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    folder = Path(__file__).resolve().parent
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


# ------------------------------------------------------------------------------- the picture


def _figure(found: Rows) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    rows = [r for r in found.rows if r.features == "speech-like" and r.epsilon == 0.05]
    # By the multiplications of an outer step.
    sizes = sorted({r.size for r in rows}, key=lambda s: s[0] * s[1] * s[2] * (s[1] + s[2]))
    clock = "CPU" if found.threads == 1 else "wall"
    axes = figure.subplots(1, 2, sharey=True)
    for axis, kind in zip(axes, ("forward", "forward+backward")):
        for name, (colour, marker) in STYLES.items():
            own = {r.size: r for r in rows if r.kind == kind and r.name == name}
            if not own:
                continue
            other = next(iter(own.values())).objective != ENTROPIC
            places = [i for i, size in enumerate(sizes) if size in own]
            times = [1e3 * found.time(own[sizes[i]]) for i in places]
            line = ":" if name == "floor" else "--" if other else "-"
            label = f"{name} (another objective)" if line == "--" else name
            label = "floor: costs only" if name == "floor" else label
            axis.plot(places, times, line, color=colour, marker=marker, markersize=7, label=label)
        axis.set_title(kind)
        axis.set_yscale("log")
        axis.set_xticks(range(len(sizes)), [_name(size) for size in sizes])
        axis.set_xlabel("problems x frames x tokens")
        axis.grid(axis="y", which="both", color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(f"{clock} time of a batch, ms")
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    plural = "s" if found.threads > 1 else ""
    figure.suptitle(
        f"Fused Gromov-Wasserstein, speech-like, epsilon 0.05, {found.threads} thread{plural}"
    )
    return figure
