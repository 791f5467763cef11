from types import SimpleNamespace

import pytest
import torch
from toy import LEXICON, TOKENS, WORDS, language_model, log_probs

from gmot.common import GmotError
from gmot.decode import graphs as graphs_module
from gmot.decode import lattice
from gmot.decode.api import Decoder, decode_part
from gmot.decode.greedy import ctc_greedy_search
from gmot.decode.k2_import import k2_available
from gmot.text.tokens import TokenTable, pieces_to_text


@pytest.fixture
def graphs(tmp_path):
    pytest.importorskip("k2")
    _, arpa = language_model(tmp_path, 2)
    graphs_module.save_graph(tmp_path / "H.pt", graphs_module.compile_h(len(TOKENS)), TOKENS)
    hlg = graphs_module.compile_hlg(LEXICON, TOKENS, WORDS, arpa)
    graphs_module.save_graph(tmp_path / "HLG.pt", hlg, TOKENS, WORDS)
    return tmp_path


LENS = torch.tensor([9, 2, 7, 0, 5])


def test_greedy_texts():
    x = log_probs(5, 9)
    decoder = Decoder("ctc-greedy-search", TOKENS)
    expected = [pieces_to_text(TOKENS.decode(ids)) for ids in ctc_greedy_search(x, LENS)]
    assert decoder(x, LENS) == expected
    assert (decoder.num_utterances, decoder.num_empty) == (5, 0)
    assert decoder.seconds > 0


def test_ctc_decoding_gives_the_texts_of_greedy_search(graphs):
    for seed in range(5):
        x = log_probs(5, 9, seed=seed)
        decoder = Decoder("ctc-decoding", TOKENS, graphs)
        assert decoder(x, LENS) == Decoder("ctc-greedy-search", TOKENS)(x, LENS)
        assert decoder.num_empty == 0


def test_one_best_gives_the_words_and_may_be_split(graphs, monkeypatch):
    x = log_probs(5, 9)
    decoder = Decoder("1best", TOKENS, graphs, WORDS)
    texts = decoder(x, LENS)
    found = lattice.one_best(x, LENS, decoder.graph)
    assert texts == ["".join(WORDS.decode(ids)) for ids in found]
    assert any(len(ids) > 1 for ids in found)
    monkeypatch.setattr("gmot.decode.api.HLG_WORK", 1)
    assert len(decoder._splits(x)) == 5
    assert decoder(x, LENS) == texts


def test_lost_utterances_are_answered_by_greedy_search_and_counted(graphs, caplog):
    k2 = pytest.importorskip("k2")
    graph = k2.linear_fsa([2, 3, 4])  # nothing but a b c
    graph.aux_labels = graph.labels.clone()
    graphs_module.save_graph(graphs / "H.pt", graph, TOKENS)
    decoder = Decoder("ctc-decoding", TOKENS, graphs)
    x, lens = log_probs(3, 3), torch.tensor([3, 2, 1])
    greedy = Decoder("ctc-greedy-search", TOKENS)(x, lens)
    assert decoder(x, lens) == ["ABC", *greedy[1:]]
    decoder(x, lens)
    assert decoder.num_empty == 4
    assert caplog.text.count("greedy search answers") == 1


def test_unknown_method_is_refused():
    with pytest.raises(GmotError, match="beam-search.*ctc-greedy-search"):
        Decoder("beam-search", TOKENS)


def test_graph_methods_say_what_they_lack(graphs):
    with pytest.raises(GmotError, match="graph-dir"):
        Decoder("ctc-decoding", TOKENS)
    with pytest.raises(GmotError, match="words"):
        Decoder("1best", TOKENS, graphs)
    with pytest.raises(GmotError, match="other tokens"):
        Decoder("ctc-decoding", TokenTable.from_pieces("xyz"), graphs)


@pytest.mark.skipif(k2_available(), reason="k2 is installed")
def test_without_k2_the_error_says_so(tmp_path):
    with pytest.raises(GmotError, match="k2 cannot be imported.*ctc-greedy-search"):
        Decoder("ctc-decoding", TOKENS, tmp_path)


def test_a_model_with_other_outputs_is_refused():
    with pytest.raises(GmotError, match=r"4 outputs, tokens.txt 5"):
        Decoder("ctc-greedy-search", TOKENS)(log_probs(1, 3, tokens=4), torch.tensor([3]))


class Model(torch.nn.Module):
    """Every second frame, the features being the logits."""

    calls = 0

    def forward(self, features, lens):
        assert not self.training and not torch.is_grad_enabled()
        self.calls += 1
        return features[:, ::2].log_softmax(-1), (lens + 1) // 2, None


def batch(names, seed):
    x = log_probs(len(names), 8, seed=seed)
    return SimpleNamespace(
        ids=list(names),
        features=x,
        feature_lens=torch.tensor([8, 5, 3][: len(names)]),
        texts=[f"text {n}" for n in names],
        durations=[1.5] * len(names),
    )


def test_decode_part_shares_one_pass(graphs):
    methods = ("ctc-greedy-search", "ctc-decoding", "1best")
    decoders = [Decoder(m, TOKENS, graphs, WORDS) for m in methods]
    model = Model()
    batches = [batch("abc", 0), batch("de", 1)]
    result = decode_part(model, batches, decoders, num_utterances=5)
    assert model.calls == 2
    assert result.refs == {n: f"text {n}" for n in "abcde"}
    assert set(result.hyps) == set(methods)
    assert result.hyps["ctc-decoding"] == result.hyps["ctc-greedy-search"]
    out = ctc_greedy_search(batches[1].features[:, ::2], torch.tensor([4, 3]))
    assert result.hyps["ctc-greedy-search"]["e"] == pieces_to_text(TOKENS.decode(out[1]))
    assert result.audio_seconds == 7.5
    assert result.encoder_seconds > 0 and all(result.decoding_seconds[m] > 0 for m in methods)
    assert result.peak_memory_mb > 1
    # A second part starts its own clocks.
    again = decode_part(model, [batch("x", 0)], decoders[:1])
    assert again.decoding_seconds["ctc-greedy-search"] < decoders[0].seconds


def test_decode_part_refuses_repeated_and_missing_utterances():
    decoders = [Decoder("ctc-greedy-search", TOKENS)]
    with pytest.raises(GmotError, match="more than once.*'b'"):
        decode_part(Model(), [batch("ab", 0), batch("b", 1)], decoders)
    with pytest.raises(GmotError, match="no utterances"):
        decode_part(Model(), [], decoders)
