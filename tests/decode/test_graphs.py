import pytest
import torch
from toy import TOKENS, WORDS, language_model

from gmot.common import GmotError
from gmot.decode.graphs import compile_g, load_graph, save_graph
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
