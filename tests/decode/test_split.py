from types import SimpleNamespace

import pytest
import torch
from toy import greedy_texts, log_probs, make_decoder

from gmot.common import GmotError
from gmot.decode import lattice
from gmot.decode.methods import METHODS
from gmot.decode.search import Search
from gmot.decode.split import decode_split, search_hlg_scale
from gmot.evaluation.scoring import score

GREEDY = "ctc-greedy-search"


class Model(torch.nn.Module):
    """Every second frame, the features being the logits."""

    calls = 0
    memory = 1 << 30  # values that fit

    def forward(self, features, lengths):
        assert not self.training and not torch.is_grad_enabled()
        self.calls += 1
        if features.numel() > self.memory:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return features[:, ::2].log_softmax(-1), (lengths + 1) // 2, None


def batch(names, seed, scale=2.0):
    x = log_probs(len(names), 8, seed=seed, scale=scale)
    return SimpleNamespace(
        ids=list(names),
        features=x,
        lengths=torch.tensor([8, 5, 3, 2][: len(names)]),
        texts=[f"text {n}" for n in names],
        durations=[1.5] * len(names),
    )


def greedy_decoder():
    return make_decoder([GREEDY])


def test_all_methods_share_one_pass(graphs):
    decoder = make_decoder(list(METHODS), graphs)
    model = Model()
    batches = [batch("abc", 0), batch("de", 1)]
    result = decode_split(model, batches, decoder, num_utterances=5)
    assert model.calls == 2
    assert result.refs == {n: f"text {n}" for n in "abcde"}
    assert set(result.candidates) == set(METHODS)
    hyps = {method: result.hypotheses(method, {}) for method in METHODS}
    assert hyps["ctc-decoding"] == hyps[GREEDY]
    texts = greedy_texts(batches[1].features[:, ::2], torch.tensor([4, 3]))
    assert [hyps[GREEDY][name] for name in "de"] == texts
    assert result.audio_seconds == 7.5
    assert result.encoder_seconds > 0
    assert all(result.costs.seconds[m] > 0 for m in METHODS)
    assert result.peak_memory_mb > 1
    scales = result.search_lm_scales(METHODS, 0.6)
    for name, method in METHODS.items():
        assert scales[name] in method.lm_scales(0.6)
        if len(method.lm_scales(0.6)) > 1:  # the default is the result of 1best
            best = score(result.refs, result.hypotheses(name, scales[name]), replications=2)
            assert best.errors <= score(result.refs, hyps["1best"], replications=2).errors
    # A second split starts anew.
    first = dict(result.costs.seconds)
    decode_split(model, [batch("x", 0)], decoder)
    assert result.costs.seconds == first


def test_out_of_memory_halves_the_batch_once(caplog):
    whole = batch("abcd", 0)
    expected = decode_split(Model(), [whole], greedy_decoder()).hypotheses(GREEDY, {})
    model = Model()
    model.memory = whole.features[:2].numel()
    result = decode_split(model, [whole], greedy_decoder())
    assert result.hypotheses(GREEDY, {}) == expected
    assert model.calls == 3
    assert "4 utterances" in caplog.text and "a (8 frames)" in caplog.text


def test_out_of_memory_twice_names_the_utterance():
    model = Model()
    model.memory = 8
    with pytest.raises(GmotError, match=r"2 utterances.* a \(8.*max-duration"):
        decode_split(model, [batch("abcd", 0)], greedy_decoder())
    with pytest.raises(GmotError, match="1 utterances.* x "):
        decode_split(model, [batch("x", 0)], greedy_decoder())


def test_other_errors_are_not_taken_for_memory():
    class Broken(torch.nn.Module):
        def forward(self, features, lengths):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        decode_split(Broken(), [batch("ab", 0)], greedy_decoder())


def test_repeated_and_missing_utterances_are_refused():
    with pytest.raises(GmotError, match="'b'"):
        decode_split(Model(), [batch("ab", 0), batch("b", 1)], greedy_decoder())
    with pytest.raises(GmotError, match="utterances"):
        decode_split(Model(), [], greedy_decoder())


def hlg_batches():
    batches = [batch([f"{name}{seed}" for name in "abcd"], seed, scale=1.0) for seed in range(3)]
    for one in batches:
        one.texts = ["x1wy", "zx2", "w", "z"]
    return batches


def test_the_hlg_scale_found_has_the_fewest_errors(graphs, monkeypatch):
    values = [0.02, 0.5, 3.0]
    decoder = make_decoder(["1best"], graphs, hlg_scale=values)
    errors = []
    for value in values:
        result = decode_split(Model(), hlg_batches(), decoder, hlg_scale=value)
        errors.append(score(result.refs, result.hypotheses("1best", {}), replications=2).errors)
    model = Model()
    found = search_hlg_scale(model, hlg_batches(), decoder)
    assert len(set(errors)) > 1 and model.calls == 3
    assert found == values[errors.index(min(errors))]
    # A batch that does not fit is halved here, too.
    model.memory = hlg_batches()[0].features[:2].numel()
    assert search_hlg_scale(model, hlg_batches(), decoder) == found


def test_graphs_are_scaled_once_per_value_not_per_batch(graphs, monkeypatch):
    values = [0.02, 0.5, 3.0]
    decoder = make_decoder(["1best"], graphs, hlg_scale=values)
    scaled, scale_graph = [], lattice.scale_graph
    monkeypatch.setattr(
        "gmot.decode.graph_set.scale_graph", lambda g, s: scaled.append(s) or scale_graph(g, s)
    )
    model = Model()
    expected = search_hlg_scale(model, hlg_batches(), decoder)
    assert scaled == values and model.calls == 3
    # Encoder outputs in memory are limited: then once per value and group of batches.
    monkeypatch.setattr("gmot.decode.split.MAX_KEPT_BYTES", 1.5 * 4 * 4 * 4 * 5)
    assert search_hlg_scale(model, hlg_batches(), decoder) == expected
    assert scaled == values * 3


def test_utterances_of_a_batch_that_is_halved_count_once(graphs, monkeypatch, caplog):
    decoder = make_decoder(["1best"], graphs, search_memory=1e-9)
    word_texts, calls = Search.word_texts, []

    def fail_once(self, ids):
        calls.append(len(ids))
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return word_texts(self, ids)

    monkeypatch.setattr(Search, "word_texts", fail_once)
    result = decode_split(Model(), [batch("abcd", 0)], decoder)
    assert len(calls) > 4 and result.costs.reduced_states == [2] * 4
    assert "4 utterances" in caplog.text and "search_memory" in caplog.text
