"""The bootstrap against enumeration of all draws, variance components and simulated coverage."""

import itertools

import numpy as np
import pytest

from gmot.common import GmotError
from gmot.evaluation.bootstrap import conditions, holm, interval, p_value, resample, resample_seeds
from gmot.evaluation.comparison import compare
from gmot.evaluation.runs import Run
from gmot.evaluation.scoring import score

# Utterances (speaker, characters) and errors per experiment and seed.
UTTERANCES = [("s1", 4), ("s1", 6), ("s2", 5), ("s3", 3), ("s3", 7)]
ERRORS = {
    "a": [[1, 2, 0, 1, 3], [2, 2, 1, 0, 2], [0, 1, 1, 1, 4]],
    "b": [[1, 3, 2, 0, 3], [0, 4, 1, 2, 3]],
}


def runs_of(name, errors=ERRORS, utterances=UTTERANCES, speakers=True):
    """Of a text of n letters "a", k are recognised as "b"."""
    refs = {f"u{i}": "a" * n for i, (_, n) in enumerate(utterances)}
    owners = {f"u{i}": s for i, (s, _) in enumerate(utterances)} if speakers else {}
    return [
        Run(
            f"{name}{seed}",
            refs,
            {f"u{i}": "b" * k + "a" * (utterances[i][1] - k) for i, k in enumerate(row)},
            owners,
        )
        for seed, row in enumerate(errors[name])
    ]


def check_quantiles(found, exact):
    """A percentile of few values may be on any side of a step."""
    for bound, share in zip(found, (0.025, 0.975)):
        assert np.mean(exact < bound - 1e-9) <= share + 0.005
        assert np.mean(exact <= bound + 1e-9) >= share - 0.005


def sums_by_speaker(values):
    names = [speaker for speaker, _ in UTTERANCES]
    return [sum(v for v, n in zip(values, names) if n == s) for s in ("s1", "s2", "s3")]


def test_speakers_by_enumeration():
    """Two of three speakers are drawn, each with all its utterances."""
    run = runs_of("a")[0]
    errors, lengths = sums_by_speaker(ERRORS["a"][0]), sums_by_speaker([n for _, n in UTTERANCES])
    exact = np.array(
        [
            100 * sum(errors[s] for s in drawn) / sum(lengths[s] for s in drawn)
            for drawn in itertools.product(range(3), repeat=2)
        ]
    )
    found = score(run.refs, run.hyps, replications=20000, speakers=run.speakers)
    check_quantiles(found.intervals["speaker"], exact)
    assert found.num_speakers == 3
    assert found.intervals["utterance"] == score(run.refs, run.hyps, 20000).intervals["utterance"]

    counts = np.array([[k, n] for k, (_, n) in zip(ERRORS["a"][0], UTTERANCES)])
    drawn = resample(counts, 20000, 0, [s for s, _ in UTTERANCES])
    rates = 100 * drawn[:, 0] / drawn[:, 1]
    for value in set(exact.round(9)):
        share = np.mean(np.isclose(exact, value))
        assert np.mean(np.isclose(rates, value)) == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize("unit", ["speaker", "utterance"])
def test_the_hierarchy_by_enumeration(unit):
    """Seeds are drawn per experiment; speakers or utterances for both experiments together."""
    a, b = np.array(ERRORS["a"]), np.array(ERRORS["b"])
    lengths = np.array([n for _, n in UTTERANCES])
    draws, units = 5, np.eye(5)
    if unit == "speaker":
        draws = 2
        units = np.array([[float(s == o) for o, _ in UTTERANCES] for s in ("s1", "s2", "s3")])
    rates, differences = [], []
    for drawn in itertools.product(range(len(units)), repeat=draws):
        weights = units[list(drawn)].sum(axis=0)
        of_a, of_b, total = a @ weights, b @ weights, lengths @ weights
        for seeds in itertools.product(range(3), repeat=2):
            rate = 100 * of_a[list(seeds)].mean() / total
            for seed in range(2):
                rates.append(100 * of_b[seed] / total)
                differences.append(rates[-1] - rate)
    exact = np.array(differences)

    found = compare([runs_of("a"), runs_of("b")], unit, replications=20000)
    first, other = found.experiments
    assert first.rate == pytest.approx(100 * a.sum() / 3 / lengths.sum())
    assert other.difference == pytest.approx(100 * (b.sum() / 2 - a.sum() / 3) / lengths.sum())
    check_quantiles((other.low, other.high), exact)
    check_quantiles((other.ci_low, other.ci_high), np.array(rates))
    expected = np.mean(exact < -1e-9) + np.mean(np.abs(exact) < 1e-9) / 2
    assert other.improvement == pytest.approx(expected, abs=0.015)
    p = 2 * min(np.mean(exact < 1e-9), np.mean(exact > -1e-9))
    assert other.p == pytest.approx(min(1, p), abs=0.03)
    assert "3 and 2 training seeds" in found.conditions


def test_the_variance_is_the_sum_of_its_components():
    """Additive effects of seed and speaker: s_a^2 / K + s_b^2 / S with unbiased s^2."""
    rng = np.random.default_rng(0)
    seeds, speakers, utterances = 4, 6, 5
    a, b = rng.normal(size=seeds), 2 * rng.normal(size=speakers)
    owners = np.repeat(np.arange(speakers), utterances)
    errors = 10 + a[None, :] + b[owners][:, None] + np.zeros((len(owners), seeds))
    counts = np.concatenate([np.ones((len(owners), 1)), errors], axis=1)
    drawn = resample(counts, 20000, 0, owners)
    made, number = resample_seeds(drawn[:, 1:], np.random.default_rng(1))
    rates = made / (number * drawn[:, 0])
    assert number == seeds - 1
    analytic = a.var(ddof=1) / seeds + b.var(ddof=1) / speakers
    assert rates.var() == pytest.approx(analytic, rel=0.04)
    assert rates.mean() == pytest.approx(errors.mean(), abs=4 * np.sqrt(analytic / 20000))


def test_the_expected_variance_is_that_of_new_seeds_and_speakers():
    """Over simulated corpora: var_seed / K + (var_speaker + var_utterance / m) / S.

    Utterances drawn once more within the speakers drawn would add var_utterance / (S m).
    """
    rng = np.random.default_rng(0)
    seeds, speakers, utterances, corpora = 3, 5, 2, 600
    var_seed, var_speaker, var_utterance = 0.5, 1.0, 4.0
    owners = np.repeat(np.arange(speakers), utterances)
    found, estimates = [], []
    for corpus in range(corpora):
        errors = (
            10
            + np.sqrt(var_seed) * rng.normal(size=(1, seeds))
            + np.sqrt(var_speaker) * rng.normal(size=speakers)[owners][:, None]
            + np.sqrt(var_utterance) * rng.normal(size=(len(owners), 1))
        )
        counts = np.concatenate([np.ones((len(owners), 1)), errors], axis=1)
        drawn = resample(counts, 100, corpus, owners)
        made, number = resample_seeds(drawn[:, 1:], rng)
        found.append((made / (number * drawn[:, 0])).var(ddof=1))
        estimates.append(errors.mean())
    analytic = var_seed / seeds + (var_speaker + var_utterance / utterances) / speakers
    error = np.std(found) / np.sqrt(corpora)
    assert np.mean(found) == pytest.approx(analytic, abs=4 * error)
    assert 4 * error < var_utterance / (speakers * utterances) / 2  # the test tells them apart
    assert np.var(estimates, ddof=1) == pytest.approx(analytic, rel=0.2)


def test_coverage_with_strong_effects_of_speakers():
    """95 % intervals of 200 simulated test sets, each of 20 other speakers."""
    rng = np.random.default_rng(0)
    speakers, utterances, length, sets = 20, 30, 10, 200
    owners = np.repeat(np.arange(speakers), utterances)
    covered = {"utterance": 0, "speaker": 0}
    for number in range(sets):
        rates = rng.beta(2, 8, size=speakers)  # the mean is 0.2
        errors = rng.binomial(length, rates[owners])
        counts = np.stack([errors, np.full_like(errors, length)], axis=1)
        for unit, by in (("utterance", None), ("speaker", owners)):
            drawn = resample(counts, 300, number, by)
            low, high = interval(drawn[:, 0] / drawn[:, 1])
            covered[unit] += low <= 0.2 <= high
    assert covered["utterance"] < 0.6 * sets
    assert 0.89 * sets <= covered["speaker"] <= 0.98 * sets


def test_effects_of_speakers_cancel_in_pairs():
    """One error less in each utterance; error rates differ far more between speakers."""
    rng = np.random.default_rng(0)
    utterances = [(f"s{i}", 20) for i in range(8) for _ in range(5)]
    base = [int(3 + 2 * (int(s[1:]) % 7) + rng.integers(2)) for s, _ in utterances]
    errors = {"a": [base], "b": [[k - 1 for k in base]]}
    a, b = compare([runs_of(n, errors, utterances) for n in "ab"], "speaker").experiments
    assert a.ci_low < b.rate < a.ci_high
    assert (b.difference, b.low, b.high) == pytest.approx((-5, -5, -5))
    assert b.improvement == 1 and b.p < 0.001


def test_equal_seeds_are_one_seed():
    single = compare([runs_of("a")[:1], runs_of("b")[:1]], "speaker")
    pooled = compare([runs_of("a")[:1] * 3, runs_of("b")[:1] * 2], "speaker")
    for one, several in zip(single.experiments, pooled.experiments):
        for name in ("rate", "ci_low", "ci_high", "difference", "low", "high", "improvement", "p"):
            assert getattr(several, name) == pytest.approx(getattr(one, name)), name


def test_seeds_that_differ_widen_the_interval_of_the_difference():
    utterances = [(f"s{i % 5}", 20) for i in range(40)]
    errors = {"a": [[5] * 40, [7] * 40, [9] * 40], "b": [[6] * 40, [8] * 40, [10] * 40]}
    pools = [runs_of(n, errors, utterances) for n in "ab"]
    _, pooled = compare(pools, "speaker").experiments
    _, single = compare([pool[:1] for pool in pools], "speaker").experiments
    assert (single.low, single.high) == pytest.approx((5, 5))
    assert pooled.low < 0 < pooled.difference < pooled.high
    assert pooled.difference == pytest.approx(5)
    assert 0.05 < pooled.p < 1


def test_draws_are_reproducible_and_ignore_the_order_of_utterances():
    runs = runs_of("a"), runs_of("b")
    turned = [
        [Run(r.name, *(dict(reversed(list(t.items()))) for t in (r.refs, r.hyps, r.speakers)))]
        for r in (runs[0][0], runs[1][0])
    ]
    first = compare([runs[0][:1], runs[1][:1]], "speaker", 500, seed=3)
    assert first == compare(turned, "speaker", 500, seed=3)
    pooled = [compare(runs, "speaker", 500, seed=s).experiments[1] for s in (3, 3, 4)]
    assert pooled[0] == pooled[1] and pooled[0].p != pooled[2].p


def test_p_values_and_their_correction_by_hand():
    assert p_value(np.array([-1, -1, -2, 1])) == pytest.approx(2 * 2 / 5)
    assert p_value(np.zeros(9)) == 1
    assert p_value(-np.ones(999)) == pytest.approx(0.002)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([]) == []


def test_what_an_interval_is_conditional_on():
    assert conditions("utterance", 7176, 20) == (
        "resampling 7,176 utterances of 20 speakers; conditional on these speakers and one "
        "training seed"
    )
    by_speaker = conditions("speaker", 7176, 20)
    assert "20 speakers with their 7,176 utterances" in by_speaker
    assert "one training seed" in by_speaker and "these speakers" not in by_speaker
    seeds = conditions("speaker", 10, 2, [3, 3])
    assert "3 training seeds" in seeds and "conditional" not in seeds
    assert "one training seed of" in conditions("utterance", 10, 1, [3, 1])
    assert "unknown speakers" in conditions("utterance", 1, None)


def test_scores_without_all_speakers_have_no_interval_by_speaker():
    run = runs_of("a")[0]
    for speakers in (None, {}, {**run.speakers, "u3": None}, dict.fromkeys(run.refs, "s1")):
        found = score(run.refs, run.hyps, speakers=speakers)
        assert list(found.intervals) == ["utterance"]
    assert found.num_speakers == 1
    assert "of 1 speaker;" in found.line("test")
    by_speaker = score(run.refs, run.hyps, speakers=run.speakers)
    assert "3 speakers with their 5 utterances" in by_speaker.line("test", "speaker")
    low, high = by_speaker.intervals["speaker"]
    assert f"{low:.2f} .. {high:.2f}" in by_speaker.line("test", "speaker")


def test_what_cannot_be_resampled_by_speaker_is_refused():
    a, b = runs_of("a"), runs_of("b")
    with pytest.raises(GmotError, match=r"b0: 5 of 5 .*'u0'.*decode.py"):
        compare([a, runs_of("b", speakers=False)], "speaker")
    partial = Run("partial", b[0].refs, b[0].hyps, {**b[0].speakers, "u3": None})
    with pytest.raises(GmotError, match="partial: 1 of 5 .*'u3'"):
        compare([a, [partial]], "speaker")
    one = Run("one", b[0].refs, b[0].hyps, dict.fromkeys(b[0].refs, "s1"))
    with pytest.raises(GmotError, match="'s1'"):
        compare([[one], [one]], "speaker")
    other = Run("other", b[0].refs, b[0].hyps, {**b[0].speakers, "u3": "s2"})
    with pytest.raises(GmotError, match="'a0' and 'other'.*'u3': 's3' and 's2'"):
        compare([a, [other]])
    assert compare([a, runs_of("b", speakers=False)]).experiments[1].difference


def test_seeds_on_other_utterances_are_refused():
    a = runs_of("a")
    fewer = runs_of("b", {"b": [[1, 3, 2, 0]]}, UTTERANCES[:4])[0]
    with pytest.raises(GmotError, match="'u4'"):
        compare([[*a, fewer], runs_of("b")])
