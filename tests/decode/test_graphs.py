import re

import pytest
import torch
from toy import LEXICON, TOKENS, WORDS, language_model

from gmot.common import GmotError
from gmot.decode.graphs import compile_g, compile_hlg, load_graph, save_graph
from gmot.text.tokens import WordTable

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
    with pytest.raises(GmotError, match=r"LG would have \d+ arcs, at most 10 .*--max-ngrams"):
        compile_hlg(LEXICON, TOKENS, WORDS, arpa, max_arcs=10)
    arcs = compile_hlg(LEXICON, TOKENS, WORDS, arpa).num_arcs
    with pytest.raises(GmotError, match=r" HLG would have .*--max-arcs"):
        compile_hlg(LEXICON, TOKENS, WORDS, arpa, max_arcs=arcs - 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<s>", "w", "<s> or </s> is not among its words"),
        ("</s>", "w", "<s> or </s> is not among its words"),
        ("x1", "#0", r"1 words .* not in words.txt: \['#0'\]"),
        ("x1", "<eps>", r"1 words .* not in words.txt: \['<eps>'\]"),
        ("x1", "v", r"1 words .* not in words.txt: \['v'\]"),
    ],
)
def test_models_that_make_no_graph_are_refused(tmp_path, old, new, message):
    words = [w for w in ("<s>", "</s>", "<unk>", "x1", "y", "z") if w != old]
    lines = "".join(f"-0.6\t{word}\n" for word in [*words, new])
    path = tmp_path / "lm.arpa"
    path.write_text(f"\\data\\\nngram 1=6\n\n\\1-grams:\n{lines}\n\\end\\\n")
    with pytest.raises(GmotError, match=message):
        compile_g(WORDS, path)
