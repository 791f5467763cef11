import numpy as np

from gmot.decode.candidates import Candidates, search_lm_scales
from gmot.evaluation.scoring import score
from gmot.text.scoring_units import WER


def random_lists(seed, names=("lm", "plm"), utterances=12, length=6):
    rng = np.random.default_rng(seed)
    refs = {str(u): "".join(rng.choice(list("abcd"), 5)) for u in range(utterances)}
    lists = {}
    for key, ref in refs.items():
        texts = tuple("".join(rng.permutation(list(ref))[: rng.integers(1, 6)]) for _ in range(5))
        scores = {name: rng.normal(size=5) for name in ("acoustic", *names)}
        lists[key] = Candidates(texts, scores)
    return refs, lists


def test_best_is_the_highest_scaled_sum():
    c = Candidates(
        ("a", "b", "c"),
        {"acoustic": np.array([0.0, -1.0, -2.0]), "lm": np.array([-9.0, -4.0, -1.0])},
    )
    assert c.text({}) == c.text({"lm": 0.0}) == c.text({"plm": 3.0}) == "a"
    assert c.text({"lm": 0.25}) == "b"
    assert c.text({"lm": 1.0}) == "c"


def test_ties_go_to_the_first():
    c = Candidates(("a", "b"), {"acoustic": np.array([1.0, 0.0]), "lm": np.array([0.0, 1.0])})
    assert c.text({"lm": 1.0}) == "a"


def test_the_oracle_has_the_fewest_errors():
    c = Candidates(("甲乙", "甲丙丁", "甲乙丁"), {"acoustic": np.zeros(3)})
    assert c.oracle("甲乙丁") == "甲乙丁"
    assert c.oracle("甲") == "甲乙"
    assert c.errors("甲乙").tolist() == [0, 2, 1]


def test_words_have_other_best_texts_than_characters():
    """One long wrong word, or two short ones."""
    c = Candidates(("x y elephants", "a b xxxxxxxxx"), {"acoustic": np.zeros(2)})
    assert c.errors("a b elephants").tolist() == [2, 9]
    assert c.errors("a b elephants", WER).tolist() == [2, 1]
    assert c.oracle("a b elephants") == "x y elephants"
    assert c.oracle("a b elephants", WER) == "a b xxxxxxxxx"
    refs = {str(i): "a b elephants" for i in range(9)}
    lists = {
        key: Candidates(c.texts, {"acoustic": np.zeros(2), "lm": np.array([0.0, 1.0])})
        for key in refs
    }
    assert search_lm_scales(lists, refs, [{}, {"lm": 1.0}]) == {}
    assert search_lm_scales(lists, refs, [{}, {"lm": 1.0}], WER) == {"lm": 1.0}


def test_lm_scales_are_those_with_the_lowest_error_rate():
    """Against the scorer that reports the results, for every point of the grid."""
    refs, lists = random_lists(1)
    # Bad ones first, so that all others are better by more than chance.
    worst = {k: max(range(5), key=lambda i, k=k: lists[k].errors(refs[k])[i]) for k in lists}
    lists = {
        k: Candidates(c.texts, {**c.scores, "bad": 99.0 * (np.arange(5) == worst[k])})
        for k, c in lists.items()
    }
    grid = [{"bad": 1.0}, *({"lm": a, "plm": b} for a in (0.0, 0.3, 1.0, 2.0) for b in (0.0, 1.5))]
    rates = [
        score(refs, {k: c.text(scales) for k, c in lists.items()}, replications=2).rate
        for scales in grid
    ]
    found = search_lm_scales(lists, refs, grid)
    assert rates[grid.index(found)] == min(rates) < rates[0] == max(rates)


def test_a_gain_within_chance_changes_nothing():
    """Three utterances lose an error and eight gain one: 5 is less than twice the root of 11."""

    def lists(gained, lost):
        kinds = [1] * gained + [-1] * lost
        return {
            str(i): Candidates(
                ("甲乙", "甲丙") if kind < 0 else ("甲丙", "甲乙"),
                {"acoustic": np.zeros(2), "lm": np.array([0.0, 1.0])},
            )
            for i, kind in enumerate(kinds)
        }

    for gained, lost, expected in (
        (8, 3, {}),
        (14, 3, {"lm": 1.0}),
        (4, 0, {}),
        (5, 0, {"lm": 1.0}),
    ):
        found = lists(gained, lost)
        refs = {key: "甲乙" for key in found}
        assert search_lm_scales(found, refs, [{}, {"lm": 1.0}]) == expected


def test_of_equally_good_scales_the_first_is_taken():
    refs, lists = random_lists(2, ("lm",))
    flat = {k: Candidates(c.texts, {**c.scores, "lm": np.ones(5)}) for k, c in lists.items()}
    assert search_lm_scales(flat, refs, [{"lm": 0.3}, {}, {"lm": 1.0}]) == {"lm": 0.3}
