import pytest

from gmot.common import GmotError
from gmot.text.lang import Lang, describe_split, read_kept, read_text
from gmot.text.lexicon import Lexicon, read_word_list, segment


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


def test_segment_keeps_given_words_whole():
    sentence = "他把锟斤拷和天气抄下来"
    plain = next(segment([sentence]))
    assert "锟斤拷" not in plain and "天气" in plain
    words = next(segment([sentence], ["锟斤拷", "天气", "他", "龘龘"]))
    assert "锟斤拷" in words and [w for w in words if w != "锟斤拷"] == [
        w for w in plain if w not in "锟斤拷"
    ]
    assert next(segment([sentence])) == plain  # the dictionary of others is left alone


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


def test_words_of_a_lexicon_are_words_where_tokens_spell_them():
    texts = ["锟斤拷好", "天好"]
    lang = Lang.from_texts(texts, Characters().tokenize, ["锟斤拷", "好天", "好龘"])
    assert lang.text == [["锟斤拷", "好"], ["天", "好"]]
    assert {"锟斤拷", "好天", "锟"} <= set(lang.words.words)
    assert "好龘" not in lang.lexicon and "龘" not in lang.lexicon
    plain = Lang.from_texts(texts, Characters().tokenize)
    assert lang.tokens.symbols == plain.tokens.symbols


def test_tokens_and_words_of_a_model_to_start_from_are_kept(tmp_path):
    tokenize = Characters().tokenize
    Lang.from_texts(["明天很好"], tokenize).save(tmp_path)
    pieces, words = read_kept(tmp_path, tokenize)
    lang = Lang.from_texts(["今天好"], tokenize, words, pieces)
    assert lang.tokens.symbols == ["<blk>", "<unk>", *sorted("明天很好今")]
    assert {"明天", "很", "今"} <= set(lang.words.words) and lang.lexicon.spellings["明天"]
    assert lang.text == Lang.from_texts(["今天好"], tokenize).text
    with pytest.raises(GmotError, match="'明天'.*明 天.*明天.*--teacher"):
        read_kept(tmp_path, lambda text: [text])


def test_more_text_is_cut_as_the_training_text_is(tmp_path):
    texts = ["今天天气很好", "我们学习中文锟斤拷", "明天学习天气"]
    lang = Lang.from_texts(texts, Characters().tokenize, ["锟斤拷"])
    path = tmp_path / "more.txt"
    path.write_text(
        "\ufeff今天，天气很好！\r\n\n我们学习　中文锟斤拷\n。\n明天学习天气", encoding="utf-8"
    )
    read = read_text(path, lang.lexicon)
    assert read.sentences == lang.text
    assert (read.empty, read.dropped) == (2, 0)


def test_sentences_with_many_unknown_words_are_dropped(tmp_path):
    lang = Lang.from_texts(["今天天气很好"], Characters().tokenize)
    path = tmp_path / "more.txt"
    path.write_text("今天天气好\n今天天气很很好A\n明日再见\n", encoding="utf-8")
    read = read_text(path, lang.lexicon)
    assert ["".join(s) for s in read.sentences] == ["今天天气好", "今天天气很很好<unk>"]
    assert read.dropped == 1
    assert read_text(path, lang.lexicon, max_unknown=1.0).dropped == 0
    path.write_text("明日再见\n\n", encoding="utf-8")
    with pytest.raises(GmotError, match="1 empty.* 1 .*20%"):
        read_text(path, lang.lexicon)
    path.write_bytes("今天\n".encode() + "今天".encode("gbk"))
    with pytest.raises(GmotError, match="line 2.*UTF-8"):
        read_text(path, lang.lexicon)
    with pytest.raises(GmotError, match="none"):
        read_text(tmp_path / "none", lang.lexicon)


def test_words_of_a_pronunciation_lexicon(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text(
        "SIL sil\n!SIL sil\n<SPOKEN_NOISE> sil\n啊 aa a1\n啊 aa a2\n\n"
        "阿Ｑ aa a1 k iu1\n阿q aa a1 k iu1\n， sil\n好 h ao3\n",
        encoding="utf-8",
    )
    listed = read_word_list(path)
    assert listed.words == sorted(["啊", "阿Q", "好"])
    assert listed.repeated == 2
    assert listed.no_words == ["SIL", "!SIL", "<SPOKEN_NOISE>", "，"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("好 h ao3\n中\n", "line 2.*'中'"),
        ("SIL sil\n\n", "lexicon.txt.* 2 lines"),
        ("", "lexicon.txt"),
        ("好 h ao3\n".encode("gbk"), "line 1.*UTF-8"),
    ],
)
def test_broken_pronunciation_lexicons_are_refused(tmp_path, content, message):
    path = tmp_path / "lexicon.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(GmotError, match=message):
        read_word_list(path)
    with pytest.raises(GmotError, match="none"):
        read_word_list(tmp_path / "none")


def test_describe_split_counts_what_is_new():
    lang = Lang.from_texts(["今天好"], Characters().tokenize)
    report = describe_split(["今天明天", "明A龘", "好"], Characters(), lang.tokens)
    assert report == {
        "utterances": 3,
        "pieces": 8,
        "oov_pieces": 3,
        "oov": {"明": 2, "A": 1},
        "utterances_with_digits_or_latin": 1,
        "lacking_in_teacher": {"龘": 1},
    }
