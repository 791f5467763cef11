"""The modified CTC topology gives the results of the standard one."""

import itertools
import random

import pytest
import torch
from toy import (
    TOKENS,
    WORDS,
    collapse,
    compile_all,
    greedy_texts,
    log_probs,
    make_decoder,
    scaled_hlg,
    token_ids,
    viterbi,
)

from gmot.bin import compile_graphs
from gmot.common import GmotError
from gmot.decode.ctc_search import ctc_greedy_search
from gmot.decode.fsa_graphs import compile_h, compile_hlg, compile_lg
from gmot.decode.lattice import scale_graph, search
from gmot.decode.methods import METHODS
from gmot.decode.topology import TOPOLOGIES, check_topology, expand, expanded_arcs
from gmot.text.lexicon import Lexicon
from gmot.text.ngram import train
from gmot.text.tokens import TokenTable, WordTable

k2 = pytest.importorskip("k2")
UNPRUNED = dict(search_beam=1000.0, output_beam=1000.0, max_active_states=100000)


def random_language(seed):
    """Lexicon with homophones, prefixes and repeated tokens, and a back-off model of its words."""
    generator = random.Random(seed)
    pieces = "abcdefg"[: generator.randint(2, 7)]
    tokens = TokenTable.from_pieces(pieces)
    spellings = {}
    for number in range(generator.randint(3, 9)):
        size = generator.choice([1, 1, 1, 2, 2, 3])
        spellings[f"w{number}"] = generator.choices(pieces, k=size)
    spellings["homophone"] = list(spellings["w0"])
    spellings["twice"] = [pieces[0], pieces[0]]
    lexicon = Lexicon(spellings)
    words = WordTable.from_words(lexicon.words)
    text = [
        generator.choices(lexicon.words, k=generator.randint(1, 5))
        for _ in range(generator.randint(5, 20))
    ]
    return lexicon, tokens, words, train(text, generator.randint(1, 3), vocabulary=words.words)


def totals(lattices, log_semiring):
    return lattices.fsa.get_tot_scores(use_double_scores=True, log_semiring=log_semiring)


@pytest.mark.parametrize("seed", range(8))
def test_modified_equals_full_on_random_languages(tmp_path, seed):
    """Best paths and the sum over all paths: each path of one graph is one of the other."""
    lexicon, tokens, words, model = random_language(seed)
    model.save_arpa(tmp_path / "lm.arpa")
    x = log_probs(6, 7, tokens=len(tokens), seed=seed, scale=1.0)
    lens = torch.tensor([7, 6, 5, 4, 7, 1])
    found = {}
    for each in ("full", "modified"):
        graph = compile_hlg(lexicon, tokens, words, tmp_path / "lm.arpa", each)
        found[each] = search(x, lens, scale_graph(graph, 0.7), **UNPRUNED)
    full, modified = found["full"], found["modified"]
    assert (full.rows, full.lost) == (modified.rows, modified.lost)
    for log_semiring in (False, True):
        torch.testing.assert_close(totals(full, log_semiring), totals(modified, log_semiring))
    for paths, others in zip(full.nbest(1), modified.nbest(1)):
        for a, b in zip(paths, others):
            assert a.acoustic + a.graph * 0.7 == pytest.approx(b.acoustic + b.graph * 0.7, abs=1e-4)


@pytest.mark.parametrize("order", [1, 3])
def test_modified_equals_full_within_the_default_beams(tmp_path, order):
    """The same best paths, and the same scores of the words in both n-best lists."""
    x, lens = log_probs(8, 8, seed=order, scale=1.5), torch.tensor([8, 7, 6, 5] * 2)
    full, modified = (
        search(x, lens, scaled_hlg(tmp_path, order, 0.5, each)) for each in ("full", "modified")
    )
    assert full.one_best() == modified.one_best()
    compared = 0
    for paths, others in zip(full.nbest(100, 0.5), modified.nbest(100, 0.5)):
        assert paths[0].labels == others[0].labels
        # Of words beyond the output beam a lattice may lack the best alignment.
        within = paths[0].acoustic + 0.5 * paths[0].graph - 7.9
        scores = {p.labels: (p.acoustic, p.graph) for p in paths}
        for p in others:  # other samples, because they depend on the order of arcs
            if p.labels in scores and p.acoustic + 0.5 * p.graph > within:
                compared += 1
                assert (p.acoustic, p.graph) == pytest.approx(scores[p.labels], abs=1e-3)
    assert compared > 100


def test_modified_h_is_small():
    assert compile_h(400, "full").num_arcs > 400**2
    assert compile_h(400, "modified").num_arcs < 4 * 400


@pytest.mark.parametrize("tokens", [2, 5, 130])
def test_modified_h_equals_greedy_search(tokens):
    x = log_probs(5, 30, tokens=tokens, seed=tokens, scale=3.0)
    lens = torch.tensor([7, 30, 1, 30, 19])
    h = compile_h(tokens, "modified")
    narrow = dict(search_beam=0.1, output_beam=0.1, min_active_states=0)
    assert search(x, lens, h, **narrow).one_best() == ctc_greedy_search(x, lens)


def sure_frames(path):
    """(1, T, C): one token per frame."""
    x = torch.full((1, len(path), len(TOKENS)), -1e4)
    x[0, range(len(path)), path] = 0.0
    return x, torch.tensor([len(path)])


def test_modified_graphs_repeat_tokens_without_blanks_and_searches_remove_that(tmp_path):
    """Two frames of one token are one token, or in k2's modified topology perhaps two."""
    graphs = {t: scaled_hlg(tmp_path, 2, 1.0, t) for t in TOPOLOGIES}
    a, b, c = (TOKENS.ids[p] for p in "abc")
    # "z" is c c, which needs a blank between; c alone is no word.
    x, lens = sure_frames([c, c, c])
    raw = k2.get_lattice(x, lens, graphs["modified"], search_beam=1000.0, output_beam=1.0)
    assert k2.get_aux_labels(k2.shortest_path(raw, True)) == [[WORDS.ids["z"]]]
    assert all(search(x, lens, graph).one_best() == [None] for graph in graphs.values())
    for path in itertools.product([0, a, b, c], repeat=4):
        x, lens = sure_frames(list(path))
        found = {
            t: {p.labels for p in search(x, lens, graph).nbest(100, 0.5)[0] if p.acoustic > -1.0}
            for t, graph in graphs.items()
        }
        assert found["modified"] == found["full"]
        assert {tuple(token_ids(ids)) for ids in found["full"]} <= {tuple(collapse(path))}


def test_modified_searches_again_where_the_best_path_is_not_certain(tmp_path, monkeypatch):
    """The best path repeats a token without a blank; the best allowed one is beyond the beam."""
    full, modified = (scaled_hlg(tmp_path, 2, 0.1, t) for t in ("full", "modified"))
    x, lens = sure_frames([TOKENS.ids["c"]] * 3)
    x[0, 1, 0] = -6.0  # a blank between: z at a cost of 6
    x = x.repeat(2, 1, 1)
    x[1] = sure_frames([TOKENS.ids[p] for p in "aab"])[0][0]
    narrow = dict(output_beam=2.0, search_beam=30.0)
    searched, get_lattice = [], k2.get_lattice
    monkeypatch.setattr(
        k2, "get_lattice", lambda **o: searched.append(len(o["log_prob"])) or get_lattice(**o)
    )
    found = search(x, torch.tensor([3, 3]), modified, **narrow)
    assert searched == [2, 1]  # the second time the uncertain one alone
    assert found.one_best() == search(x, torch.tensor([3, 3]), full, **narrow).one_best()
    assert found.one_best()[0] == [WORDS.ids["z"]]


def test_modified_lattices_that_would_be_too_large_keep_their_best_path(tmp_path, monkeypatch):
    modified = scaled_hlg(tmp_path, 2, 1.0)
    x, lens = log_probs(6, 8, scale=1.0), torch.full((6,), 8)
    whole = search(x, lens, modified)
    monkeypatch.setattr("gmot.decode.lattice.MAX_PRUNABLE_ARCS", 20)
    alone = search(x, lens, modified)
    assert sorted([*alone.rows, *alone.lost]) == list(range(6)) and alone.rows
    for row, best in enumerate(alone.one_best()):
        assert best in (whole.one_best()[row], None)
        assert len(alone.nbest(50)[row]) == (best is not None)


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_all_methods_work_with_each_topology(tmp_path, name):
    decoder = make_decoder(list(METHODS), compile_all(tmp_path, topology=name), **UNPRUNED)
    assert decoder.graphs.info["HLG.pt"]["topology"] == name
    x, lens = log_probs(4, 6, seed=3, scale=1.0), torch.tensor([6, 3, 0, 5])
    found = decoder(x, lens).candidates
    assert [c.texts[0] for c in found["ctc-decoding"]] == greedy_texts(x, lens)
    best = [c.texts[0] for c in found["1best"]]
    assert [c.text({"graph": 0.6}) for c in found["nbest"]] == best
    for method in list(METHODS)[6:]:
        assert [c.text({"graph": 0.6}) for c in found[method]] == best
        assert any(len(c.texts) > 1 for c in found[method])
    # Acoustic scores are those of the best alignment.
    lists = search(x, lens, decoder.graphs.scaled_hlg(0.6), **UNPRUNED).nbest(50)
    for row, n, paths in zip(x, lens.tolist(), lists):
        for path in paths if n else []:
            exact = viterbi(row[:n], token_ids(path.labels))
            assert path.acoustic == pytest.approx(exact, abs=1e-3)


def test_unknown_topologies_are_refused():
    with pytest.raises(GmotError, match="'compact'.*modified, full"):
        check_topology("compact")
    assert compile_graphs.get_parser().get_default("topology") == TOPOLOGIES[0]


def test_the_expected_size_is_an_upper_bound(tmp_path):
    for seed in range(6):
        lexicon, tokens, words, model = random_language(seed)
        model.save_arpa(tmp_path / "lm.arpa")
        lg = compile_lg(lexicon, tokens, words, tmp_path / "lm.arpa")
        for name in TOPOLOGIES:
            made = expand(lg, name, len(tokens)).num_arcs
            assert made <= expanded_arcs(lg, name) <= 1.5 * made
