"""Fig. 3 of GM-OT: what alpha, rho and beta do to a problem whose answer is known."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.rows import load_row
from benchmarks.sweep import ROWS, Panel, Row, check_grid, describe_row, sweep, verdicts
from gmot.analysis.couplings import Utterance
from gmot.analysis.plan_measures import PlanMeasures
from gmot.common import GmotError

ROOT = Path(__file__).resolve().parents[2]
GRIDS = {"alpha": [0.5, 0, 0.1], "rho": [0, 0.3, 1, 3, 1000], "beta": [0.1, 0.3, 1, 3]}


def speech_like(seed, segments=(2, 2, 9, 3, 6, 4, 2, 5)):
    """Tokens of uneven duration, in order; each token occurs twice, so that only time tells."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randn(len(segments) // 2, 16, generator=generator, dtype=torch.float64)
    z = torch.cat([kinds, kinds])
    h = z.repeat_interleave(torch.tensor(segments), dim=0)
    h = h + 0.7 * torch.randn(h.shape, generator=generator, dtype=torch.float64)
    return Utterance(f"u{seed}", [str(i) for i in range(len(z))], h, z)


@pytest.fixture(scope="module", params=[False, True], ids=["own", "converged"])
def rows(request):
    utterances = [speech_like(seed) for seed in range(4)]
    utterances.append(speech_like(9, segments=(3, 1, 4, 2)))  # another length
    found = sweep(load_row("gm_ot"), utterances, GRIDS, converged=request.param)
    return dict(zip(("alpha", "rho", "beta", "edges"), found))


def series(row, name):
    return torch.stack([getattr(panel.measures, name) for panel in row.panels])


def test_a_last_sinkhorn_is_part_of_the_systems_own_solver():
    """And not of the converged one: its plans are those of a system without."""
    grids = {"alpha": [0.1, 0.5], "rho": [0, 0.3], "beta": [0.3, 1]}
    systems = [replace(load_row("gm_ot"), final_sinkhorn=last) for last in (False, True)]
    for converged, same in ((False, False), (True, True)):
        one, two = (
            series(sweep(s, [speech_like(0)], grids, converged=converged)[2], "entropy")
            for s in systems
        )
        assert torch.equal(one, two) is same and (one <= two).all()


def test_larger_rho_moves_every_plan_to_the_diagonal(rows):
    assert [panel.value for panel in rows["rho"].panels] == GRIDS["rho"]
    assert (series(rows["rho"], "diagonal").diff(dim=0) < 0).all()
    # At 1000 a step of a frame outweighs any two node costs: the segmentation must be monotone.
    assert (series(rows["rho"], "backward")[0] > 0).all()
    assert (series(rows["rho"], "backward")[-1] == 0).all()


def test_larger_beta_makes_every_plan_more_diffuse(rows):
    assert (series(rows["beta"], "entropy").diff(dim=0) > 0).all()
    assert verdicts(rows["beta"])[0].endswith(": holds")


def test_larger_alpha_takes_weight_from_the_nodes(rows):
    """The node cost loses against the entropy, unless beta goes down as much."""
    assert [panel.value for panel in rows["alpha"].panels] == [0, 0.1, 0.5]
    assert (series(rows["alpha"], "entropy").mean(1).diff() > 0).all()
    assert (series(rows["edges"], "entropy").mean(1).diff() < 0).all()
    assert torch.equal(rows["alpha"].panels[0].plan, rows["edges"].panels[0].plan)


def test_rows_hold_what_the_paper_holds(rows):
    assert describe_row(rows["alpha"]) == "alpha varied; rho = 0, beta = 0.5"
    assert describe_row(rows["rho"]) == "rho varied; alpha = 0.1, beta = 0.5"
    assert describe_row(rows["beta"]) == "beta varied; alpha = 0.1, rho = 0.5"
    assert describe_row(rows["edges"]).startswith("alpha varied; rho = 0, beta = 0.5 (1 - alpha)")
    # The same problem in two rows (alpha 0.1, rho 0, beta 0.5) has the same plan.
    first, second = rows["alpha"].panels[1].plan, rows["rho"].panels[0].plan
    assert first.shape == (33, 8) and torch.equal(first, second)


def row_of(*evenness, variation=(0.5, 0.5, 0.5)):
    """A row of alpha whose measures are given, of two utterances."""
    panels = []
    for value, even, vary in zip((0.0, 0.1, 0.5), evenness, variation):
        rest = [torch.zeros(2, dtype=torch.float64)] * 4
        pair = [torch.full((2,), x, dtype=torch.float64) for x in (even, vary)]
        panels.append(Panel(value, PlanMeasures(*pair, *rest), 0.0, torch.ones(1, 1)))
    return Row(ROWS[0], load_row("gm_ot"), panels)


@pytest.mark.parametrize(
    "evenness, variation, word",
    [
        ((0.1, 0.2, 0.3), (3, 2, 1), "holds"),
        ((0.3, 0.2, 0.1), (1, 2, 3), "CONTRADICTED"),
        ((0.3, 0.2, 0.1), (1, 1, 1), "CONTRADICTED"),
        ((0.3, 0.2, 0.1), (3, 2, 1), "MIXED"),
        ((0.1, 0.1, 0.1), (2, 2, 2), "NOT SEEN"),
        ((0.1, 0.2, 0.3), (2, 2, 2), "holds in part"),
    ],
)
def test_a_verdict_says_what_was_seen(evenness, variation, word):
    assert verdicts(row_of(*evenness, variation=variation))[0].endswith(f"segmentation: {word}")


def test_without_nodes_there_is_no_node_temperature():
    found = sweep(load_row("gm_ot"), [speech_like(0)], {**GRIDS, "alpha": [0.2, 1, 0.1]})
    assert [p.value for p in found[0].panels] == [0.1, 0.2, 1]
    assert [p.value for p in found[3].panels] == [0.1, 0.2]
    assert len(sweep(load_row("gm_ot"), [speech_like(0)], {**GRIDS, "alpha": [0, 1]})) == 3


def test_systems_without_an_outer_loop_are_refused():
    for name in ("tot", "gm_ot_setting1"):
        with pytest.raises(GmotError, match="edges"):
            sweep(load_row(name), [speech_like(0)], GRIDS)


def test_a_system_without_positional_cost_gets_the_papers():
    found = sweep(load_row("gm_ot_no_order"), [speech_like(0)], GRIDS)
    expected = sweep(load_row("gm_ot"), [speech_like(0)], GRIDS)
    for row, other in zip(found, expected):
        for panel, reference in zip(row.panels, other.panels):
            assert torch.equal(panel.plan, reference.plan)


@pytest.mark.parametrize(
    "parameter, values, message",
    [
        ("alpha", [0, 1.5], "from 0 to 1, found 1.5"),
        ("alpha", [0.1, float("nan")], "from 0 to 1, found nan"),
        ("rho", [-1, 2], "of 0 or more, found -1"),
        ("beta", [1, 0], "above 0, found 0"),
        ("beta", [1, float("inf")], "above 0, found inf"),
        ("rho", [1, 1], "two different values"),
    ],
)
def test_grids_out_of_range_are_refused(parameter, values, message):
    with pytest.raises(GmotError, match=f"--{parameter}s: expected .*{message}"):
        check_grid(parameter, values)


@pytest.mark.integration
@pytest.mark.parametrize(
    "options, message",
    [
        (["--alphas", "0", "1.5"], "--alphas: expected numbers from 0 to 1, found 1.5"),
        (
            ["--num-utterances", "0"],
            "--num-utterances",
        ),
        (["--output", "figure.md"], "expected a name that ends in .png"),
    ],
)
def test_bad_options_are_one_clear_error(options, message, tmp_path):
    given = {
        "--exp-dir": tmp_path, "--fbank-dir": tmp_path, "--prefix": "x", "--teacher": tmp_path,
        "--lang-dir": tmp_path, "--output": tmp_path / "figure.png",
    }  # fmt: skip
    command = [sys.executable, str(ROOT / "benchmarks/figure3.py")]
    for name, value in given.items():
        command += [name, str(value)]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())
