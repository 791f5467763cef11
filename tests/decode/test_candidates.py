import numpy as np

from gmot.decode.candidates import Candidates, search_weights
from gmot.scoring import score


def random_lists(seed, names=("lm", "plm"), utterances=12, length=6):
    rng = np.random.default_rng(seed)
    refs = {str(u): "".join(rng.choice(list("abcd"), 5)) for u in range(utterances)}
    lists = {}
    for key, ref in refs.items():
        texts = tuple("".join(rng.permutation(list(ref))[: rng.integers(1, 6)]) for _ in range(5))
        scores = {name: rng.normal(size=5) for name in ("acoustic", *names)}
        lists[key] = Candidates(texts, scores)
    return refs, lists


def test_best_is_the_highest_weighted_sum():
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


def test_closest_has_the_fewest_errors():
    c = Candidates(("甲乙", "甲丙丁", "甲乙丁"), {"acoustic": np.zeros(3)})
    assert c.closest("甲乙丁") == "甲乙丁"
    assert c.closest("甲") == "甲乙"
    assert c.errors("甲乙").tolist() == [0, 2, 1]


def test_weights_are_those_with_the_lowest_error_rate():
    """Against the scorer that reports the results, for every point of the grid."""
    refs, lists = random_lists(1)
    grid = [{"lm": a, "plm": b} for a in (0.0, 0.3, 1.0, 2.0) for b in (0.0, 0.5, 1.5)]
    rates = [
        score(refs, {k: c.text(weights) for k, c in lists.items()}, replications=2).cer
        for weights in grid
    ]
    found = search_weights(lists, refs, grid)
    assert rates[grid.index(found)] == min(rates) < max(rates)


def test_of_equally_good_weights_the_first_is_taken():
    refs, lists = random_lists(2, ("lm",))
    flat = {k: Candidates(c.texts, {**c.scores, "lm": np.ones(5)}) for k, c in lists.items()}
    assert search_weights(flat, refs, [{"lm": 0.3}, {}, {"lm": 1.0}]) == {"lm": 0.3}
