from types import SimpleNamespace

import pytest
import torch
from test_api import CharacterModel, compile_all
from toy import TOKENS, WORDS, log_probs

from gmot.common import GmotError
from gmot.decode.api import Decoder
from gmot.decode.greedy import ctc_greedy_search
from gmot.decode.methods import METHODS, weightings
from gmot.decode.part import decode_part, search_hlg_scale
from gmot.scoring import score
from gmot.text.tokens import pieces_to_text


class Model(torch.nn.Module):
    """Every second frame, the features being the logits."""

    calls = 0
    memory = 1 << 30  # values that fit

    def forward(self, features, lens):
        assert not self.training and not torch.is_grad_enabled()
        self.calls += 1
        if features.numel() > self.memory:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return features[:, ::2].log_softmax(-1), (lens + 1) // 2, None


def batch(names, seed, scale=2.0):
    x = log_probs(len(names), 8, seed=seed, scale=scale)
    return SimpleNamespace(
        ids=list(names),
        features=x,
        feature_lens=torch.tensor([8, 5, 3, 2][: len(names)]),
        texts=[f"text {n}" for n in names],
        durations=[1.5] * len(names),
    )


def greedy_decoder():
    return Decoder(["ctc-greedy-search"], TOKENS)


def test_all_methods_share_one_pass(tmp_path):
    pytest.importorskip("k2")
    decoder = Decoder(METHODS, TOKENS, compile_all(tmp_path), WORDS, plm=CharacterModel())
    model = Model()
    batches = [batch("abc", 0), batch("de", 1)]
    result = decode_part(model, batches, decoder, num_utterances=5)
    assert model.calls == 2
    assert result.refs == {n: f"text {n}" for n in "abcde"}
    assert set(result.candidates) == set(METHODS)
    hyps = {method: result.hypotheses(method, {}) for method in METHODS}
    assert hyps["ctc-decoding"] == hyps["ctc-greedy-search"]
    out = ctc_greedy_search(batches[1].features[:, ::2], torch.tensor([4, 3]))
    assert hyps["ctc-greedy-search"]["e"] == pieces_to_text(TOKENS.decode(out[1]))
    assert result.audio_seconds == 7.5
    assert result.encoder_seconds > 0
    assert all(result.decoding_seconds[m] > 0 for m in METHODS)
    assert result.peak_memory_mb > 1
    weights = result.search_weights(METHODS, 0.6)
    for method in METHODS:
        assert weights[method] in weightings(method, 0.6)
    for method in METHODS[6:]:  # which may do as 1best does
        best = score(result.refs, result.hypotheses(method, weights[method]), replications=2)
        assert best.errors <= score(result.refs, hyps["1best"], replications=2).errors
    # A second part starts its own clocks.
    first = dict(result.decoding_seconds)
    again = decode_part(model, [batch("x", 0)], decoder)
    assert again.decoding_seconds is not result.decoding_seconds
    assert result.decoding_seconds == first


def test_out_of_memory_halves_the_batch_once(caplog):
    whole = batch("abcd", 0)
    expected = decode_part(Model(), [whole], greedy_decoder()).hypotheses("ctc-greedy-search", {})
    model = Model()
    model.memory = whole.features[:2].numel()
    result = decode_part(model, [whole], greedy_decoder())
    assert result.hypotheses("ctc-greedy-search", {}) == expected
    assert model.calls == 3
    assert "4 utterances, the longest of them a (8 frames)" in caplog.text


def test_out_of_memory_twice_names_the_utterance():
    model = Model()
    model.memory = 8
    with pytest.raises(GmotError, match=r"2 utterances, the longest of them a \(8.*max-duration"):
        decode_part(model, [batch("abcd", 0)], greedy_decoder())
    with pytest.raises(GmotError, match="1 utterances, the longest of them x"):
        decode_part(model, [batch("x", 0)], greedy_decoder())


def test_other_errors_are_not_taken_for_memory():
    class Broken(torch.nn.Module):
        def forward(self, features, lens):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        decode_part(Broken(), [batch("ab", 0)], greedy_decoder())


def test_repeated_and_missing_utterances_are_refused():
    with pytest.raises(GmotError, match="more than once.*'b'"):
        decode_part(Model(), [batch("ab", 0), batch("b", 1)], greedy_decoder())
    with pytest.raises(GmotError, match="no utterances"):
        decode_part(Model(), [], greedy_decoder())


def test_the_hlg_scale_found_has_the_fewest_errors(tmp_path):
    pytest.importorskip("k2")
    decoder = Decoder(["1best"], TOKENS, compile_all(tmp_path), WORDS)
    batches = [batch("abcd", seed, scale=1.0) for seed in range(3)]
    for number, one in enumerate(batches):
        one.ids = [f"{name}{number}" for name in one.ids]
        one.texts = ["x1wy", "zx2", "w", "z"]
    values = (0.02, 0.5, 3.0)
    errors = []
    for value in values:
        decoder.hlg_scale = value
        result = decode_part(Model(), batches, decoder)
        errors.append(score(result.refs, result.hypotheses("1best", {}), replications=2).errors)
    found = search_hlg_scale(Model(), batches, decoder, values)
    assert len(set(errors)) > 1
    assert found == values[errors.index(min(errors))]
    # Here too a batch that does not fit is halved.
    model = Model()
    model.memory = batches[0].features[:2].numel()
    assert search_hlg_scale(model, batches, decoder, values) == found


def test_graphs_are_weighed_once_per_value_not_per_batch(tmp_path, monkeypatch):
    pytest.importorskip("k2")
    from gmot.decode import lattice, part

    decoder = Decoder(["1best"], TOKENS, compile_all(tmp_path), WORDS)
    batches = [batch([f"{name}{seed}" for name in "abcd"], seed) for seed in range(6)]
    weighed, weigh = [], lattice.weigh
    monkeypatch.setattr(lattice, "weigh", lambda g, v: weighed.append(v) or weigh(g, v))
    model = Model()
    expected = search_hlg_scale(model, batches, decoder, (0.02, 0.5, 3.0))
    assert weighed == [0.02, 0.5, 3.0] and model.calls == len(batches)
    # What is kept of the encoder is bounded: then once per value and group of batches.
    weighed.clear()
    monkeypatch.setattr(part, "KEPT_BYTES", 2.5 * 4 * 4 * 4 * 5)  # two batches and a half
    assert search_hlg_scale(model, batches, decoder, (0.02, 0.5, 3.0)) == expected
    assert weighed == [0.02, 0.5, 3.0] * 2 and model.calls == 2 * len(batches)


def test_utterances_of_a_batch_that_is_halved_count_once(tmp_path, monkeypatch):
    pytest.importorskip("k2")
    decoder = Decoder(["1best"], TOKENS, compile_all(tmp_path), WORDS, search_memory=1e-9)
    best, failed = Decoder._best, []

    def fail_once(self, work):
        if len(work["lens"]) == 1 and self.counts.narrowed and not failed:
            failed.append(True)
            raise RuntimeError("out of memory")
        best(self, work)

    monkeypatch.setattr(Decoder, "_best", fail_once)
    result = decode_part(Model(), [batch("abcd", 0)], decoder)
    assert failed and result.counts.narrowed == [2] * 4
