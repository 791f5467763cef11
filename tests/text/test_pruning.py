import itertools
import math

import pytest
from test_ngram import sentences

from gmot.common import GmotError
from gmot.text.arpa import NgramModel, read_arpa
from gmot.text.ngram import train
from gmot.text.pruning import prune

WORDS = [f"w{i}" for i in range(12)]
EVENTS = [*WORDS, "</s>", "<unk>"]


def distribution(model, history):
    return {w: 10 ** model.log10_prob(w, history) for w in EVENTS}


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("how", [{"threshold": 1e-3}, {"threshold": 1e-2}, {"max_ngrams": 20}])
def test_probabilities_of_every_history_sum_to_one(tmp_path, order, how):
    text = sentences(200, seed=order)
    model = train(text, order=order, vocabulary=WORDS)
    pruned = prune(model, text, **how)
    assert order == 1 or sum(pruned.counts()) < sum(model.counts())
    assert pruned.counts()[0] == model.counts()[0]
    pruned.save_arpa(tmp_path / "lm.arpa")  # has every history of what it holds
    again = read_arpa(tmp_path / "lm.arpa")
    histories = [(), ("<s>",), ("<s>", "w1"), ("<s>", "w0", "w0"), ("nowhere",)]
    histories += [h for n in (1, 2, 3) for h in itertools.product(WORDS[:4], repeat=n)]
    for history in histories:
        assert sum(distribution(pruned, history).values()) == pytest.approx(1.0, abs=1e-9)
        assert sum(distribution(again, history).values()) == pytest.approx(1.0, abs=1e-6)


def test_what_is_left_out_matters_least():
    """Each bigram is removed by hand; the loss is summed over all words of its history."""
    text = sentences(80)
    model = train(text, order=2, vocabulary=WORDS)
    begins = [w for s in text for w in ["<s>", *s]]
    loss = {}
    for history, word in model.tables[1]:
        rest = {k: e for k, e in model.tables[1].items() if k != (history, word)}
        others = [k[1] for k in rest if k[0] == history]
        weight = 1 - sum(10 ** model.tables[1][history, w].log_prob for w in others)
        weight /= 1 - sum(10 ** model.tables[0][(w,)].log_prob for w in others)
        unigrams = dict(model.tables[0])
        unigrams[(history,)] = unigrams[(history,)]._replace(back_off=math.log10(weight))
        without = distribution(NgramModel([unigrams, rest]), (history,))
        assert sum(without.values()) == pytest.approx(1.0)
        full = distribution(model, (history,))
        divergence = sum(p * math.log(p / without[w]) for w, p in full.items())
        share = begins.count(history) / len(begins)
        loss[history, word] = math.exp(share * divergence) - 1
    ranked = sorted(loss, key=loss.get)
    for n in (5, len(ranked) // 2, len(ranked) - 1):
        between = (loss[ranked[n - 1]] + loss[ranked[n]]) / 2
        assert loss[ranked[n - 1]] < between < loss[ranked[n]]
        assert set(prune(model, text, threshold=between).tables[1]) == set(ranked[n:])
        assert set(prune(model, text, max_ngrams=len(ranked) - n).tables[1]) == set(ranked[n:])


def test_nothing_is_lost_without_a_threshold():
    text = sentences(50)
    model = train(text, order=3, vocabulary=WORDS)
    same = prune(model, text)
    assert same.counts() == model.counts()
    assert same.perplexity(text) == pytest.approx(model.perplexity(text), rel=1e-9)


def test_the_more_stays_the_better():
    text = sentences(300)
    model = train(text, order=3, vocabulary=WORDS)
    sizes = (0, 20, 80, 200, 10000)
    models = [prune(model, text, max_ngrams=n) for n in sizes]
    assert all(sum(m.counts()[1:]) <= n for m, n in zip(models, sizes))
    perplexities = [m.perplexity(text) for m in models]
    assert perplexities == sorted(perplexities, reverse=True)
    assert models[0].order == 1 and models[-1].counts() == model.counts()


def test_bad_numbers_and_no_text_are_refused():
    model = train([["w0", "w1"]], order=2)
    with pytest.raises(GmotError, match="-1"):
        prune(model, [["w0"]], threshold=-1)
    with pytest.raises(GmotError, match="-5"):
        prune(model, [["w0"]], max_ngrams=-5)
    with pytest.raises(GmotError, match="text is empty"):
        prune(model, [])
