"""The configurations of the published rows, against the papers' numbers written down here."""

import runpy
from pathlib import Path

import pytest

from gmot.common import GmotError
from gmot.results import quotations
from gmot.transfer.systems import SYSTEMS, get_system

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs" / "aishell"
CONF = RECIPE / "conf"
ROWS = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem not in ("common", "small"))

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
# lambda_1, lambda_2 of UOT's Tables I and II
UOT = {
    **{1: (10, 10), 2: (1, 1), 3: (0.5, 1), 4: (1, 0.5), 5: (0.5, 0.5), 6: (0.5, 0.1)},
    **{7: (0.1, 0.5), 8: (0.1, 0.1), 9: (0.05, 0.05)},
}


def options(*files):
    """What local/train.py makes of configurations."""
    parser = runpy.run_path(str(ROOT / "local" / "train.py"))["get_parser"]()
    needed = ("exp-dir", "lang-dir", "teacher", "prefix", "fbank-dir")
    return parser.parse_args(
        ["--config", *map(str, files), *(x for name in needed for x in (f"--{name}", "x"))]
    )


def test_each_published_row_has_a_configuration():
    expected = {"baseline", "cma_ot", "hcm", "hcm_last", *(f"hcm_layers{n}" for n in (1, 3, 7))}
    for family, rows in (("gm_ot", GM_OT), ("tot", TOT), ("uot", UOT)):
        expected |= {f"{family}_setting{n}" for n in rows}
    assert set(ROWS) == expected
    published = {name for name in SYSTEMS if "_setting" in name or "_layers" in name}
    assert published < expected


@pytest.mark.parametrize("name", ROWS)
def test_training_is_the_papers(name):
    args = options(CONF / f"{name}.yaml")
    get_system(args.system)
    assert args.system == ("ctc" if name == "baseline" else name)
    assert (args.num_layers, args.d_model, args.num_heads, args.ffn_dim) == (16, 256, 4, 2048)
    assert (args.kernel_size, args.subsampling_channels) == (15, 256)
    assert (args.num_epochs, args.warmup_steps, args.keep_last) == (130, 20000, 10)
    assert args.base_lr == (0.002 if name.startswith("uot") else 0.001)
    small = options(CONF / f"{name}.yaml", CONF / "small.yaml")
    assert (small.system, small.num_layers, small.d_model) == (args.system, 4, 144)


def test_settings_are_the_papers():
    for n, (alpha, rho, beta, w_s) in GM_OT.items():
        s = get_system(options(CONF / f"gm_ot_setting{n}.yaml").system)
        assert (s.alpha, s.rho, s.beta, s.adapter_scale) == (alpha, rho, beta, w_s)
    for n, (beta, scale) in TOT.items():
        s = get_system(options(CONF / f"tot_setting{n}.yaml").system)
        assert (s.beta, s.adapter_scale, s.rho, s.positional) == (beta, scale, 0.5, "tot")
    for n, reaches in UOT.items():
        s = get_system(options(CONF / f"uot_setting{n}.yaml").system)
        assert (s.reach_a, s.reach_b, s.beta) == (*reaches, 0.05)
    for name, layers in (("hcm", 5), ("hcm_last", 5), ("hcm_layers1", 1), ("hcm_layers7", 7)):
        assert get_system(options(CONF / f"{name}.yaml").system).cross_modal_layers == layers


def test_quotations_name_configurations_and_the_papers_numbers():
    text = quotations(RECIPE / "published.yaml")
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines()]
    rows = {(r[0], r[1], r[5]): r[2:5] for r in rows if len(r) == 6}
    assert {config for config, _, _ in rows.values()} >= set(ROWS)
    gm_ot = "GM-OT (2505.13079)"
    assert rows[gm_ot, "Setting 5", ""] == ["gm_ot_setting5", "3.65", "3.98"]
    assert rows[gm_ot, "Conformer+CTC", ""] == ["baseline", "5.16", "5.76"]
    assert rows["HCM (2309.16093)", "Hierarchical-CMKT, M_t = 5", ""] == ["hcm", "3.64", "3.94"]
    assert "corrected" in text and "Not measured here" in text


@pytest.mark.parametrize(
    "content", ["papers: []", "caveats: []\npapers: [{paper: a}]", "caveats: []\npapers: 3", "a: ["]
)
def test_malformed_quotations_are_refused(tmp_path, content):
    path = tmp_path / "published.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(GmotError, match="published.yaml"):
        quotations(path)
