import itertools
import math
import random

import pytest

from gmot.common import GmotError
from gmot.text.arpa import Entry, NgramModel, read_arpa
from gmot.text.ngram import train


def sentences(num, seed=0, size=12):
    """Text with the skew of language, so that counts of counts are of all kinds."""
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(size)]
    weights = [1 / (i + 1) ** 1.5 for i in range(size)]
    return [rng.choices(words, weights, k=rng.randint(1, 6)) for _ in range(num)]


class NaiveKneserNey:
    """The definition, by sets and lists, for order 3 and ``<unk>`` that is never counted."""

    def __init__(self, text, vocabulary):
        text = [["<s>", *s, "</s>"] for s in text]
        self.words = {*vocabulary, "</s>", "<unk>"}
        self.trigrams = [tuple(s[i : i + 3]) for s in text for i in range(len(s) - 2)]
        self.bigrams = [tuple(s[i : i + 2]) for s in text for i in range(len(s) - 1)]

    def count(self, ngram):
        if len(ngram) == 3:
            return self.trigrams.count(ngram)
        if ngram[0] == "<s>":
            return self.bigrams.count(ngram)
        longer = self.trigrams if len(ngram) == 2 else self.bigrams
        return len({t[0] for t in longer if t[1:] == ngram})

    def table(self, n):
        kinds = {1: [(w,) for w in self.words], 2: set(self.bigrams), 3: set(self.trigrams)}[n]
        return {k: self.count(k) for k in kinds if self.count(k)}

    def discount(self, n, count):
        values = list(self.table(n).values())
        n1, n2, n3, n4 = (values.count(k) for k in (1, 2, 3, 4))
        y = n1 / (n1 + 2 * n2)
        if count == 1:
            return 1 - 2 * y * n2 / n1
        if count == 2:
            return 2 - 3 * y * n3 / n2
        return 3 - 4 * y * n4 / n3

    def prob(self, word, history):
        n = len(history) + 1
        followers = {k: c for k, c in self.table(n).items() if k[:-1] == history}
        if history and not followers:
            return self.prob(word, history[1:])
        lower = self.prob(word, history[1:]) if history else 1 / len(self.words)
        total = sum(followers.values())
        gamma = sum(self.discount(n, c) for c in followers.values()) / total
        own = followers.get((*history, word), 0)
        return (own - self.discount(n, own) if own else 0) / total + gamma * lower


def test_equals_the_definition():
    text = sentences(60)
    vocabulary = {w for s in text for w in s} | {"never"}
    model = train(text, order=3, vocabulary=vocabulary)
    naive = NaiveKneserNey(text, vocabulary)
    # The case at hand has proper discounts of every order (else the oracle does not apply).
    for n in (1, 2, 3):
        assert all(naive.discount(n, c) > 0 for c in (1, 2, 3))
    rng = random.Random(1)
    contexts = [(), ("<s>",), ("never",), ("w1", "never")]
    contexts += [tuple(rng.sample(sorted(vocabulary), 2)) for _ in range(4)] + [("<s>", "w0")]
    for history in contexts:
        for word in [*rng.sample(sorted(vocabulary), 5), "never", "</s>", "<unk>"]:
            assert 10 ** model.log10_prob(word, history) == pytest.approx(
                naive.prob(word, history), rel=1e-9
            ), (word, history)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("num", [1, 3, 200])
def test_probabilities_of_every_history_sum_to_one(order, num):
    text = sentences(num, seed=order)
    model = train(text, order=order, vocabulary=[f"w{i}" for i in range(14)])
    words = [f"w{i}" for i in range(14)]
    histories = [(), ("<s>",), ("w0",), ("w13",), ("nowhere",)]
    histories += [("<s>", a) for a in words[:4]] + list(itertools.product(words[:3], words[:4]))
    for history in histories:
        total = sum(10 ** model.log10_prob(w, history) for w in [*words, "</s>", "<unk>"])
        assert total == pytest.approx(1.0, abs=1e-9), history


def test_every_word_of_the_vocabulary_is_possible():
    model = train([["a", "b"]], order=3, vocabulary=["a", "b", "c"])
    assert set(model.tables[0]) == {(w,) for w in ("a", "b", "c", "<unk>", "<s>", "</s>")}
    assert math.isfinite(model.log10_prob("c", ("<s>", "a")))
    # A word outside is <unk>, which was never seen either.
    assert model.log10_prob("d", ("a",)) == model.log10_prob("c", ("a",))


def test_words_outside_the_vocabulary_are_counted_as_unk():
    text = [["a", "x"], ["a", "y"], ["a", "z"], ["b", "a"]]
    model = train(text, order=2, vocabulary=["a", "b"])
    assert set(model.tables[0]) == {(w,) for w in ("a", "b", "<unk>", "<s>", "</s>")}
    assert model.log10_prob("x", ("a",)) > model.log10_prob("b", ("a",))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_arpa_says_the_same(tmp_path, order):
    text = sentences(50)
    model = train(text, order=order)
    model.save_arpa(tmp_path / "lm.arpa")
    again = read_arpa(tmp_path / "lm.arpa")
    assert again.counts() == model.counts()
    assert again.perplexity(text) == pytest.approx(model.perplexity(text), rel=1e-7)
    other = sentences(20, seed=7, size=20)
    assert again.perplexity(other) == pytest.approx(model.perplexity(other), rel=1e-7)


def test_perplexity_of_a_uniform_model_is_its_size():
    table = {(w,): Entry(math.log10(0.25)) for w in ("a", "b", "<unk>", "</s>")}
    assert NgramModel([table]).perplexity([["a", "b", "x"]]) == pytest.approx(4.0)


def test_longer_histories_help_on_text_that_has_them():
    text = [["a", "b", "c"], ["d", "b", "e"]] * 20
    perplexities = [train(text, order=n).perplexity(text) for n in (1, 2, 3)]
    assert perplexities[0] > perplexities[1] > perplexities[2]


@pytest.mark.parametrize("bad", [[], [[]], [["<s>", "a"]]])
def test_unusable_text_is_refused(bad):
    with pytest.raises(GmotError):
        train(bad, order=2)


def test_bad_order_is_refused():
    with pytest.raises(GmotError, match="order 0"):
        train([["a"]], order=0)


def test_arpa_of_another_tool(tmp_path):
    (tmp_path / "lm").write_text(
        "some tool wrote this\n\\data\\\nngram 1=3\n\n\\1-grams:\n"
        "-0.5\ta\n-0.5\t</s>\n-99\t<s>\n\n\\end\\\n"
    )
    model = read_arpa(tmp_path / "lm")
    assert model.log10_prob("a", ("<s>",)) == -0.5
    assert model.log10_prob("b") == -math.inf
