"""ARPA files: as an independent reader sees them, and as they come broken."""

import pytest
from test_ngram import sentences

from gmot.common import GmotError
from gmot.text.arpa import read_arpa
from gmot.text.ngram import train

UNSEEN = [["w1", "never", "w0"], ["never"], [], ["w11", "w11", "w11", "w2"]]


@pytest.fixture(params=[1, 2, 3, 4])
def written(request, tmp_path):
    """(model, its ARPA file, text to try it on) of each order."""
    model = train(sentences(150, seed=request.param), order=request.param)
    model.save_arpa(tmp_path / "lm.arpa")
    return model, tmp_path / "lm.arpa", sentences(40, seed=9) + UNSEEN


def test_perplexity_equals_that_of_an_independent_reader(written):
    arpa = pytest.importorskip("arpa")
    model, path, text = written
    (other,) = arpa.loadf(str(path), encoding="utf-8")
    known = [[w if (w,) in model.tables[0] else "<unk>" for w in s] for s in text]
    total = sum(other.log_s(tuple(s)) if s else other.log_p(("<s>", "</s>")) for s in known)
    events = sum(len(s) + 1 for s in text)
    assert model.perplexity(text) == pytest.approx(10 ** (-total / events), abs=1e-4)


def test_perplexity_equals_that_of_a_few_lines(written):
    model, path, text = written
    probs, back_offs = {}, {}
    for line in path.read_text().splitlines():
        fields = line.split("\t")
        if len(fields) > 1:
            probs[fields[1]] = float(fields[0])
            back_offs[fields[1]] = float(fields[2]) if len(fields) > 2 else 0.0

    def log10(words):
        if " ".join(words) in probs:
            return probs[" ".join(words)]
        return back_offs.get(" ".join(words[:-1]), 0.0) + log10(words[1:])

    total, events = 0.0, 0
    for sentence in text:
        words = ["<s>", *(w if w in probs else "<unk>" for w in sentence), "</s>"]
        total += sum(
            log10(words[max(0, i - model.order + 1) : i + 1]) for i in range(1, len(words))
        )
        events += len(words) - 1
    assert model.perplexity(text) == pytest.approx(10 ** (-total / events), abs=1e-4)


GOOD = """\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-0.6\ta\t-0.1
-0.6\tb
-0.6\t</s>
-99\t<s>\t-0.2

\\2-grams:
-0.3\t<s> a
-0.3\ta b

\\end\\
"""


def test_the_good_file_is_read(tmp_path):
    (tmp_path / "lm").write_text(GOOD)
    assert read_arpa(tmp_path / "lm").log10_prob("a", ("b",)) == -0.6


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\2-grams:", "\\3-grams:", r"line 11.*3-grams.*2-grams"),
        ("\\1-grams:", "\\2-grams:", r"line 5.*2-grams.*1-grams"),
        ("ngram 2=2", "ngram 3=2", "{1: 4, 3: 2}"),
        ("ngram 2=2\n", "", "{1: 4}.*{1: 4, 2: 2}"),
        ("\\2-grams:\n-0.3\t<s> a\n-0.3\ta b\n", "", "{1: 4, 2: 2}.*{1: 4}"),
        ("ngram 1=4", "ngram 1=40", "{1: 40"),
        ("ngram 1=4", "ngram 1=x", "line 2"),
        ("ngram 1=4", "ngram one", "line 2"),
        ("-0.6\ta", "nan\ta", "line 6.*nan"),
        ("-0.6\ta", "-inf\ta", "line 6.*-inf"),
        ("-0.6\ta", "0.6\ta", "line 6.*0.6"),
        ("-0.6\ta", "much\ta", "line 6.*much"),
        ("a\t-0.1", "a\tnan", "line 6.*nan"),
        ("-0.6\tb", "-0.6\ta", "line 7.*repeated"),
        ("-0.3\ta b", "-0.3\tc b", "line 13.*'c'"),
        ("-0.3\ta b", "-0.3\ta", "line 13.*2 words"),
        ("-0.3\ta b\n\n\\end\\", "-0.3\ta b", r"\\end"),
        ("-0.3\ta b\n\n\\end\\", "-0.", "line 13"),
        ("\\data\\", "", "{}"),
    ],
)
def test_broken_files_are_refused(tmp_path, old, new, message):
    assert GOOD.count(old) == 1
    (tmp_path / "lm").write_text(GOOD.replace(old, new))
    with pytest.raises(GmotError, match=message) as error:
        read_arpa(tmp_path / "lm")
    assert "ARPA" in str(error.value) and "\n" not in str(error.value)


def test_other_encodings_are_refused(tmp_path):
    (tmp_path / "lm").write_bytes(GOOD.replace("\ta", "\t好").encode("gbk"))
    with pytest.raises(GmotError, match="not UTF-8"):
        read_arpa(tmp_path / "lm")
    with pytest.raises(GmotError, match="none"):
        read_arpa(tmp_path / "none")
