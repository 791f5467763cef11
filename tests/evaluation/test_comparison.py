import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from gmot.common import GmotError
from gmot.evaluation.comparison import compare
from gmot.evaluation.comparison_report import console_lines, table
from gmot.evaluation.files import update_results, write_recogs
from gmot.evaluation.runs import Run, find_recogs, read_experiments
from gmot.evaluation.scoring import score

# Errors by design: of a text of n letters "a", k are heard as "b".
LENGTHS = [2, 5, 3, 8]
ERRORS = {
    "first": [1, 2, 0, 3],
    "better": [0, 1, 0, 4],
    "worse": [2, 2, 1, 3],
    "even": [2, 1, 0, 3],
}


def run_of(name, lengths=LENGTHS):
    refs = {f"u{i}": "a" * n for i, n in enumerate(lengths)}
    hyps = {f"u{i}": "b" * k + "a" * (n - k) for i, (n, k) in enumerate(zip(lengths, ERRORS[name]))}
    return Run(name, refs, hyps)


def random_run(name, seed, num=60):
    rng = random.Random(0)
    refs = {f"u{i}": "".join(rng.choices("abcd", k=rng.randint(1, 9))) for i in range(num)}
    rng = random.Random(seed)
    hyps = {u: "".join(c if rng.random() < 0.8 else "x" for c in t) for u, t in refs.items()}
    return Run(name, refs, hyps)


def compared(*runs, **options):
    """Each run is an experiment with one seed."""
    return compare([[run] for run in runs], **options).experiments


def exact_differences(first, other):
    """Of all ways to draw as many utterances as there are, in per cent."""
    a, b = ERRORS[first], ERRORS[other]
    return np.array(
        [
            100 * sum(b[i] - a[i] for i in drawn) / sum(LENGTHS[i] for i in drawn)
            for drawn in itertools.product(range(len(LENGTHS)), repeat=len(LENGTHS))
        ]
    )


@pytest.mark.parametrize(
    ("first", "other"), [("first", "better"), ("first", "worse"), ("first", "even")]
)
def test_all_resamplings_by_brute_force(first, other):
    found = compared(run_of(first), run_of(other), replications=20000)[1]
    exact = exact_differences(first, other)
    assert found.difference == pytest.approx(
        100 * (sum(ERRORS[other]) - sum(ERRORS[first])) / sum(LENGTHS)
    )
    expected = np.mean(exact < 0) + np.mean(exact == 0) / 2
    assert found.improvement == pytest.approx(expected, abs=0.015)
    # A percentile of few values may fall on any side of a step: it is one of the steps' ends.
    for bound, share in ((found.low, 0.025), (found.high, 0.975)):
        assert np.mean(exact < bound - 1e-9) <= share + 0.005
        assert np.mean(exact <= bound + 1e-9) >= share - 0.005


def test_the_order_of_two_runs_only_turns_the_sign():
    a, b = random_run("a", 1), random_run("b", 2)
    forth, back = compared(a, b)[1], compared(b, a)[1]
    assert forth.difference == -back.difference != 0
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.improvement == pytest.approx(1 - back.improvement)
    assert forth.low < forth.difference < forth.high
    assert 0 < forth.improvement < 1


def test_equal_runs_do_not_differ():
    a = random_run("a", 1)
    _, b = compared(a, Run("b", a.refs, dict(a.hyps)))
    assert (b.difference, b.low, b.high, b.improvement, b.p) == (0, 0, 0, 0.5, 1)


def test_pairs_tell_more_than_two_intervals():
    """A run with one error less in every tenth utterance: better for certain, though the
    error rates vary far more from utterance to utterance."""
    rng = random.Random(0)
    refs = {f"u{i:03}": "a" * 10 for i in range(300)}
    errors = {u: rng.randint(1, 9) for u in refs}
    first = {u: "b" * k + "a" * (10 - k) for u, k in errors.items()}
    other = {u: t.replace("b", "a", 1) if u.endswith("0") else t for u, t in first.items()}
    a, b = compared(Run("a", refs, first), Run("b", refs, other))
    assert a.ci_low < b.rate < a.ci_high
    assert b.high < 0 and b.p < 0.001
    assert b.improvement == 1


def test_each_is_compared_with_the_first():
    runs = [random_run(name, seed) for name, seed in (("a", 1), ("b", 2), ("c", 3))]
    a, b, c = compared(*runs)
    assert (a.difference, a.low, a.high) == (0, 0, 0)
    for one, other in ((b, runs[1]), (c, runs[2])):
        alone = compared(runs[0], other)[1]
        assert alone == replace(one, corrected_p=one.p)
        assert alone.corrected_p == alone.p <= one.corrected_p
    assert c.difference == pytest.approx(c.rate - a.rate)
    assert b.scores == [score(runs[1].refs, runs[1].hyps)]


def test_seeds():
    runs = [random_run("a", 1), random_run("b", 2)]
    first, same, other = (compared(*runs, replications=200, seed=s)[1] for s in (1, 1, 2))
    assert first == same
    assert (first.low, first.high) != (other.low, other.high)
    assert first.difference == other.difference


def test_the_order_of_utterances_does_not_matter():
    a, b = random_run("a", 1), random_run("b", 2)
    turned = Run("b", dict(reversed(list(b.refs.items()))), dict(reversed(list(b.hyps.items()))))
    assert compared(a, b) == compared(a, turned)


def test_what_cannot_be_compared_is_refused():
    a = run_of("first")
    with pytest.raises(GmotError, match="1 experiments"):
        compared(a)
    with pytest.raises(GmotError, match="0 "):
        compared(a, a, replications=0)
    fewer = Run("fewer", {"u0": "aa"}, {"u0": "aa"})
    with pytest.raises(GmotError, match="'first' and 'fewer'.*'u1'"):
        compared(a, fewer)
    other = Run("other", {**a.refs, "u2": "aba"}, a.hyps)
    with pytest.raises(GmotError, match="1 .*'u2'.*'aaa' and 'aba'"):
        compared(a, other)


def test_lines_and_table():
    found = compare([[run_of("first")], [run_of("better")], [run_of("worse")]])
    first, better, worse, how = console_lines(found)
    assert "resampling 4 utterances of unknown speakers" in how and "one training seed" in how
    assert "first" in how and "Holm" in how and "2 comparisons" in how
    assert first.startswith("first: %CER 33.33 (") and "difference" not in first
    assert better.startswith("better: %CER 27.78 (") and "difference -5.56 (" in better
    assert f"probability of improvement {found.experiments[2].improvement:.3f}" in worse
    assert (
        f"p {found.experiments[2].p:.4f}, corrected {found.experiments[2].corrected_p:.4f}" in worse
    )
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in table(found).splitlines()]
    assert [row[0] for row in rows] == ["experiment", "----------", "first", "better", "worse"]
    assert rows[2][2:] == ["6", "-", "-", "-", "-"]
    assert rows[3][3].startswith("-5.56 (") and rows[4][3].startswith("+11.11 (")


def test_homophones_are_told(tmp_path):
    refs = {"u": "他说银行"}
    runs = [[Run("a", refs, {"u": "她说银航"})], [Run("b", refs, {"u": "好说银航"})]]
    rows = table(compare(runs), homophones=True)
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in rows.splitlines()]
    assert [row[2:4] for row in cells[2:]] == [["2", "2"], ["2", "1"]]


def record(method="1best", split="test", epoch=1, avg=1, **more):
    return {"split": split, "method": method, "epoch": epoch, "avg": avg, "cer": 1.0, **more}


@pytest.fixture
def exp(tmp_path):
    """Two experiments, of which the second was decoded with another epoch too."""
    for experiment, name in (("ctc", "first"), ("ours", "better")):
        run = run_of(name)
        write_recogs(
            tmp_path / experiment / "1best/recogs-test-epoch-1-avg-1.txt", run.refs, run.hyps
        )
        update_results(tmp_path / experiment / "results.json", [record()])
    update_results(tmp_path / "ours" / "results.json", [record(epoch=3, avg=2)])
    update_results(tmp_path / "ours" / "results.json", [record("nbest", epoch=4)])
    return tmp_path


def test_recogs_of_experiments_are_found(exp):
    dirs = [exp / "ctc", exp / "ours"]
    recogs = [d / "1best" / "recogs-test-epoch-1-avg-1.txt" for d in dirs]
    assert find_recogs(dirs, "test", "1best", epoch=1) == recogs
    # What was decoded last, of this method.
    newest = exp / "ours/1best/recogs-test-epoch-3-avg-2.txt"
    assert find_recogs(dirs, "test", "1best") == [recogs[0], newest]
    a, b = compare(read_experiments([[path] for path in recogs])).experiments
    assert (a.name, b.name) == ("ctc", "ours")
    assert b.difference == pytest.approx(-100 / 18)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dev", "1best"), "dev by 1best.*test by 1best"),
        (("test", "nbest"), "ctc.results.json.*test by nbest"),
        (("test", "1best", 3), "ctc.results.json.*--epoch 3"),
    ],
)
def test_results_that_are_not_there_are_refused(exp, arguments, message):
    with pytest.raises(GmotError, match=message):
        find_recogs([exp / "ctc", exp / "ours"], *arguments)


def test_only_seeds_of_one_experiment_are_pooled(tmp_path):
    experiment = {"name": "gm_ot", "alpha": 0.5}
    runs = {"a": (1, experiment), "b": (2, dict(experiment)), "c": (1, experiment)}
    runs["d"] = (3, {**experiment, "alpha": 0.1})
    for name, (seed, its) in runs.items():
        found = [record(seed=seed, transfer=its)]
        update_results(tmp_path / name / "results.json", found)
    folders = {name: tmp_path / name for name in runs}
    assert len(find_recogs([folders["a"], folders["b"]], "test", "1best")) == 2
    with pytest.raises(GmotError, match="a and .*c .*seed 1.*seed"):
        find_recogs([folders["a"], folders["b"], folders["c"]], "test", "1best")
    with pytest.raises(GmotError, match="a and .*d .*alpha 0.5 and 0.1"):
        find_recogs([folders["a"], folders["d"]], "test", "1best")


def test_a_file_is_one_seed(tmp_path):
    run = run_of("first")
    write_recogs(tmp_path / "r.txt", run.refs, run.hyps)
    with pytest.raises(GmotError, match=r"r.txt.* 2 files.* 1 "):
        read_experiments([[tmp_path / "r.txt", tmp_path / "." / "r.txt"]])


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("e/a/1best/r.txt", "e/b/1best/r.txt"), ["a", "b"]),
        (("e/a/1best/r.txt", "e/a/nbest/r.txt"), ["1best", "nbest"]),
        (("a.txt", "b.txt"), ["a.txt", "b.txt"]),
        (("r.txt", "old/r.txt"), ["r.txt", "old"]),
        (("r.txt", "r.txt"), ["r.txt", "r.txt"]),
    ],
)
def test_names_of_runs(tmp_path, monkeypatch, paths, names):
    monkeypatch.chdir(tmp_path)
    for path in set(paths):
        write_recogs(path, {"u": "a"}, {"u": "a"})
    assert [run.name for (run,) in read_experiments([[path] for path in paths])] == names
