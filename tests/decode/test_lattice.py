import itertools
import math

import pytest
import torch
from toy import (
    LEXICON,
    TOKENS,
    WORDS,
    compile_all,
    language_model,
    log_probs,
    make_decoder,
    scaled_hlg,
    viterbi,
)

from gmot.decode.ctc_search import ctc_greedy_search
from gmot.decode.fsa_graphs import compile_h, compile_hlg
from gmot.decode.lattice import scale_graph, search

k2 = pytest.importorskip("k2")


def one_best(x, lens, graph, **beams):
    return search(x, lens, graph, **beams).one_best()


def every_sentence(model, longest):
    """(words, pieces, natural log of the probability) of all short sentences."""
    for n in range(longest + 1):
        for words in itertools.product(LEXICON.words, repeat=n):
            pieces = [TOKENS.ids[p] for w in words for p in LEXICON.spellings[w]]
            yield list(words), pieces, model.sentence_log10_prob(words) * math.log(10)


def decode(x, lens, hlg, **beams):
    """Words, with no pruning to speak of."""
    wide = dict(search_beam=1000.0, output_beam=1.0, max_active_states=100000)
    return [WORDS.decode(ids) for ids in one_best(x, lens, hlg, **{**wide, **beams})]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_hlg_equals_exhaustive_search(tmp_path, order):
    model, arpa = language_model(tmp_path, order)
    hlg = compile_hlg(LEXICON, TOKENS, WORDS, arpa)
    x = log_probs(12, 4, seed=order)
    lens = torch.tensor([4, 1, 2, 3] * 3)
    # Homophones and <unk> leave ties to the language model; it has none here.
    sentences = list(every_sentence(model, 4))
    changed = 0
    for row, n, found in zip(x, lens.tolist(), decode(x, lens, hlg)):
        scores = {tuple(w): viterbi(row[:n], p) + lm for w, p, lm in sentences if len(p) <= n}
        best = max(scores, key=scores.get)
        assert scores[tuple(found)] == pytest.approx(scores[best], abs=1e-4)
        assert found == list(best)
        changed += found != max(
            ([*w] for w, p, _ in sentences if len(p) <= n),
            key=lambda w: viterbi(
                row[:n], [TOKENS.ids[p] for u in w for p in LEXICON.spellings[u]]
            ),
        )
    assert changed  # the language model had a say


def test_hlg_scores_are_those_of_acoustics_and_language_model(tmp_path):
    """Total score of the best path, so that scales and natural logarithms are right."""
    model, arpa = language_model(tmp_path, 2)
    hlg = compile_hlg(LEXICON, TOKENS, WORDS, arpa)
    x = log_probs(1, 4, seed=3)
    lattice = search(x, torch.tensor([4]), hlg, search_beam=1000.0, output_beam=1.0).fsa
    found = float(lattice.get_tot_scores(use_double_scores=True, log_semiring=False)[0])
    expected = max(viterbi(x[0], p) + lm for _, p, lm in every_sentence(model, 4) if len(p) <= 4)
    assert found == pytest.approx(expected, abs=1e-3)


def test_scaled_graphs_are_copies(tmp_path):
    graph = compile_hlg(LEXICON, TOKENS, WORDS, language_model(tmp_path, 2)[1])
    before = graph.scores.clone()
    scaled = scale_graph(graph, 0.3)
    assert torch.equal(graph.scores, before) and not hasattr(graph, "lm_scores")
    assert torch.equal(scaled.lm_scores, before) and torch.equal(scaled.scores, 0.3 * before)


@pytest.mark.parametrize("scale", [0.01, 0.3, 1.0])
def test_hlg_scale_scales_the_lm_scores(tmp_path, scale):
    model, _ = language_model(compile_all(tmp_path, 3), 3)
    beams = dict(search_beam=1000.0, output_beam=1.0, max_active_states=100000)
    decoder = make_decoder(["1best"], tmp_path, hlg_scale=scale, **beams)
    x = log_probs(12, 4, seed=7, scale=1.0)
    for row, text in zip(x, decoder.texts(x, torch.full((12,), 4))["1best"]):
        scores = {}
        for words, pieces, lm in every_sentence(model, 4):
            if len(pieces) <= 4:
                total = viterbi(row, pieces) + scale * lm
                scores[" ".join(words)] = max(total, scores.get(" ".join(words), -math.inf))
        assert scores[text] == pytest.approx(max(scores.values()), abs=1e-4)


@pytest.mark.parametrize("tokens", [2, 5, 130])
@pytest.mark.parametrize("scale", [0.05, 3.0])
@pytest.mark.parametrize("beam", [0.1, 8.0])
def test_h_equals_greedy_search(tokens, scale, beam):
    x = log_probs(5, 30, tokens=tokens, seed=tokens, scale=scale)
    lens = torch.tensor([7, 30, 1, 30, 19])
    found = one_best(
        x, lens, compile_h(tokens), search_beam=beam, output_beam=beam, min_active_states=0
    )
    assert found == ctc_greedy_search(x, lens)


def test_h_merges_repeats_and_keeps_what_a_blank_parts():
    path = torch.tensor([[2, 2, 0, 2, 1, 1]])
    x = (10.0 * torch.nn.functional.one_hot(path, 3)).log_softmax(-1)
    assert one_best(x, torch.tensor([6]), compile_h(3)) == [[2, 2, 1]]


def test_utterances_without_frames(tmp_path):
    x = log_probs(3, 4)
    h = compile_h(len(TOKENS))
    found = one_best(x, torch.tensor([0, 4, 0]), h)
    assert found == [[], ctc_greedy_search(x, torch.tensor([0, 4, 0]))[1], []]
    assert one_best(x[:2], torch.tensor([0, 0]), h) == [[], []]


def test_no_path_is_none():
    """A graph that wants three tokens finds no path through two frames."""
    graph = k2.linear_fsa([2, 3, 4])
    graph.aux_labels = graph.labels.clone()
    x = log_probs(3, 3)
    assert one_best(x, torch.tensor([3, 2, 3]), graph) == [[2, 3, 4], None, [2, 3, 4]]


@pytest.mark.parametrize(
    ("topology", "most"), [("full", 12), ("modified", 12), ("modified", 10000)]
)
def test_lattices_do_not_depend_on_batch_mates(tmp_path, topology, most):
    """Arc by arc, over the windows of 30 frames in which k2 prunes, with padding and without."""
    hlg = scaled_hlg(tmp_path, 2, 0.6, topology)
    lens = torch.tensor([3, 95, 31, 40, 1, 64, 20])
    x = log_probs(len(lens), 100, scale=3.0)
    beams = dict(output_beam=6.0, min_active_states=5, max_active_states=most)
    together = search(x, lens, hlg, **beams)
    assert sorted(together.rows) == list(range(len(lens)))
    for position, row in enumerate(together.rows):
        mine = k2.index_fsa(together.fsa, torch.tensor([position], dtype=torch.int32))
        for frames in (int(lens[row]), 100):
            alone = search(x[row : row + 1, :frames], lens[row : row + 1], hlg, **beams).fsa
            assert torch.equal(alone.arcs.values(), mine.arcs.values())
            assert torch.equal(alone.aux_labels, mine.aux_labels)
            assert torch.equal(alone.lm_scores, mine.lm_scores)


def test_results_do_not_depend_on_batch_mates(tmp_path):
    _, arpa = language_model(tmp_path, 2)
    hlg = compile_hlg(LEXICON, TOKENS, WORDS, arpa)
    x, lens = log_probs(6, 12), torch.tensor([3, 12, 5, 8, 1, 12])
    alone = [one_best(x[i : i + 1, :n], lens[i : i + 1], hlg)[0] for i, n in enumerate(lens)]
    assert one_best(x, lens, hlg) == alone


def test_pruned_lattices_keep_their_best_paths(tmp_path):
    x, lens = log_probs(6, 12, scale=0.5), torch.tensor([3, 12, 5, 8, 0, 12])
    wide = dict(search_beam=1000.0, output_beam=30.0, max_active_states=100000)
    whole = search(x, lens, scaled_hlg(tmp_path), **wide)
    assert whole.pruned(10**9) is whole
    scores = whole.fsa.get_tot_scores(use_double_scores=True, log_semiring=False)
    for most in (2000, 300, 50):
        less = whole.pruned(most)
        splits = less.fsa.arcs.shape().remove_axis(1).row_splits(1)
        assert int((splits[1:] - splits[:-1]).max()) <= max(most, 14)
        torch.testing.assert_close(
            less.fsa.get_tot_scores(use_double_scores=True, log_semiring=False), scores
        )
        assert less.one_best() == whole.one_best()
        assert [p[0] for p in less.nbest(20)] == [p[0] for p in whole.nbest(1)]


def test_the_best_path_of_a_lattice_too_large_to_prune_is_kept(tmp_path, monkeypatch):
    x, lens = log_probs(2, 12, scale=0.5), torch.tensor([12, 7])
    whole = search(x, lens, scaled_hlg(tmp_path))
    monkeypatch.setattr("gmot.decode.lattice.MAX_PRUNABLE_ARCS", 100)
    thin = whole.pruned(60)
    assert [[p.labels for p in paths] for paths in thin.nbest(50)] == [
        [tuple(ids)] for ids in whole.one_best()
    ]


def test_a_pruned_lattice_does_not_depend_on_its_batch(tmp_path):
    hlg = scaled_hlg(tmp_path)
    x, lens = log_probs(3, 12, scale=0.5), torch.tensor([12, 4, 12])
    together = search(x, lens, hlg).pruned(300).nbest(50)
    for i, n in enumerate(lens):
        alone = search(x[i : i + 1, :n], lens[i : i + 1], hlg).pruned(300).nbest(50)[0]
        assert {p.labels for p in alone} == {p.labels for p in together[i]}


def test_alignments_may_be_made_in_parts(tmp_path, monkeypatch):
    x, lens = log_probs(3, 8, scale=0.5), torch.tensor([8, 4, 7])
    found = search(x, lens, scaled_hlg(tmp_path))
    together = found.nbest(40)
    monkeypatch.setattr("gmot.decode.lattice.ALIGN_WORK", 1)
    apart = found.nbest(40)
    for a, b in zip(together, apart):
        assert [p.labels for p in a] == [p.labels for p in b]
        for p, q in zip(a, b):
            assert (p.acoustic, p.graph) == pytest.approx((q.acoustic, q.graph), abs=1e-4)
