import math
import re

import pytest
import torch
from toy import LEXICON, TEXT, TOKENS, WORDS, language_model, log_probs

from gmot.common import GmotError
from gmot.decode.fsa_graphs import compile_h, compile_hlg, load_graph, save_graph
from gmot.decode.grammar import compile_g
from gmot.decode.lattice import search
from gmot.text.lexicon import Lexicon
from gmot.text.tokens import TokenTable, WordTable

k2 = pytest.importorskip("k2")


def test_g_is_an_acceptor_of_words(tmp_path):
    _, arpa = language_model(tmp_path, 3)
    g = compile_g(WORDS, arpa)
    assert not hasattr(g, "aux_labels")
    assert "|ArcSorted|" in f"|{g.properties_str}|"
    labels = set(g.labels.tolist())
    assert labels == {-1, WORDS.ids["#0"]} | {WORDS.ids[w] for w in WORDS.words}


def test_g_survives_the_disk_and_knows_its_words(tmp_path):
    _, arpa = language_model(tmp_path, 3)
    g = compile_g(WORDS, arpa)
    save_graph(tmp_path / "G.pt", g, None, WORDS)
    again = load_graph(tmp_path / "G.pt", None, WORDS)
    assert torch.equal(again.arcs.values(), g.arcs.values())
    assert not hasattr(again, "aux_labels")
    with pytest.raises(GmotError, match="other words"):
        load_graph(tmp_path / "G.pt", None, WordTable.from_words(["v"]))
    with pytest.raises(GmotError, match="other tokens"):
        load_graph(tmp_path / "G.pt", TOKENS, WORDS)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_size_is_known_before_composing(tmp_path, caplog, order):
    """What is announced for HLG: never too little, and near what is made."""
    _, arpa = language_model(tmp_path, order)
    with caplog.at_level("INFO"):
        hlg = compile_hlg(LEXICON, TOKENS, WORDS, arpa)
    announced = int(re.search(r"HLG: up to ([\d,]+) arcs", caplog.text)[1].replace(",", ""))
    assert hlg.num_arcs <= announced <= 1.3 * hlg.num_arcs
    made = int(re.search(r" LG, determinized: .*?([\d,]+) arcs", caplog.text)[1].replace(",", ""))
    bound = int(re.search(r" LG: up to ([\d,]+) arcs", caplog.text)[1].replace(",", ""))
    assert made <= bound


def test_graphs_that_would_be_too_large_are_refused(tmp_path):
    _, arpa = language_model(tmp_path, 3)
    with pytest.raises(GmotError, match=r"LG .* 10 .*--order"):
        compile_hlg(LEXICON, TOKENS, WORDS, arpa, max_arcs=10)
    arcs = compile_hlg(LEXICON, TOKENS, WORDS, arpa).num_arcs
    with pytest.raises(GmotError, match=r" HLG .*--max-arcs"):
        compile_hlg(LEXICON, TOKENS, WORDS, arpa, max_arcs=arcs - 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<s>", "w", "<s> or </s>"),
        ("</s>", "w", "<s> or </s>"),
        ("x1", "#0", r"1 words .*words.txt.*\['#0'\]"),
        ("x1", "<eps>", r"1 words .*words.txt.*\['<eps>'\]"),
        ("x1", "v", r"1 words .*words.txt.*\['v'\]"),
    ],
)
def test_models_that_make_no_graph_are_refused(tmp_path, old, new, message):
    words = [w for w in ("<s>", "</s>", "<unk>", "x1", "y", "z") if w != old]
    lines = "".join(f"-0.6\t{word}\n" for word in [*words, new])
    path = tmp_path / "lm.arpa"
    path.write_text(f"\\data\\\nngram 1=6\n\n\\1-grams:\n{lines}\n\\end\\\n")
    with pytest.raises(GmotError, match=message):
        compile_g(WORDS, path)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_g_scores_as_the_model_does(tmp_path, order):
    model, arpa = language_model(tmp_path, order)
    grammar = compile_g(WORDS, arpa)

    def score_of(words):
        """The best path that accepts the words, by relaxing all arcs until nothing changes."""
        arcs = grammar.as_dict()["arcs"]
        arcs = list(zip(arcs[:, :3].tolist(), grammar.scores.tolist()))
        labels = [*(WORDS.ids[w] for w in words), -1]
        best = {(0, 0): 0.0}  # (state, words read)
        changed = True
        while changed:
            changed = False
            for (source, target, label), weight in arcs:
                for n, wanted in enumerate(labels):
                    step = 0 if label == WORDS.ids["#0"] else 1 if label == wanted else None
                    if step is None or (source, n) not in best:
                        continue
                    total = best[source, n] + weight
                    if total > best.get((target, n + step), -math.inf) + 1e-9:
                        best[target, n + step] = total
                        changed = True
        return best[max(t for (_, t, _), _ in arcs), len(labels)]

    for words in [*TEXT, [], ["z", "z", "z"], ["y", "x1", "<unk>", "w"]]:
        expected = model.sentence_log10_prob(words) * math.log(10)
        assert score_of(words) == pytest.approx(expected, abs=1e-4), words


def test_graphs_survive_the_disk(tmp_path):
    _, arpa = language_model(tmp_path, 3)
    x, lens = log_probs(6, 12), torch.tensor([3, 12, 5, 8, 1, 12])
    for graph, words in (
        (compile_h(len(TOKENS)), None),
        (compile_hlg(LEXICON, TOKENS, WORDS, arpa), WORDS),
    ):
        save_graph(tmp_path / "graph.pt", graph, TOKENS, words)
        again = load_graph(tmp_path / "graph.pt", TOKENS, words)
        assert torch.equal(again.arcs.values(), graph.arcs.values())
        assert search(x, lens, again).one_best() == search(x, lens, graph).one_best()
        state = torch.load(tmp_path / "graph.pt", weights_only=True)
        assert {type(v) for v in state.values()} <= {str, torch.Tensor, type(None)}


def test_graphs_of_other_tokens_or_words_are_refused(tmp_path):
    path = tmp_path / "graph.pt"
    save_graph(path, compile_h(len(TOKENS)), TOKENS)
    other = TokenTable([*TOKENS.symbols[:-1], "d"])
    with pytest.raises(GmotError, match="other tokens"):
        load_graph(path, other)
    with pytest.raises(GmotError, match="other words"):
        load_graph(path, TOKENS, WORDS)
    save_graph(path, compile_h(len(TOKENS)), TOKENS, WORDS)
    with pytest.raises(GmotError, match="other words"):
        load_graph(path, TOKENS, WordTable.from_words(["v"]))


def test_missing_and_broken_graphs_are_refused(tmp_path):
    with pytest.raises(GmotError, match="H.pt"):
        load_graph(tmp_path / "H.pt", TOKENS)
    (tmp_path / "H.pt").write_bytes(b"no graph")
    with pytest.raises(GmotError, match="H.pt.*gmot-graph"):
        load_graph(tmp_path / "H.pt", TOKENS)
    torch.save({"format": "other"}, tmp_path / "H.pt")
    with pytest.raises(GmotError, match="H.pt.*gmot-graph"):
        load_graph(tmp_path / "H.pt", TOKENS)


def test_too_many_tokens_for_the_full_h_are_refused():
    with pytest.raises(GmotError, match=r"21128 tokens .*446,\d+,\d+ arcs.*--topology"):
        compile_h(21128, "full")


def test_parts_that_do_not_fit_are_refused(tmp_path):
    _, arpa = language_model(tmp_path, 2)
    with pytest.raises(GmotError, match=r"none.arpa.*make_ngram"):
        compile_hlg(LEXICON, TOKENS, WORDS, tmp_path / "none.arpa")
    with pytest.raises(GmotError, match=r"lexicon.*\['d'\]"):
        compile_hlg(Lexicon({"x1": ["d"]}), TOKENS, WORDS, arpa)
    with pytest.raises(GmotError, match=r"words.txt: \['v'\]"):
        compile_hlg(Lexicon({"v": ["a"]}), TOKENS, WORDS, arpa)
    with pytest.raises(GmotError, match="1 words"):
        compile_hlg(
            Lexicon({"x1": ["a"]}),
            TOKENS,
            WordTable.from_words(["<unk>", "x1", "x2", "y", "z"]),
            arpa,
        )
