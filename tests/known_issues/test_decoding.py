"""Public bug reports of decoding (cases B18, B20, B32)."""

import importlib
import random
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from decode.toy import (
    LEXICON,
    TOKENS,
    WORDS,
    compile_all,
    greedy_texts,
    language_model,
    log_probs,
    make_decoder,
    scaled_hlg,
)

from gmot.common import GmotError
from gmot.decode import rescoring
from gmot.decode.config import DecodingConfig
from gmot.decode.fsa_graphs import compile_h, compile_hlg, load_graph, save_graph
from gmot.decode.grammar import compile_g
from gmot.decode.lattice import search
from gmot.decode.methods import METHODS
from gmot.text.arpa import read_arpa
from gmot.text.lexicon import Lexicon
from gmot.text.ngram import train
from gmot.text.tokens import TokenTable, WordTable
from gmot.text.units import MARK

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
WITH_HLG = [name for name in METHODS if "HLG.pt" in METHODS[name].graphs]


# --- B32: lattices without a path ----------------------------------------------------------------


@pytest.fixture(params=["full", "modified"])
def spelled(request, tmp_path):
    """HLG of words of one piece and of a word of two pieces."""
    pytest.importorskip("k2")
    tokens = TokenTable(["<blk>", "<unk>", "今", "天", "▁he", "llo"])
    lexicon = Lexicon({"今": ["今"], "天": ["天"], "hello": ["▁he", "llo"]})
    words = WordTable.from_words(lexicon.words)
    model = train([["今", "天"], ["hello", "天"], ["hello"]], 2, vocabulary=words.words)
    model.save_arpa(tmp_path / "lm.arpa")
    hlg = compile_hlg(lexicon, tokens, words, tmp_path / "lm.arpa", request.param)
    save_graph(tmp_path / "HLG.pt", hlg, tokens, words, request.param)
    save_graph(tmp_path / "G.pt", compile_g(words, tmp_path / "lm.arpa"), None, words)
    return tokens, words, tmp_path


def frames_of(pieces, tokens):
    """One piece per frame at probability 1, all others at exp(-50): (T, C)."""
    x = torch.full((len(pieces), len(tokens)), -50.0)
    x[range(len(pieces)), [tokens.ids[p] for p in pieces]] = 0.0
    return x


@pytest.mark.parametrize("method", WITH_HLG)
@pytest.mark.parametrize("rows", [["▁he"], ["▁he", "▁he"], ["今", "▁he"], ["▁he", "今", "", "▁he"]])
def test_b32_utterances_without_a_path(spelled, method, rows):
    """k2#785, icefall#667, #673, #839: a word begins and the utterance ends.

    Kind: an operation of k2 that does not take empty lattices. Whole-lattice rescoring ended in an
    AssertionError where all lattices of a search were empty.
    """
    tokens, words, folder = spelled
    decoder = make_decoder([method], folder, tokens, words)
    x = torch.full((len(rows), 2, len(tokens)), -50.0)
    lens = torch.tensor([min(1, len(row)) for row in rows])
    for i, piece in enumerate(rows):
        if piece:
            x[i, :1] = frames_of([piece], tokens)
    decoded = decoder(x, lens)
    texts = [c.text({"graph": 0.6}) for c in decoded.candidates[method]]
    assert texts == [row.removeprefix(MARK) for row in rows]
    assert decoded.no_path[method] == rows.count("▁he")


def test_b32_lattices_without_a_path_that_the_grammar_accepts(tmp_path):
    """Kind of B32: the rescoring grammar accepts no path of a lattice, or of any lattice."""
    k2 = pytest.importorskip("k2")
    hlg = scaled_hlg(tmp_path, 2, 1.0)
    only_z = k2.linear_fsa([WORDS.ids["z"]])
    grammar = rescoring.epsilon_back_off(only_z, WORDS.ids["#0"])
    looped = rescoring.rescoring_grammar(grammar)
    x = torch.stack([frames_of(list(row), TOKENS) for row in ("abab", "abab", "baba")])
    lattices = search(x, torch.tensor([4, 0, 4]), hlg)
    paths = rescoring.rescore(lattices, looped, [{"lm": 1.0}])
    assert paths[0] == [] and paths[2] == [] and paths[1][0].labels == ()
    # Beside one that has such a path.
    x[2] = frames_of(["c", "<blk>", "c", "<blk>"], TOKENS)
    paths = rescoring.rescore(search(x, torch.tensor([4, 0, 4]), hlg), looped, [{"lm": 1.0}])
    assert paths[0] == [] and [path.labels for path in paths[2]] == [(WORDS.ids["z"],)]
    scores = rescoring.score_words(grammar, [[WORDS.ids["w"]], [WORDS.ids["y"]]])
    assert scores == [-float("inf")] * 2


def test_b32_all_rows_lost_in_two_batches(spelled):
    """Kind of B32: lattices that are joined, one by one, from searches without any path."""
    tokens, words, folder = spelled
    x = torch.full((2, 1, len(tokens)), -50.0)
    x[:, 0, tokens.ids["▁he"]] = 0.0
    found = make_decoder(WITH_HLG, folder, tokens, words, search_memory=1e-9)(
        x, torch.tensor([1, 1])
    )
    greedy = greedy_texts(x, torch.ones(2), tokens)
    for method in WITH_HLG:
        assert [c.text({}) for c in found.candidates[method]] == greedy == ["he", "he"]


# --- B18: numbers out of range -------------------------------------------------------------------


@pytest.mark.parametrize("most", [20, 2, 1])
def test_b18_the_least_active_states_follow_the_most(tmp_path, most):
    """snowfall#31, k2 PR#309: --max-active-states below the default of --min-active-states.

    Kind: two settings of a third party that exclude each other.
    """
    pytest.importorskip("k2")
    decoder = make_decoder(["1best"], compile_all(tmp_path), max_active_states=most)
    assert METHODS["1best"].settings(decoder.config)["min_active_states"] == most - 1
    assert len(decoder.texts(log_probs(2, 9), torch.tensor([9, 5]))["1best"]) == 2


def parser_of(script):
    return importlib.import_module(f"gmot.bin.{script}").get_parser()


def in_range(action):
    """Whether an option is a number of one of jsonargparse's types with a range."""
    kind = getattr(action, "_typehint", None) or action.type
    return isinstance(kind, type) and issubclass(kind, (int, float)) and kind not in (int, float)


def numeric_options():
    """(script, option) of every number, except those of training, which has tests of its own."""
    for path in sorted(ROOT.glob("gmot/bin/*.py")):
        if path.stem not in ("__init__", "_options", "train"):
            for action in parser_of(path.stem)._actions:
                if in_range(action):
                    yield path.stem, action.option_strings[-1]
    for field in fields(DecodingConfig):
        if field.type in (int, float, list[float]):
            yield "decode", f"--decoding.{field.name}"


def test_b18_every_number_of_a_script_has_a_range():
    """Kind of B18: a number that is used without a check of its range."""
    scripts = [
        p.stem
        for p in ROOT.glob("gmot/bin/*.py")
        if p.stem not in ("__init__", "_options", "train")
    ]
    unchecked = {
        (script, action.dest)
        for script in scripts
        for action in parser_of(script)._actions
        if (getattr(action, "_typehint", None) or action.type) in (int, float)
    }
    # DecodingConfig has the ranges of its fields.
    assert not {(s, d) for s, d in unchecked if not d.startswith("decoding.")}
    assert len(list(numeric_options())) > 20


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e400", "x", ""])
def test_b18_numbers_out_of_range_are_refused(capsys, value):
    """Kind of B18, for every number of every script except that of training."""
    for script, option in numeric_options():
        parser = parser_of(script)
        required = [
            f"{a.option_strings[0]}={1 if in_range(a) else 'x'}"
            for a in parser._actions
            if a.required and a.option_strings
        ]
        with pytest.raises(SystemExit) as error:
            parser.parse_args([*required, f"{option}={value}"])
        lines = capsys.readouterr().err.splitlines()
        assert error.value.code == 2 and len(lines) == 1 and option in lines[0], lines


@pytest.mark.parametrize(
    "option",
    ["search_beam=0", "output_beam=0", "max_active_states=0", "num_paths=0", "nbest_scale=0",
     "beam_size=0", "num_plm_paths=0", "search_memory=0", "max_active_states=2000000000"],
)  # fmt: skip
def test_b18_limits_of_decoding(option):
    """snowfall#31: --search-beam 0 ended in a stack trace of k2."""
    name, value = option.split("=")
    with pytest.raises(GmotError, match=f"{name}.*{value}"):
        DecodingConfig(**{name: int(value)})


def test_b18_one_line_from_the_script():
    """The error of a number out of range comes before any work, as one line."""
    script = [sys.executable, str(ROOT / "local/decode.py"), "--decoding.search_beam", "0"]
    required = [x for name in ("exp", "fbank", "lang") for x in (f"--{name}-dir", "x")]
    done = subprocess.run([*script, "--prefix", "x", *required], capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    assert len(done.stderr.splitlines()) == 1 and "search_beam" in done.stderr


# --- B20: files that end the process of a third party --------------------------------------------

ARPA = """\\data\\
ngram 1=8
ngram 2=3

\\1-grams:
-0.9\t<unk>
-0.9\tw\t-0.2
-0.9\tx1\t-0.1
-0.9\tx2
-0.9\ty
-0.9\tz
-0.9\t</s>
-99\t<s>\t-0.2

\\2-grams:
-0.3\t<s> w
-0.3\tw y
-0.4\tx1 </s>

\\end\\
"""


def graph_of(folder, text):
    path = folder / "lm.arpa"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return compile_g(WORDS, path)


def other_forms():
    two = ARPA.index("\\2-grams")
    bigrams = ARPA[two:]
    yield "back-off of 0 at the highest order", ARPA.replace("<s> w\n", "<s> w\t0\n")
    yield "back-off at the highest order", ARPA[:two] + bigrams.replace("w y\n", "w y\t-0.7\n")
    yield "vertical tab", ARPA.replace("<s> w", "<s>\vw")
    yield "form feed", ARPA.replace("-0.3\tw y", "-0.3\fw\fy")
    yield "CRLF", ARPA.replace("\n", "\r\n")
    yield "spaces", ARPA.replace("\t", "   ").replace("w y\n", "w   y  \n")
    yield "a mark of byte order", "\ufeff" + ARPA
    yield "a title", "made by hand\n\n" + ARPA
    yield (
        "an empty order",
        ARPA.replace("2=3\n", "2=3\nngram 3=0\n").replace("\\end\\", "\\3-grams:\n\n\\end\\"),
    )
    yield "no blank lines", "\n".join(line for line in ARPA.splitlines() if line) + "\n"


@pytest.mark.parametrize(("form", "text"), list(other_forms()), ids=lambda x: x[:20].strip())
def test_b20_forms_of_arpa_files(tmp_path, capfd, form, text):
    """kenlm#247: a bigram model whose lines end in a back-off, as when trigrams are cut off.

    Kind: a file that our reader takes and a third party ends the process for.
    """
    pytest.importorskip("k2")
    clean = graph_of(tmp_path, ARPA)
    assert torch.equal(graph_of(tmp_path, text).arcs.values(), clean.arcs.values()), form
    # kaldilm's log of every section is nothing that a user can act on.
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\x85", "\x1f"])
def test_b20_other_spaces_belong_to_words(tmp_path, space):
    """Kind of B20: whitespace of Unicode, which other readers of ARPA files take for letters."""
    path = tmp_path / "lm.arpa"
    path.write_text(ARPA.replace("-0.9\ty\n", f"-0.9\ty{space}z\n").replace("w y", f"w y{space}z"))
    assert (f"y{space}z",) in read_arpa(path).tables[0]
    path.write_text(ARPA.replace("w y", f"w{space}y"))
    with pytest.raises(GmotError, match="line 17"):
        read_arpa(path)


def test_b20_sentence_marks_within_ngrams(tmp_path):
    """Kind of B20: n-grams with <s> or </s> in the middle, which no sentence has."""
    pytest.importorskip("k2")
    strange = ARPA.replace("2=3", "2=5").replace("-0.4\tx1", "-0.3\ty <s>\n-0.3\t</s> w\n-0.4\tx1")
    found, clean = graph_of(tmp_path, strange), graph_of(tmp_path, ARPA)
    hlg = [
        compile_hlg(LEXICON, TOKENS, WORDS, path)
        for path in (tmp_path / "lm.arpa", language_model(tmp_path, 1)[1])
    ]
    assert found.num_arcs >= clean.num_arcs and all(graph.num_arcs for graph in hlg)


def test_b20_damaged_files_never_end_the_process(tmp_path):
    """Kind of B20, at random: one clear error, or a graph."""
    pytest.importorskip("k2")
    generator = random.Random(20)
    refused = 0
    for _ in range(60):
        text = bytearray(ARPA.encode())
        for _ in range(generator.randint(1, 3)):
            at = generator.randrange(len(text))
            more = bytes(
                generator.choices(b"\t \v\n-.019<>\\swxyz#\0\xff", k=generator.randint(0, 3))
            )
            text[at : at + generator.randint(0, 3)] = more
        try:
            graph_of(tmp_path, bytes(text))
        except GmotError as error:
            refused += 1
            assert "\n" not in str(error) and "lm.arpa" in str(error)
    assert 20 < refused < 60


@pytest.mark.parametrize("which", ["label", "output label", "states"])
def test_b20_graphs_that_do_not_fit_are_refused_on_loading(tmp_path, which):
    """Kind of B20: k2 reads out of bounds at labels that the model does not output."""
    pytest.importorskip("k2")
    save_graph(tmp_path / "H.pt", compile_h(len(TOKENS)), TOKENS, None, "modified")
    state = torch.load(tmp_path / "H.pt")
    if which == "label":
        state["arcs"][3, 2] = len(TOKENS)
    elif which == "output label":
        state["aux_labels"][3] = len(TOKENS)
    else:
        state["arcs"][3, 1] = 10**6
    torch.save(state, tmp_path / "H.pt")
    with pytest.raises(GmotError, match=f"H.pt: {which}.* 0 to|H.pt: {which}"):
        load_graph(tmp_path / "H.pt", TOKENS)
