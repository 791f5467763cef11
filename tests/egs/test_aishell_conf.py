"""The configurations of the published rows, against the papers' numbers written down here."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.rows import load_row
from gmot.bin.train import get_parser
from gmot.common import GmotError
from gmot.evaluation.report import quotations
from gmot.transfer.config import TransferConfig

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs" / "aishell"
CONF = RECIPE / "conf"
PRESETS = ROOT / "shared" / "conf"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))

# alpha, rho, beta, w_s of GM-OT's Table 2
GM_OT = {
    1: (0, 0, 0.05, 0.1),
    2: (0.01, 0.3, 0.3, 0.05),
    3: (0.01, 0.5, 0.5, 0.1),
    4: (0.02, 0.5, 0.5, 0.1),
    5: (0.02, 0.3, 0.5, 0.1),
    6: (0.05, 0.5, 0.5, 0.1),
    7: (0.1, 0.1, 0.3, 0.05),
    8: (0.01, 0.5, 0.5, 0.3),
}
# alpha~, s of TOT's Table 1
TOT = {1: (0.01, 1.0), 2: (0.1, 1.0), 3: (0.5, 1.0), 4: (0.5, 0.5), 5: (0.5, 0.1), 6: (0.01, 0.1)}
# M_t and the step between matched blocks (0: the last alone) of HCM's Tables 1 and 2
HCM = {
    **{"hcm": (5, 3), "hcm_last": (5, 0)},
    **{"hcm_layers1": (1, 3), "hcm_layers3": (3, 3), "hcm_layers7": (7, 3)},
}
# lambda_1, lambda_2 of UOT's Tables I and II
UOT = {
    **{1: (10, 10), 2: (1, 1), 3: (0.5, 1), 4: (1, 0.5), 5: (0.5, 0.5), 6: (0.5, 0.1)},
    **{7: (0.1, 0.5), 8: (0.1, 0.1), 9: (0.05, 0.05)},
}


# Ablations of ours: GM-OT's setting 5 but for one thing
ABLATIONS = {
    "gm_ot_no_edges": {"alpha": 0.0},
    "gm_ot_no_order": {"rho": 0.0, "positional": None},
    "gm_ot_temporal": {"edges": "temporal"},
    "gm_ot_random_teacher": {"random_teacher": True},
}
PUBLISHED = sorted(set(NAMES) - set(ABLATIONS))


def options(*files, **changes):
    """Configuration that local/train.py makes of files and options."""
    needed = ("exp-dir", "lang-dir", "teacher", "prefix", "fbank-dir")
    words = [word for name in needed for word in (f"--{name}", "x")]
    words += [word for path in files for word in ("--config", str(path))]
    words += [f"--{key.replace('__', '.')}={value}" for key, value in changes.items()]
    return get_parser().parse_args(words)


def test_each_published_row_has_a_configuration():
    expected = {"baseline", "cma_ot", "hcm", "hcm_last", *(f"hcm_layers{n}" for n in (1, 3, 7))}
    expected |= {"ctc_adapter", "cma_ot_no_residual", "hcm_no_residual"}
    for family, rows in (("gm_ot", GM_OT), ("tot", TOT), ("uot", UOT)):
        expected |= {f"{family}_setting{n}" for n in rows}
    assert set(PUBLISHED) == expected


@pytest.mark.parametrize("name", NAMES)
def test_training_is_the_papers(name):
    args = options(PRESETS / "paper.yaml", CONF / f"{name}.yaml")
    model, training = args.model, args.training
    assert (model.num_layers, model.d_model, model.num_heads, model.ffn_dim) == (16, 256, 4, 2048)
    assert (model.kernel_size, model.subsampling_channels) == (15, 256)
    assert (training.num_epochs, training.warmup_steps, training.keep_last) == (130, 20000, 10)
    assert (training.schedule, training.weight_decay) == ("noam", 0.0)  # AdamW then is Adam
    assert training.base_lr == (0.002 if name.startswith("uot") else 0.001)
    defaults = options(CONF / f"{name}.yaml")
    assert (args.model, args.training) == (defaults.model, defaults.training)
    assert args.transfer == load_row(name)


def test_transfers_are_the_papers():
    for n, (alpha, rho, beta, w_s) in GM_OT.items():
        c = load_row(f"gm_ot_setting{n}")
        assert (c.alpha, c.rho, c.beta, c.adapter_scale) == (alpha, rho, beta, w_s)
        assert c.method == "proximal" or n == 1
    for n, (beta, scale) in TOT.items():
        c = load_row(f"tot_setting{n}")
        assert (c.beta, c.adapter_scale, c.rho, c.positional) == (beta, scale, 0.5, "tot")
    for n, reaches in UOT.items():
        c = load_row(f"uot_setting{n}")
        assert (c.reach_a, c.reach_b, c.beta, c.alignment_tokens) == (*reaches, 0.05, "all")
    for name, shape in HCM.items():
        c = load_row(name)
        assert (c.objective, c.beta, c.sinkhorn_iterations) == ("cross_modal", 1.0, 3)
        assert (c.cross_modal_layers, c.block_step) == shape
    c = load_row("cma_ot")
    assert (c.beta, c.adapter_scale, c.rho, c.alpha) == (0.2, 1.0, 0, 0)
    assert load_row("baseline") == TransferConfig(objective="none")
    for name in set(NAMES) - {"baseline", "ctc_adapter"}:
        assert load_row(name).ctc_weight == 0.3
    without_entropy = {n for n in NAMES if not load_row(n).entropy_in_value}
    assert without_entropy == {"baseline", *(n for n in NAMES if n.startswith("gm_ot"))}


def test_ablations_differ_in_one_thing():
    assert load_row("ctc_adapter") == load_row("cma_ot", ctc_weight=1.0)
    assert load_row("cma_ot_no_residual") == load_row("cma_ot", adapter_scale=0.0)
    assert load_row("hcm_no_residual") == load_row("hcm", adapter_scale=0.0)
    for name, changes in ABLATIONS.items():
        assert load_row(name) == load_row("gm_ot_setting5", **changes)


def test_small_recipe_has_the_same_transfers():
    for mini, row in (
        ("ctc", "baseline"),
        ("gm_ot", "gm_ot_setting5"),
        ("tot", "tot_setting5"),
        ("uot", "uot_setting3"),
    ):
        assert load_row(mini) == load_row(row)
    for path in (ROOT / "egs" / "mini" / "conf").glob("*.yaml"):
        assert path.stem not in NAMES or TransferConfig.load(path) == TransferConfig.load(
            CONF / path.name
        )


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_presets_and_options_of_one_experiment(preset):
    files = (PRESETS / f"{preset}.yaml", CONF / "gm_ot_setting5.yaml")
    args = options(*files, transfer__alpha=0.03, training__num_epochs=2)
    assert args.transfer == load_row("gm_ot_setting5", alpha=0.03)
    assert args.training.num_epochs == 2
    assert (args.model.num_layers == 16) == (preset == "paper")


# CER on dev and test as the papers print them, in their order; "-": a row without a configuration.
QUOTED = {
    "CMA-OT (2309.13650)": """baseline 5.53 6.05, cma_ot 3.96 4.27, ctc_adapter 5.64 6.24,
        cma_ot_no_residual 4.33 4.79""",
    "HCM (2309.16093)": """baseline 5.53 6.05, hcm_last 4.05 4.40, hcm 3.64 3.94,
        hcm_layers1 5.11 5.60, hcm_layers3 3.69 4.05, hcm_layers7 3.66 3.99,
        ctc_adapter 5.25 5.77, hcm_no_residual 4.20 4.54""",
    "TOT-CAKT (2409.02239)": """baseline 5.53 6.05, cma_ot 4.21 4.52, tot_setting1 4.03 4.30,
        tot_setting2 4.16 4.48, tot_setting3 3.99 4.36, tot_setting4 4.06 4.40,
        tot_setting5 3.93 4.35, tot_setting6 4.02 4.29, cma_ot 3.96 4.27, tot_setting5 3.88 4.21""",
    "GM-OT (2505.13079)": """baseline 5.16 5.76, gm_ot_setting1 3.81 4.19, gm_ot_setting2 3.70 4.08,
        gm_ot_setting3 3.72 4.11, gm_ot_setting4 3.61 4.04, gm_ot_setting5 3.65 3.98,
        gm_ot_setting6 3.76 4.16, gm_ot_setting7 3.73 4.14, gm_ot_setting8 3.74 4.11""",
    "UOT (2509.05609)": """baseline 5.16 5.76, gm_ot_setting1 3.81 4.19, uot_setting1 3.82 4.21,
        uot_setting2 3.70 4.13, uot_setting3 3.64 4.06, uot_setting4 3.81 4.13,
        uot_setting5 3.73 4.13, uot_setting6 3.88 4.24, uot_setting7 3.99 4.44,
        uot_setting8 4.00 4.48, uot_setting9 4.08 4.52, - 4.31 4.89, - 4.33 4.72, - 4.38 4.81""",
}


def test_quotations_name_configurations_and_the_papers_numbers():
    text = quotations(RECIPE / "published.yaml")
    table = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines()]
    rows = [row for row in table if len(row) == 6][2:]
    found = {paper: [row[2:5] for row in rows if row[0] == paper] for paper in QUOTED}
    expected = {p: [row.split() for row in text.split(",")] for p, text in QUOTED.items()}
    assert found == expected and len(rows) == sum(map(len, found.values()))
    assert {row[2] for row in rows} - {"-"} == set(PUBLISHED)
    assert "corrected" in text and "Not measured here" in text
    pretrained = {row[2] for row in rows if "pretraining" in row[5]}
    assert pretrained == {"cma_ot", "tot_setting5", *(f"uot_setting{n}" for n in UOT)}


ONE_ROW = "papers: [{paper: a, arxiv: 1, rows: [{row: 5, config: c, dev: 1, test: 2, note: 3}]}]"


def test_numbers_without_quotes_are_read(tmp_path):
    path = tmp_path / "published.yaml"
    path.write_text(f"caveats: [one sentence]\n{ONE_ROW}", encoding="utf-8")
    text = quotations(path)
    assert "- one sentence\n" in text
    row = [cell.strip() for cell in text.splitlines()[-1].strip("|").split("|")]
    assert row == ["a (1)", "5", "c", "1.00", "2.00", "3"]


@pytest.mark.parametrize(
    "content",
    [
        *("papers: []", "caveats: []\npapers: [{paper: a}]", "caveats: []\npapers: 3", "a: ["),
        *("", f"caveats: one sentence\n{ONE_ROW}"),
        "caveats: []\n" + ONE_ROW.replace("dev: 1", "dev: x"),
    ],
)
def test_malformed_quotations_are_refused(tmp_path, content):
    path = tmp_path / "published.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(GmotError, match="published.yaml"):
        quotations(path)


def test_missing_quotations_are_told_in_one_line(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "local" / "summarize_results.py"), "--experiments", "a"),
            *("--exp-dir", str(tmp_path), "--output", str(tmp_path / "RESULTS.md")),
            *("--published", str(tmp_path / "none.yaml")),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: --published") and done.stderr.count("\n") == 1
    assert "none.yaml" in done.stderr and not (tmp_path / "RESULTS.md").exists()
