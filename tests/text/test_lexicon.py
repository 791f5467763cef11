import pytest

from gmot.common import GmotError
from gmot.text.lang import Lang, describe_part
from gmot.text.lexicon import Lexicon, segment


class Characters:
    """A tokenizer of single characters that lacks one."""

    def tokenize(self, text):
        return ["<unk>" if c in "龘" else c for c in text if c != " "]

    def unknown(self, text):
        return [c for c in text if c == "龘"]


def test_segment_loses_nothing_and_depends_on_the_sentence_alone():
    sentences = ["今天天气很好", "我们学习中文GMOT好", "", "A B"]
    words = list(segment(sentences))
    assert ["".join(w) for w in words] == ["今天天气很好", "我们学习中文GMOT好", "", "AB"]
    assert any(len(w) > 1 for w in words[0])
    assert list(segment(sentences[1:2])) == words[1:2]


def test_lexicon_spells_words_and_their_characters():
    lexicon = Lexicon.build(["中国", "龘人"], Characters().tokenize, ["中", "国", "人"])
    assert lexicon.spellings == {
        "<unk>": ["<unk>"],
        "中": ["中"],
        "中国": ["中", "国"],
        "人": ["人"],
        "国": ["国"],
    }
    # 龘人 cannot be output, so it becomes what can.
    assert lexicon.known_words(["中国", "龘人", "国人"]) == ["中国", "<unk>", "人", "国", "人"]


def test_words_of_pieces_that_are_no_outputs_are_left_out():
    assert "好" not in Lexicon.build(["好", "中"], Characters().tokenize, ["中"])


def test_lexicon_survives_the_disk(tmp_path):
    lexicon = Lexicon({"中国": ["中", "国"], "A": ["a", "##b"]})
    lexicon.save(tmp_path / "lexicon.txt")
    assert Lexicon.load(tmp_path / "lexicon.txt").spellings == lexicon.spellings


@pytest.mark.parametrize(
    ("content", "message"), [("中\n", "line 1"), ("中 a\n中 b\n", "line 2"), ("", "empty")]
)
def test_broken_lexicons_are_refused(tmp_path, content, message):
    (tmp_path / "lexicon.txt").write_text(content, encoding="utf-8")
    with pytest.raises(GmotError, match=message):
        Lexicon.load(tmp_path / "lexicon.txt")


def test_lang_is_made_of_the_given_texts_alone():
    lang = Lang.from_texts(["今天天气好", "龘好"], Characters().tokenize)
    assert lang.tokens.symbols == ["<blk>", "<unk>", *sorted("今天气好")]
    assert lang.text[1] == ["<unk>", "好"]
    assert set(lang.words.words) == set(lang.lexicon.words)
    for words in lang.text:
        assert all(word in lang.words for word in words)
    spelled = [[p for w in words for p in lang.lexicon.spellings[w]] for words in lang.text]
    assert spelled == [Characters().tokenize("今天天气好"), ["<unk>", "好"]]


def test_describe_part_counts_what_is_new():
    lang = Lang.from_texts(["今天好"], Characters().tokenize)
    report = describe_part(["今天明天", "明A龘", "好"], Characters(), lang.tokens)
    assert report == {
        "utterances": 3,
        "pieces": 8,
        "oov_pieces": 3,
        "oov": {"明": 2, "A": 1},
        "utterances_with_digits_or_latin": 1,
        "lacking_in_teacher": {"龘": 1},
    }
