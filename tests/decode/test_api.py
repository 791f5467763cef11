import math

import pytest
import torch
from toy import LEXICON, TOKENS, WORDS, language_model, log_probs

from gmot.common import GmotError
from gmot.decode import graphs as graphs_module
from gmot.decode import lattice
from gmot.decode.api import Decoder
from gmot.decode.grammar import compile_g
from gmot.decode.greedy import ctc_greedy_search
from gmot.decode.k2_import import k2_available
from gmot.decode.methods import METHODS, graphs_needed, weightings
from gmot.scoring import score
from gmot.text.tokens import TokenTable, pieces_to_text

LENS = torch.tensor([9, 2, 7, 0, 5])
WIDE = dict(search_beam=1000.0, output_beam=30.0, max_active_states=100000)


class CharacterModel:
    """A stand-in for a masked language model: any function of the text will do."""

    def score(self, texts):
        texts = [text.replace(" ", "") for text in texts]
        return [-abs(len(text) - 6.0) - 0.1 * text.count("x1") for text in texts]


def compile_all(folder, order=2, rescore_order=3):
    arpa = language_model(folder, order)[1]
    larger = language_model(folder, rescore_order)[1]
    hlg = graphs_module.compile_hlg(LEXICON, TOKENS, WORDS, arpa)
    graphs_module.save_graph(folder / "H.pt", graphs_module.compile_h(len(TOKENS)), TOKENS)
    graphs_module.save_graph(folder / "HLG.pt", hlg, TOKENS, WORDS)
    graphs_module.save_graph(folder / "G.pt", compile_g(WORDS, larger), None, WORDS)
    return folder


@pytest.fixture
def graphs(tmp_path):
    pytest.importorskip("k2")
    return compile_all(tmp_path)


def decoder(methods, folder, **options):
    return Decoder(methods, TOKENS, folder, WORDS, plm=CharacterModel(), **options)


def greedy(x, lens):
    return [pieces_to_text(TOKENS.decode(ids)) for ids in ctc_greedy_search(x, lens)]


def test_greedy_texts():
    x = log_probs(5, 9)
    found = Decoder(["ctc-greedy-search"], TOKENS)
    assert found.texts(x, LENS) == {"ctc-greedy-search": greedy(x, LENS)}
    assert found.counts.empty == {"ctc-greedy-search": 0}
    assert found.seconds["ctc-greedy-search"] > 0


def test_h_best_path_equals_greedy_search(graphs):
    for seed in range(5):
        x = log_probs(5, 9, seed=seed)
        found = decoder(["ctc-decoding"], graphs)
        assert found.texts(x, LENS)["ctc-decoding"] == greedy(x, LENS)
        assert found.counts.empty == {"ctc-decoding": 0}


def test_one_best_gives_the_words_and_may_be_split(graphs):
    x = log_probs(5, 9)
    found = decoder(["1best"], graphs, hlg_scale=1.0)
    texts = found.texts(x, LENS)
    paths = lattice.search(x, LENS, found.graphs.hlg).one_best()
    assert texts["1best"] == ["".join(WORDS.decode(ids)) for ids in paths]
    assert any(len(ids) > 1 for ids in paths)
    # So little memory that each utterance is searched by itself, if with all its states.
    found.search_memory = 1.5e-9 * found.graphs.bytes_of(10000, 9)
    assert len(found._splits(LENS)) == 5
    assert found.texts(x, LENS) == texts
    assert found.counts.narrowed == []


def test_a_search_is_narrowed_to_the_memory_there_is(graphs, caplog):
    x = log_probs(5, 9)
    found = decoder(["1best"], graphs, hlg_scale=1.0)
    wide = found.texts(x, LENS)
    few = 6
    found.search_memory = 1.0001e-9 * found.graphs.bytes_of(few, 9)
    for rows, beams in found._splits(LENS):
        assert rows.stop - rows.start == 1
        assert few <= beams["max_active_states"] < 10000
    found.reset()
    narrow = found.texts(x, LENS)
    assert len(found.counts.narrowed) == 5 and min(found.counts.narrowed) == few
    assert caplog.text.count("--search-memory") == 2  # once since each reset
    assert narrow.keys() == wide.keys() and all(narrow["1best"][i] for i in (0, 2, 4))


def test_active_states_depend_on_the_own_length_alone(graphs):
    """A function of frames and settings, whatever else is in the batch."""
    found = decoder(["1best"], graphs).graphs
    lens = [9, 300, 2, 0, 120, 300, 40, 80]
    for gigabytes in (6, 3e-3, 7e-4, 1e-4, 1e-9):
        expected = [found.max_states(10000, n, gigabytes) for n in lens]
        if gigabytes == 1e-9:
            assert expected == [2] * len(lens)
        for order in (lens, lens[::-1], sorted(lens), lens[3:]):
            splits = found.splits(order, 10000, gigabytes)
            rows = [row for part, _ in splits for row in range(part.start, part.stop)]
            assert rows == list(range(len(order)))
            for part, states in splits:
                for n in order[part]:
                    assert states == expected[lens.index(n)]
                if part.stop - part.start > 1:
                    size = len(order[part]) * found.bytes_of(states, max(order[part]))
                    assert size <= gigabytes * 1e9
                assert states == 10000 or part.stop - part.start == 1


@pytest.mark.parametrize("memory", [6, 7e-4, 6.4e-4, 1e-4])
def test_texts_do_not_depend_on_batches_whatever_the_memory(graphs, memory):
    """The faults of narrowing by the padded length of a batch: other results with other mates."""
    x, lens = log_probs(6, 40, scale=1.0), torch.tensor([30, 4, 40, 0, 11, 22])
    methods = ["1best", "nbest", "whole-lattice-rescoring"]
    found = decoder(methods, graphs, search_memory=memory)
    together = found(x, lens)
    narrowed = sorted(found.counts.narrowed)
    found.reset()
    for first, last in ((0, 1), (1, 3), (3, 6)):
        apart = found(x[first:last, : max(1, int(lens[first:last].max()))], lens[first:last])
        for method in methods:
            for a, b in zip(apart[method], together[method][first:last]):
                assert a.texts == b.texts
                for name in a.scores:
                    assert a.scores[name].tolist() == pytest.approx(b.scores[name].tolist())
    assert sorted(found.counts.narrowed) == narrowed
    assert bool(narrowed) == (memory < 7e-4)


@pytest.mark.parametrize("hlg_scale", [0.3, 1.0])
def test_nbest_with_one_path_equals_one_best(graphs, hlg_scale):
    for seed in range(3):
        x = log_probs(5, 9, seed=seed, scale=1.0)
        found = decoder(["1best", "nbest"], graphs, num_paths=1, hlg_scale=hlg_scale)
        texts = found.texts(x, LENS)
        assert texts["nbest"] == texts["1best"]
        candidates = found(x, LENS)["nbest"]
        assert all(len(c.texts) == 1 for c in candidates)


def test_the_best_of_an_nbest_list_is_the_best_path(graphs):
    """It is always in the list, so no sample can be better."""
    x = log_probs(5, 9, scale=1.0)
    found = decoder(["1best", "nbest"], graphs, num_paths=50)
    texts = found.texts(x, LENS)
    assert texts["nbest"] == texts["1best"]
    assert max(len(c.texts) for c in found(x, LENS)["nbest"]) > 10


@pytest.mark.parametrize("order", [1, 2, 3])
def test_whole_lattice_rescoring_with_the_same_model_equals_one_best(tmp_path, order):
    pytest.importorskip("k2")
    compile_all(tmp_path, order, order)
    for seed, scale in ((0, 1.0), (1, 1.0), (2, 0.4)):
        x = log_probs(5, 9, seed=seed, scale=1.0)
        found = decoder(["1best", "whole-lattice-rescoring"], tmp_path, hlg_scale=scale, **WIDE)
        found.whole_weightings = [{"lm": scale}]
        lists = found(x, LENS)
        for i in range(5):
            best = lists["1best"][i].text({})
            assert lists["whole-lattice-rescoring"][i].text({"lm": scale}) == best


@pytest.mark.parametrize("method", METHODS[6:])
def test_rescoring_that_keeps_hlg_s_scores_equals_one_best(graphs, method):
    x = log_probs(5, 9, seed=5, scale=1.0)
    own, *others = weightings(method, 0.7)
    found = decoder(["1best", method], graphs, hlg_scale=0.7)
    texts = [c.text(own) for c in found(x, LENS)[method]]
    assert texts == found.texts(x, LENS)["1best"] == found.texts(x, LENS)[method]
    assert any([c.text(w) for c in found(x, LENS)[method]] != texts for w in others)


def test_the_masked_language_model_reads_words_of_letters_with_spaces(graphs):
    """As normalised text has them: HELLO WORLD is not HELLOWORLD."""
    found = decoder(["plm-rescoring"], graphs)
    asked = []
    score = found.plm.score
    found.plm.score = lambda texts: asked.extend(texts) or score(texts)
    found.texts(log_probs(5, 9, seed=5, scale=1.0), LENS)
    assert any(" " in text for text in asked)
    assert all(set(text.split()) <= set(WORDS.words) for text in asked)


def test_whole_lattice_rescoring_equals_searching_with_the_larger_model(tmp_path):
    """Lattices of a bigram model, rescored by a trigram model, against HLG of the latter."""
    pytest.importorskip("k2")
    compile_all(tmp_path, 2, 3)
    compile_all(tmp_path / "3" if (tmp_path / "3").mkdir() is None else tmp_path, 3, 3)
    x = log_probs(5, 9, seed=4, scale=1.0)
    rescored = decoder(["whole-lattice-rescoring"], tmp_path, hlg_scale=1.0, **WIDE)
    rescored.whole_weightings = [{"lm": 0.2}, {"lm": 1.0}]
    expected = decoder(["1best"], tmp_path / "3", hlg_scale=1.0, **WIDE).texts(x, LENS)["1best"]
    plain = decoder(["1best"], tmp_path, hlg_scale=1.0, **WIDE).texts(x, LENS)["1best"]
    candidates = rescored(x, LENS)["whole-lattice-rescoring"]
    assert [c.text({"lm": 1.0}) for c in candidates] == expected != plain


def test_language_model_scores_of_nbest_lists_are_the_model_s(graphs, tmp_path):
    model, _ = language_model(tmp_path, 3)
    found = decoder(["nbest-rescoring"], graphs, **WIDE)
    work = {"log_probs": log_probs(5, 9, scale=1.0), "lens": LENS, "beams": found.beams}
    for step in ("_lattice", "_thinned", "_nbest", "_lm"):
        getattr(found, step)(work)
    checked = 0
    for paths, scores in zip(work["nbest"], work["lm"]):
        for path, lm in zip(paths, scores):
            words = WORDS.decode(path.labels)
            # G may back off where an n-gram stands, if that is better.
            exact = model.sentence_log10_prob(words) * math.log(10)
            assert lm >= exact - 1e-4
            checked += lm == pytest.approx(exact, abs=1e-4)
    assert checked > 50


@pytest.mark.parametrize("order", [2, 3])
def test_graph_scores_of_nbest_lists_are_the_model_s(tmp_path, order):
    """Of homophones that back off too, which a graph may lose: 1best does not need them."""
    pytest.importorskip("k2")
    model, _ = language_model(compile_all(tmp_path, order), order)
    found = decoder(["nbest"], tmp_path, hlg_scale=0.5, **WIDE)
    paths = lattice.search(log_probs(5, 9, scale=1.0), LENS, found.graphs.hlg, **WIDE)
    for listed in paths.nbest(100, 0.3):
        for path in listed:
            if path.labels:
                exact = model.sentence_log10_prob(WORDS.decode(path.labels)) * math.log(10)
                assert path.graph == pytest.approx(exact, abs=1e-3) or path.graph > exact


def test_acoustic_scores_of_nbest_lists_are_those_of_the_best_alignment(graphs):
    from test_lattice import viterbi

    x = log_probs(3, 6, scale=1.0)
    lens = torch.tensor([6, 4, 5])
    found = decoder(["nbest"], graphs, hlg_scale=0.5, **WIDE)
    paths = lattice.search(x, lens, found.graphs.hlg, **WIDE).nbest(50, 0.5)
    for row, n, listed in zip(x, lens, paths):
        for path in listed:
            pieces = [
                TOKENS.ids[p] for w in WORDS.decode(path.labels) for p in LEXICON.spellings[w]
            ]
            assert path.acoustic == pytest.approx(viterbi(row[:n], pieces), abs=1e-3)


def test_the_oracle_is_never_worse_than_any_other(graphs):
    """Beams and lists so wide that they hold what the others can find."""
    x = log_probs(12, 5, seed=3, scale=1.0)
    lens = torch.full((12,), 5)
    found = decoder(METHODS, graphs, num_paths=3000, nbest_scale=0.1, num_plm_paths=50, **WIDE)
    lists = found(x, lens)
    words = ["x1", "x2w", "z", "w", "x1y", "wx2"] * 2
    refs = {str(i): word for i, word in enumerate(words)}
    cer = {}
    for method in METHODS:
        oracle = method == "nbest-oracle"
        hyps = {
            str(i): c.closest(words[i]) if oracle else c.text({"lm": 0.5, "plm": 0.5, "graph": 0.6})
            for i, c in enumerate(lists[method])
        }
        cer[method] = score(refs, hyps, replications=2).cer
    assert cer["nbest-oracle"] == min(cer.values())
    assert len(set(cer.values())) > 2


@pytest.mark.parametrize("method", METHODS)
def test_alone_and_in_a_batch_the_text_is_the_same(graphs, method):
    x, lens = log_probs(6, 12, scale=1.0), torch.tensor([3, 12, 5, 0, 1, 12])
    scales = {"lm": 0.4, "plm": 0.3, "graph": 0.6}
    found = decoder([method], graphs)
    together = [c.text(scales) for c in found(x, lens)[method]]
    for i, n in enumerate(lens):
        for frames in (max(1, int(n)), 12):  # without padding, and with it
            alone = found(x[i : i + 1, :frames], lens[i : i + 1])[method][0]
            assert alone.text(scales) == together[i]


@pytest.mark.parametrize("method", METHODS[3:])
def test_lattices_too_large_for_a_batch_are_made_one_by_one(graphs, method, monkeypatch):
    x = log_probs(5, 9, seed=6, scale=1.0)
    scales = {"lm": 0.4, "plm": 0.3, "graph": 0.6}
    found = decoder([method], graphs)
    together = [c.text(scales) for c in found(x, LENS)[method]]
    monkeypatch.setattr("gmot.decode.lattice.BATCH_ARCS", 1)
    assert [c.text(scales) for c in found(x, LENS)[method]] == together
    none = torch.zeros_like(LENS)
    assert [c.text(scales) for c in found(x, none)[method]] == [""] * 5


def test_plm_is_asked_about_the_best_paths_alone(graphs):
    x = log_probs(2, 9, scale=1.0)
    found = decoder(["nbest", "plm-rescoring"], graphs, num_plm_paths=3)
    lists = found(x, LENS[:2])
    for full, few in zip(lists["nbest"], lists["plm-rescoring"]):
        assert few.texts == full.texts[:3]
        assert few.scores["plm"].tolist() == CharacterModel().score(few.texts)


def test_lost_utterances_are_answered_by_greedy_search_and_counted(graphs, caplog):
    k2 = pytest.importorskip("k2")
    graph = k2.linear_fsa([2, 3, 4])  # nothing but a b c
    graph.aux_labels = torch.tensor([2, 4, 5, -1], dtype=torch.int32)
    graphs_module.save_graph(graphs / "HLG.pt", graph, TOKENS, WORDS)
    methods = METHODS[3:]
    found = decoder(methods, graphs)
    x, lens = log_probs(3, 3), torch.tensor([3, 2, 1])
    for candidates in found(x, lens).values():
        texts = [c.text({}) for c in candidates]
        assert texts[1:] == greedy(x, lens)[1:]
        assert texts[0] == "".join(WORDS.decode([2, 4, 5]))
    found(x, lens)
    assert found.counts.empty == {method: 4 for method in methods}
    assert caplog.text.count("greedy search answers") == 1


def test_only_the_graphs_that_are_needed():
    assert graphs_needed(["ctc-greedy-search", "ctc-prefix-beam-search"]) == []
    assert graphs_needed(["ctc-decoding"]) == ["H.pt"]
    assert graphs_needed(["1best", "nbest-oracle"]) == ["HLG.pt"]
    assert set(graphs_needed(METHODS)) == {"H.pt", "HLG.pt", "G.pt"}


def test_unknown_method_is_refused():
    with pytest.raises(GmotError, match="beam-search.*ctc-greedy-search"):
        Decoder(["beam-search"], TOKENS)


def test_graph_methods_say_what_they_lack(graphs):
    with pytest.raises(GmotError, match="graph-dir"):
        Decoder(["ctc-decoding"], TOKENS)
    with pytest.raises(GmotError, match="words"):
        Decoder(["1best"], TOKENS, graphs)
    with pytest.raises(GmotError, match="other tokens"):
        Decoder(["ctc-decoding"], TokenTable.from_pieces("xyz"), graphs)
    with pytest.raises(GmotError, match="masked language model"):
        Decoder(["plm-rescoring"], TOKENS, graphs, WORDS)
    (graphs / "G.pt").unlink()
    with pytest.raises(GmotError, match="G.pt is not there"):
        Decoder(["nbest-rescoring"], TOKENS, graphs, WORDS)


@pytest.mark.skipif(k2_available(), reason="k2 is installed")
def test_without_k2_the_error_says_so(tmp_path):
    with pytest.raises(GmotError, match="k2 cannot be imported.*ctc-greedy-search"):
        Decoder(["ctc-decoding"], TOKENS, tmp_path)


def test_a_model_with_other_outputs_is_refused():
    with pytest.raises(GmotError, match=r"4 outputs, tokens.txt 5"):
        Decoder(["ctc-greedy-search"], TOKENS)(log_probs(1, 3, tokens=4), torch.tensor([3]))
