import math

import pytest
import torch
from toy import (
    TOKENS,
    WORDS,
    CharacterModel,
    compile_all,
    greedy_texts,
    language_model,
    log_probs,
    make_decoder,
    token_ids,
    viterbi,
)

from gmot.common import GmotError
from gmot.decode import lattice, rescoring
from gmot.decode.fsa_graphs import save_graph
from gmot.decode.k2_import import k2_available
from gmot.decode.methods import METHODS, graphs_needed, select_methods
from gmot.evaluation.scoring import score
from gmot.text.tokens import TokenTable

LENS = torch.tensor([9, 2, 7, 0, 5])
WIDE = dict(search_beam=1000.0, output_beam=30.0, max_active_states=100000)
SCALES = {"lm": 0.4, "plm": 0.3, "graph": 0.6}
ALL = list(METHODS)
WITH_HLG = [name for name in METHODS if "HLG.pt" in METHODS[name].graphs]
RESCORING = [name for name in METHODS if "G.pt" in METHODS[name].graphs]


def candidates(decoder, x, lengths, **options):
    return decoder(x, lengths, **options).candidates


def scaled(decoder, scale):
    return decoder.graphs.scaled_hlg(scale)


def test_greedy_texts():
    x = log_probs(5, 9)
    found = make_decoder(["ctc-greedy-search"])
    assert found.texts(x, LENS) == {"ctc-greedy-search": greedy_texts(x, LENS)}
    result = found(x, LENS)
    assert result.no_path == {"ctc-greedy-search": 0} and result.seconds["ctc-greedy-search"] > 0


def test_h_best_path_equals_greedy_search(graphs):
    found = make_decoder(["ctc-decoding"], graphs)
    for seed in range(5):
        x = log_probs(5, 9, seed=seed)
        assert found.texts(x, LENS)["ctc-decoding"] == greedy_texts(x, LENS)
        assert found(x, LENS).no_path == {"ctc-decoding": 0}


def test_one_best_gives_words_also_in_sub_batches(graphs):
    x = log_probs(5, 9)
    found = make_decoder(["1best"], graphs, hlg_scale=1.0)
    texts = found.texts(x, LENS)
    paths = lattice.search(x, LENS, scaled(found, 1.0)).one_best()
    assert texts["1best"] == [" ".join(WORDS.decode(ids)) for ids in paths]
    assert any(len(ids) > 1 for ids in paths)
    # Memory for one utterance at a time, with all active states.
    memory = 1.5e-9 * found.graphs.search_bytes(10000, 9)
    found = make_decoder(["1best"], graphs, hlg_scale=1.0, search_memory=memory)
    assert len(found.graphs.sub_batches(LENS.tolist(), 10000, memory)) == 5
    assert found.texts(x, LENS) == texts and found(x, LENS).reduced_states == []


def test_the_hlg_scale_is_an_argument_of_the_call(graphs):
    """Calls with other scales, or by other decoders, leave no trace."""
    x = log_probs(5, 9, seed=2, scale=0.5)
    apart = {
        scale: make_decoder(["1best", "nbest"], graphs, hlg_scale=scale).texts(x, LENS)
        for scale in (0.02, 0.5, 3.0)
    }
    found = make_decoder(["1best", "nbest"], graphs)
    for scale in (3.0, 0.02, 0.5, 3.0):
        assert found.texts(x, LENS, scale) == apart[scale]
    assert apart[0.02] != apart[3.0]


def test_active_states_are_reduced_to_the_memory(graphs):
    x = log_probs(5, 9)
    found = make_decoder(["1best"], graphs, hlg_scale=1.0)
    wide, few = found.texts(x, LENS), 6
    memory = 1.0001e-9 * found.graphs.search_bytes(few, 9)
    for rows, states in found.graphs.sub_batches(LENS.tolist(), 10000, memory):
        assert rows.stop - rows.start == 1 and few <= states < 10000
    found = make_decoder(["1best"], graphs, hlg_scale=1.0, search_memory=memory)
    reduced = found(x, LENS).reduced_states
    assert len(reduced) == 5 and min(reduced) == few
    narrow = found.texts(x, LENS)
    assert narrow.keys() == wide.keys() and all(narrow["1best"][i] for i in (0, 2, 4))


def test_active_states_depend_on_the_own_length_alone(graphs):
    """A function of frames and settings, whatever else is in the batch."""
    found = make_decoder(["1best"], graphs).graphs
    lens = [9, 300, 2, 0, 120, 300, 40, 80]
    for gigabytes in (6, 3e-3, 7e-4, 1e-4, 1e-9):
        expected = [found.affordable_states(10000, n, gigabytes) for n in lens]
        if gigabytes == 1e-9:
            assert expected == [2] * len(lens)
        for order in (lens, lens[::-1], sorted(lens), lens[3:]):
            batches = found.sub_batches(order, 10000, gigabytes)
            rows = [row for part, _ in batches for row in range(part.start, part.stop)]
            assert rows == list(range(len(order)))
            for part, states in batches:
                assert all(states == expected[lens.index(n)] for n in order[part])
                if part.stop - part.start > 1:
                    size = len(order[part]) * found.search_bytes(states, max(order[part]))
                    assert size <= gigabytes * 1e9
                assert states == 10000 or part.stop - part.start == 1


@pytest.mark.parametrize("memory", [6, 7e-4, 6.4e-4, 1e-4])
def test_texts_do_not_depend_on_batches_whatever_the_memory(graphs, memory):
    """Active states are not reduced by the padded length of a batch."""
    x, lens = log_probs(6, 40, scale=1.0), torch.tensor([30, 4, 40, 0, 11, 22])
    methods = ["1best", "nbest", "whole-lattice-rescoring"]
    found = make_decoder(methods, graphs, search_memory=memory)
    together, reduced = found(x, lens), []
    for first, last in ((0, 1), (1, 3), (3, 6)):
        apart = found(x[first:last, : max(1, int(lens[first:last].max()))], lens[first:last])
        reduced += apart.reduced_states
        for method in methods:
            for a, b in zip(apart.candidates[method], together.candidates[method][first:last]):
                assert a.texts == b.texts
                for name in a.scores:
                    assert a.scores[name].tolist() == pytest.approx(b.scores[name].tolist())
    assert sorted(reduced) == sorted(together.reduced_states)
    assert bool(reduced) == (memory < 7e-4)


@pytest.mark.parametrize("hlg_scale", [0.3, 1.0])
def test_the_best_of_an_nbest_list_is_the_best_path(graphs, hlg_scale):
    """It is always in the list, so no sample can be better; also if it is alone."""
    for num_paths in (1, 50):
        x = log_probs(5, 9, scale=1.0)
        options = dict(num_paths=num_paths, hlg_scale=hlg_scale)
        found = make_decoder(["1best", "nbest"], graphs, **options)
        texts = found.texts(x, LENS)
        assert texts["nbest"] == texts["1best"]
        longest = max(len(c.texts) for c in candidates(found, x, LENS)["nbest"])
        assert longest == 1 if num_paths == 1 else longest > 10


@pytest.mark.parametrize("order", [1, 2, 3])
def test_whole_lattice_rescoring_with_the_same_model_equals_one_best(tmp_path, order):
    pytest.importorskip("k2")
    compile_all(tmp_path, order, order)
    whole = "whole-lattice-rescoring"
    found = make_decoder(["1best", whole], tmp_path, **WIDE)
    for seed, scale in ((0, 1.0), (1, 1.0), (2, 0.4)):
        x = log_probs(5, 9, seed=seed, scale=1.0)
        lm = {"lm": scale}
        lists = candidates(found, x, LENS, hlg_scale=scale, lm_scales={whole: lm})
        for best, rescored in zip(lists["1best"], lists[whole]):
            assert rescored.texts == (best.text({}),)


@pytest.mark.parametrize("method", RESCORING)
def test_rescoring_that_keeps_the_scores_of_hlg_equals_one_best(graphs, method):
    x = log_probs(5, 9, seed=5, scale=1.0)
    own, *others = METHODS[method].lm_scales(0.7)
    found = make_decoder(["1best", method], graphs, hlg_scale=0.7)
    lists = candidates(found, x, LENS)[method]
    texts = [c.text(own) for c in lists]
    assert texts == found.texts(x, LENS)["1best"] == found.texts(x, LENS)[method]
    assert any([c.text(w) for c in candidates(found, x, LENS)[method]] != texts for w in others)


def test_the_masked_lm_reads_words_of_letters_with_spaces(graphs):
    """As normalised text has them: HELLO WORLD is not HELLOWORLD."""
    found = make_decoder(["plm-rescoring"], graphs)
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
    compile_all(tmp_path / "3", 3, 3)
    x = log_probs(5, 9, seed=4, scale=1.0)
    expected, plain = (
        make_decoder(["1best"], folder, hlg_scale=1.0, **WIDE).texts(x, LENS)["1best"]
        for folder in (tmp_path / "3", tmp_path)
    )
    rescored = make_decoder(["whole-lattice-rescoring"], tmp_path, hlg_scale=1.0, **WIDE)
    scales = {"whole-lattice-rescoring": {"lm": 1.0}}
    (lists,) = candidates(rescored, x, LENS, lm_scales=scales).values()
    assert [c.text({"lm": 1.0}) for c in lists] == expected != plain


def test_whole_lattice_rescoring_in_several_compositions(graphs, monkeypatch):
    """Memory is bounded by the arcs per composition; results do not depend on it."""
    pytest.importorskip("k2")
    made = make_decoder(["whole-lattice-rescoring"], graphs, **WIDE)
    lattices = lattice.search(log_probs(5, 9, scale=1.0), LENS, scaled(made, 0.6), **WIDE)
    choices = [{"graph": 0.6}, {"lm": 0.5}, {"lm": 1.0}]
    at_once = rescoring.rescore(lattices, made.graphs.looped_grammar, choices)
    monkeypatch.setattr(rescoring, "MAX_ARCS", 1)
    one_by_one = rescoring.rescore(lattices, made.graphs.looped_grammar, choices)
    assert one_by_one == at_once and all(at_once)


def test_large_lattices_are_pruned_for_whole_lattice_rescoring_alone(graphs, monkeypatch):
    pytest.importorskip("k2")
    methods = ["nbest", "whole-lattice-rescoring"]
    x = log_probs(5, 9, scale=1.0)
    made = make_decoder(methods, graphs, **WIDE)
    assert not made(x, LENS).num_pruned.total()
    monkeypatch.setattr(rescoring, "MAX_ARCS", 40)
    found = made(x, LENS).num_pruned
    assert found["whole-lattice-rescoring"] > 0 == found["nbest"]


def test_language_model_scores_of_nbest_lists_are_the_model_s(graphs, tmp_path):
    model, _ = language_model(tmp_path, 3)
    found = make_decoder(["nbest-rescoring"], graphs, **WIDE)
    lists = lattice.search(log_probs(5, 9, scale=1.0), LENS, scaled(found, 0.6), **WIDE).nbest()
    checked = 0
    for paths in lists:
        scores = rescoring.score_words(found.graphs.grammar, [path.labels for path in paths])
        for path, lm in zip(paths, scores):
            # G may back off from an existing n-gram if that is better.
            exact = model.sentence_log10_prob(WORDS.decode(path.labels)) * math.log(10)
            assert lm >= exact - 1e-4
            checked += lm == pytest.approx(exact, abs=1e-4)
    assert checked > 50


@pytest.mark.parametrize("order", [2, 3])
def test_graph_scores_of_nbest_lists_are_the_model_s(tmp_path, order):
    """Also of homophones that back off, which a graph may lose: 1best does not need them."""
    pytest.importorskip("k2")
    model, _ = language_model(compile_all(tmp_path, order), order)
    found = make_decoder(["nbest"], tmp_path, **WIDE)
    paths = lattice.search(log_probs(5, 9, scale=1.0), LENS, scaled(found, 0.5), **WIDE)
    for listed in paths.nbest(100, 0.3):
        for path in listed:
            if path.labels:
                exact = model.sentence_log10_prob(WORDS.decode(path.labels)) * math.log(10)
                assert path.graph == pytest.approx(exact, abs=1e-3) or path.graph > exact


def test_acoustic_scores_of_nbest_lists_are_those_of_the_best_alignment(graphs):
    x = log_probs(3, 6, scale=1.0)
    lens = torch.tensor([6, 4, 5])
    found = make_decoder(["nbest"], graphs, **WIDE)
    paths = lattice.search(x, lens, scaled(found, 0.5), **WIDE).nbest(50, 0.5)
    for row, n, listed in zip(x, lens, paths):
        for path in listed:
            exact = viterbi(row[:n], token_ids(path.labels))
            assert path.acoustic == pytest.approx(exact, abs=1e-3)


def test_the_oracle_is_never_worse_than_any_other(graphs):
    """Beams and lists wide enough for the results of all methods."""
    x = log_probs(12, 5, seed=3, scale=1.0)
    options = dict(num_paths=3000, nbest_scale=0.1, num_plm_paths=50, **WIDE)
    lists = candidates(make_decoder(ALL, graphs, **options), x, torch.full((12,), 5))
    words = ["x1", "x2w", "z", "w", "x1y", "wx2"] * 2
    refs = {str(i): word for i, word in enumerate(words)}
    scales = {"lm": 0.5, "plm": 0.5, "graph": 0.6}
    cer = {}
    for name, method in METHODS.items():
        hyps = {
            str(i): c.oracle(words[i]) if method.oracle else c.text(scales)
            for i, c in enumerate(lists[name])
        }
        cer[name] = score(refs, hyps, replications=2).rate
    assert cer["nbest-oracle"] == min(cer.values())
    assert len(set(cer.values())) > 2


@pytest.mark.parametrize("method", ALL)
def test_alone_and_in_a_batch_the_text_is_the_same(graphs, method):
    x, lens = log_probs(6, 12, scale=1.0), torch.tensor([3, 12, 5, 0, 1, 12])
    found = make_decoder([method], graphs)
    together = [c.text(SCALES) for c in candidates(found, x, lens)[method]]
    for i, n in enumerate(lens):
        for frames in (max(1, int(n)), 12):  # without and with padding
            alone = candidates(found, x[i : i + 1, :frames], lens[i : i + 1])[method][0]
            assert alone.text(SCALES) == together[i]


@pytest.mark.parametrize("method", WITH_HLG)
def test_lattices_too_large_for_a_batch_are_made_one_by_one(graphs, method, monkeypatch):
    x = log_probs(5, 9, seed=6, scale=1.0)
    found = make_decoder([method], graphs)
    together = [c.text(SCALES) for c in candidates(found, x, LENS)[method]]
    monkeypatch.setattr("gmot.decode.lattice.MAX_BATCH_ARCS", 1)
    assert [c.text(SCALES) for c in candidates(found, x, LENS)[method]] == together
    none = torch.zeros_like(LENS)
    assert [c.text(SCALES) for c in candidates(found, x, none)[method]] == [""] * 5


def test_the_masked_lm_scores_the_best_paths_only(graphs):
    x = log_probs(2, 9, scale=1.0)
    lists = candidates(
        make_decoder(["nbest", "plm-rescoring"], graphs, num_plm_paths=3), x, LENS[:2]
    )
    for full, few in zip(lists["nbest"], lists["plm-rescoring"]):
        assert few.texts == full.texts[:3]
        assert few.scores["plm"].tolist() == CharacterModel().score(few.texts)


def test_the_time_of_shared_results_counts_for_each_method(graphs):
    x = log_probs(5, 9, seed=5, scale=1.0)
    seconds = make_decoder(ALL, graphs)(x, LENS).seconds
    assert 0 < seconds["1best"] < seconds["nbest"] < seconds["nbest-rescoring"]
    assert seconds["nbest"] < seconds["plm-rescoring"]


def test_utterances_without_a_path_get_greedy_texts_and_are_counted(graphs):
    k2 = pytest.importorskip("k2")
    graph = k2.linear_fsa([2, 3, 4])  # nothing but a b c
    graph.aux_labels = torch.tensor([2, 4, 5, -1], dtype=torch.int32)
    save_graph(graphs / "HLG.pt", graph, TOKENS, WORDS)
    x, lens = log_probs(3, 3), torch.tensor([3, 2, 1])
    result = make_decoder(WITH_HLG, graphs)(x, lens)
    for found in result.candidates.values():
        texts = [c.text({}) for c in found]
        assert texts[1:] == greedy_texts(x, lens)[1:]
        assert texts[0] == " ".join(WORDS.decode([2, 4, 5]))
    assert result.no_path == {method: 2 for method in WITH_HLG}


def test_only_the_graphs_that_are_needed():
    assert graphs_needed(["ctc-greedy-search", "ctc-prefix-beam-search"]) == []
    assert graphs_needed(["ctc-decoding"]) == ["H.pt"]
    assert graphs_needed(["1best", "nbest-oracle"]) == ["HLG.pt"]
    assert set(graphs_needed(METHODS)) == {"H.pt", "HLG.pt", "G.pt"}


def test_methods_are_selected_by_what_there_is(monkeypatch, caplog):
    plain = ["ctc-greedy-search", "ctc-prefix-beam-search"]
    monkeypatch.setattr("gmot.decode.methods.k2_available", lambda: True)
    assert select_methods(["all"], masked_lm=True) == ALL and not caplog.records
    assert select_methods(["1best", "ctc-decoding", "1best"], False) == ["1best", "ctc-decoding"]
    assert select_methods(["all"], masked_lm=False) == ALL[:-1]
    assert "--teacher" in caplog.text and "plm-rescoring" in caplog.text
    caplog.clear()
    monkeypatch.setattr("gmot.decode.methods.k2_available", lambda: False)
    assert select_methods(["all"], masked_lm=True) == plain
    assert len(caplog.records) == 1 and all(name in caplog.text for name in ("k2", *WITH_HLG))
    assert select_methods(["1best"], False) == ["1best"]  # the import of k2 tells
    with pytest.raises(GmotError, match="beam-search.*ctc-greedy-search"):
        select_methods(["beam-search"], False)


def test_missing_inputs_are_named(graphs):
    for methods, options, facts in (
        (["ctc-decoding"], {"folder": None}, "graph-dir"),
        (["1best"], {"words": None}, "words.txt"),
        (["ctc-decoding"], {"tokens": TokenTable.from_pieces("xyz")}, "tokens"),
        (["plm-rescoring"], {"plm": False}, "plm-rescoring.*--teacher"),
    ):
        with pytest.raises(GmotError, match=facts):
            make_decoder(methods, **{"folder": graphs, **options})
    (graphs / "G.pt").unlink()
    with pytest.raises(GmotError, match="G.pt"):
        make_decoder(["nbest-rescoring"], graphs)


@pytest.mark.skipif(k2_available(), reason="k2 is installed")
def test_without_k2_the_error_says_so(tmp_path):
    with pytest.raises(GmotError, match="k2.*ctc-greedy-search"):
        make_decoder(["ctc-decoding"], tmp_path)


def test_a_model_with_other_outputs_is_refused():
    with pytest.raises(GmotError, match="4 .* 5 "):
        make_decoder(["ctc-greedy-search"])(log_probs(1, 3, tokens=4), torch.tensor([3]))
