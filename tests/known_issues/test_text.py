"""Text cases out of public reports: what is spelled, what is spoken, what is scored."""

import gzip
import json
import random
import unicodedata

import pytest

from gmot.evaluation.files import read_recogs, write_recogs
from gmot.evaluation.scoring import score
from gmot.text.lang import Lang, describe_split, read_text
from gmot.text.lexicon import _jieba, read_word_list, segment
from gmot.text.normalize import (
    find_tags,
    join_words,
    normalize_keeping_case,
    normalize_text,
    normalize_unicode,
)
from gmot.text.scoring_units import characters
from gmot.text.units import Characters, Pieces, detokenize

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PIECES = [*"我在听歌恤店今天好中文", *LETTERS, *(f"##{c}" for c in LETTERS), "ok", "é"]


# --- B04 ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lower_case_bert(tmp_path_factory):
    """A masked LM as bert-base-chinese on the hub: lower-case letters, do_lower_case off."""
    pytest.importorskip("transformers")
    from small_bert import save_small_bert, save_wordpiece

    folder = save_small_bert(tmp_path_factory.mktemp("hub") / "bert", PIECES, "BertForMaskedLM")
    return save_wordpiece(folder, PIECES, do_lower_case=False)


def read(tokenizer, text):
    """Pieces of a text in the vocabulary's form."""
    names = {number: name for name, number in tokenizer._vocabulary.items()}
    return [names[piece.id] for piece in tokenizer.pieces(text)]


@pytest.fixture
def tokenizer(lower_case_bert):
    from gmot.teacher import TeacherTokenizer

    return TeacherTokenizer(lower_case_bert)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("T恤", ["t", "恤"]),
        ("我在听 k 歌", ["我", "在", "听", "k", "歌"]),
        ("OK好", ["ok", "好"]),
        ("ok今天", ["ok", "今", "天"]),
        ("KTV", ["k", "##t", "##v"]),
        ("I LOVE T恤", ["i", "l", "##o", "##v", "##e", "t", "恤"]),
        ("龘T恤", ["[UNK]", "t", "恤"]),
        ("T<unk>恤", ["t", "[UNK]", "恤"]),
        # Siblings: width, composition, accents.
        ("\uff2b歌", ["k", "歌"]),
        ("É", ["é"]),
        ("e\u0301", ["é"]),
        ("ÀB", ["a", "##b"]),
        ("T1", ["[UNK]"]),
    ],
)
def test_b04_pieces_in_another_written_form(tokenizer, text, pieces):
    """transformers#9286, #14990, bert#1188 (B04): Latin letters lost by a cased tokenizer with
    lower-case pieces alone. Kind: a unit lost for its written form."""
    assert read(tokenizer, text) == pieces
    assert read(tokenizer, normalize_text("T恤")) == ["t", "恤"]


def test_b04_pieces_do_not_depend_on_unknown_neighbours(tokenizer):
    """B04: spelled part by part, for the sake of an unknown part, the others keep their pieces."""
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(rng.choices("我歌kov，.'é の  \t", k=10))
        assert read(tokenizer, "龘" + text) == ["[UNK]", *read(tokenizer, text)], text


def test_b04_what_is_known_as_it_is_written_keeps_its_form(tmp_path):
    """B04, sibling: a vocabulary with both cases is used as it is."""
    pytest.importorskip("transformers")
    from small_bert import save_small_bert, save_wordpiece

    from gmot.teacher import TeacherTokenizer

    pieces = ["T", "t", "中", "文", "恤", "B", "##b"]
    folder = save_small_bert(tmp_path / "cased", pieces)
    cased = TeacherTokenizer(save_wordpiece(folder, pieces, do_lower_case=False))
    assert read(cased, "T恤t b") == ["T", "恤", "t", "B"]
    assert Pieces(cased).tokenize("T恤t b") == ["▁T", "恤", "▁t", "▁b"]
    assert Pieces(cased).unknown("Tb bb xT 恤") == ["bb", "xT"]


def test_b04_characters_of_a_sentencepiece_tokenizer(tmp_path):
    """B04, sibling: characters that are looked up by themselves."""
    pytest.importorskip("transformers")
    from small_bert import save_model, save_sentencepiece

    from gmot.teacher import TeacherTokenizer

    pieces = save_sentencepiece(tmp_path, ["中", "文", "中文", "t", "A", "é"])
    tokenizer = TeacherTokenizer(save_model(tmp_path, len(pieces)))
    found = read(tokenizer, "T中a A 文e\u0301")
    assert [piece for piece in found if piece != "▁"] == ["t", "中", "A", "A", "文", "é"]
    assert Pieces(tokenizer).tokenize("T中a A") == ["▁T", "中", "▁a", "▁A"]
    assert Pieces(tokenizer).unknown("T中<unk>龘X") == ["龘", "X"]


def test_b04_teacher_and_masked_lm_are_fed_letters(lower_case_bert, tokenizer):
    """B04, siblings: the teacher's input and the masked language model."""
    import torch

    from gmot.teacher import MaskedLanguageModel, Teacher

    (ids, _), (unknown, _) = (tokenizer.input(t, 9, "the test") for t in ("T恤", "<unk>"))
    assert len(ids) == 4 and unknown[1] not in ids
    upper, lower = Teacher(lower_case_bert).encode(["T恤", "t恤"], Characters())
    torch.testing.assert_close(upper, lower)
    scores = MaskedLanguageModel(lower_case_bert).score(["T恤", "t恤", "龘恤"])
    assert scores[0] == pytest.approx(scores[1]) and scores[0] != pytest.approx(scores[2])


def test_b04_labels_and_lexicon(tokenizer):
    """B04, siblings: tokens, the lexicon and the text of the language model."""
    lang = Lang.from_texts(["今天K歌", "T恤店"], Pieces(tokenizer).tokenize)
    assert {"▁K", "▁T"} <= set(lang.tokens.symbols)
    assert lang.lexicon.spellings["T恤"] == ["▁T", "恤"]
    assert "<unk>" not in [word for words in lang.text for word in words]


def test_b04_the_fingerprint_covers_the_case(lower_case_bert, tmp_path, tokenizer):
    """B04, sibling: the same vocabulary with another way of splitting is another tokenizer."""
    import shutil

    from small_bert import save_wordpiece

    from gmot.teacher import TeacherTokenizer

    other = shutil.copytree(lower_case_bert, tmp_path / "lower")
    save_wordpiece(other, PIECES, do_lower_case=True)
    assert read(TeacherTokenizer(other), "É") != read(tokenizer, "É")  # it strips accents
    assert TeacherTokenizer(other).fingerprint != tokenizer.fingerprint


@pytest.mark.integration
def test_b04_stage_4_reports_what_cannot_be_spelled(lower_case_bert, tmp_path, run_script):
    """B04: characters and words without a spelling are counted, with examples."""
    texts = {"train": ["T恤X1", "今天龘好", "龘<unk>"], "dev": ["K歌"]}
    for part, lines in texts.items():
        with gzip.open(tmp_path / f"toy_supervisions_{part}.jsonl.gz", "wt", encoding="utf-8") as f:
            for i, text in enumerate(lines):
                f.write(json.dumps({"id": f"{part}{i}", "recording_id": "r", "text": text}) + "\n")
    found = run_script(
        "prepare_lang",
        *("--manifest-dir", tmp_path, "--prefix", "toy", "--other-splits", "dev"),
        *("--teacher", lower_case_bert, "--lang-dir", tmp_path / "lang"),
    )
    assert found.returncode == 0, found.stderr
    (line,) = [line for line in found.stderr.splitlines() if "龘 2" in line]
    assert "train" in line and " 3 " in line and "X1 1" in line
    report = json.loads((tmp_path / "lang/report.json").read_text(encoding="utf-8"))["splits"]
    assert report["train"]["lacking_in_teacher"] == {"龘": 2, "X1": 1}
    assert report["dev"]["lacking_in_teacher"] == {}


# --- B09 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "text", "tags"),
    [
        ("<SPOKEN_NOISE> 你好", "你好", ["<SPOKEN_NOISE>"]),
        ("[noise]你好", "你好", ["[noise]"]),
        ("THE CAT <COMMA> SAT <PERIOD>", "THE CAT SAT", ["<COMMA>", "<PERIOD>"]),
        ("cat<sil>sat", "CAT SAT", ["<sil>"]),
        ("你<UNK>好", "你<unk>好", ["<UNK>"]),
        ("a [unk] b", "A <unk> B", ["[unk]"]),
        ("<unk><unk>", "<unk> <unk>", ["<unk>", "<unk>"]),
        ("</noise>[*][+]好", "好", ["</noise>", "[*]", "[+]"]),
        ("\uff1cnoise\uff1e\uff3bFIL\uff3d好", "好", ["<noise>", "[FIL]"]),
        ("[笑]好<foreign lang='en'>ok", "好OK", ["[笑]", "<foreign lang='en'>"]),
        ("{BREATH}好", "好", ["{BREATH}"]),
        ("(noise)好（笑）", "好", ["(noise)", "(笑)"]),
        ("++NOISE++ 好 *cough*", "好", ["++NOISE++", "*cough*"]),
        # These may be spoken: no tags.
        ("北京(首都)~好", "北京首都好", []),
        ("{a b} a+b 2*3", "A B A B 2 3", []),
        ("1 <2, 3> 2", "1 2 3 2", []),
        ("《红楼梦》【好】", "红楼梦好", []),
    ],
)
def test_b09_tags_are_not_spoken(raw, text, tags):
    """icefall#1136, wav2letter#723, kaldi#632 (B09): tags became letters to be recognised.
    Kind: annotations that are taken for speech."""
    assert normalize_text(raw) == text
    assert normalize_text(text) == text
    assert find_tags(raw) == tags


def test_b09_unknown_words_stay_unknown(tmp_path):
    """B09, siblings: ``<unk>`` in transcripts is one unit of segmentation, lexicon and reports."""

    class Characters:
        def tokenize(self, text):
            return [c for part in text.split("<unk>") for c in part if c != " "]

        def unknown(self, text):
            return []

    texts = ["今天<unk>好", "A<unk> B"]
    assert list(segment(texts)) == [["今天", "<unk>", "好"], ["A", "<unk>", "B"]]
    lang = Lang.from_texts(texts, Characters().tokenize)
    assert lang.text == [["今天", "<unk>", "好"], ["A", "<unk>", "B"]]
    assert not set("<unk>") & set(lang.words.words)
    assert (
        describe_split(["好<unk>"], Characters(), lang.tokens)["utterances_with_digits_or_latin"]
        == 0
    )
    path = tmp_path / "lexicon.txt"
    path.write_text("[noise] n\n<UNK> n\n(laughter) n\n好 h ao3\n", encoding="utf-8")
    assert read_word_list(path) == (["好"], 0, ["[noise]", "<UNK>", "(laughter)"])


# --- B33 ---------------------------------------------------------------------------------------


def test_b33_a_run_of_letters_is_one_word(tmp_path):
    """jieba#514, jieba#959 (B33): words of letters divided where the lexicon has a part of them.
    Kind: a word boundary inside a word."""
    assert list(segment(["BOOK", "LEARNING"], ["OK", "ARNI"])) == [["BOOK"], ["LEARNING"]]
    tokenize = list
    lang = Lang.from_texts(["好BOOK", "OK"], tokenize, ["OK"])
    assert lang.text == [["好", "BOOK"], ["OK"]] and "BOOK" in lang.words
    (tmp_path / "more.txt").write_text("book 好 ok\n", encoding="utf-8")
    assert read_text(tmp_path / "more.txt", lang.lexicon).sentences == [["BOOK", "好", "OK"]]


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("DON'T STOP", ["DON'T", "STOP"]),
        ("在2025年", ["在", "2025", "年"]),
        ("MP3好", ["MP3", "好"]),
        ("ÉCOLE好", ["ÉCOLE", "好"]),
        ("ПРИВЕТ好", ["ПРИВЕТ", "好"]),
        ("我穿T恤", ["我", "穿", "T恤"]),  # a word of the dictionary
        ("T恤衫T恤", ["T恤衫", "T恤"]),
        ("我穿XT恤", ["我", "穿", "XT", "恤"]),  # T恤 begins inside a run
    ],
)
def test_b33_digits_apostrophes_and_mixed_words(sentence, words):
    """B33, siblings: digits, apostrophes, other scripts, words with letters and characters."""
    added = ["ON", "TO", "P", "0", "202", "5年", "P3", "COLE", "ПРИ", "T恤衫", "T恤"]
    assert next(segment([sentence], added)) == words


def test_b33_chinese_is_segmented_as_before():
    """B33: sentences without letters are jieba's."""
    sentences = ["今天天气很好我们去公园", "研究生命的起源", "锟斤拷和龘龘", "二〇二五年々"]
    expected = [_jieba().lcut(sentence, HMM=False) for sentence in sentences]
    assert list(segment(sentences)) == expected


def test_b33_variants_of_a_pronunciation_lexicon(tmp_path):
    """B33: ``今天(2)`` is another pronunciation of 今天, no word with a digit."""
    path = tmp_path / "lexicon.txt"
    path.write_text(
        "今天 j in1\n今天(2) j in2\n明天(1) m ing2\nHELLO\uff082\uff09 h\n(3) x\nMP3 m\n",
        encoding="utf-8",
    )
    assert read_word_list(path) == (["3", "HELLO", "MP3", "今天", "明天"], 1, [])


# --- B34 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "pieces", "words"),
    [
        ("他说ok", ["他", "说", "▁ok"], ["他", "说", "ok"]),
        ("他说OK", ["他", "说", "▁ok"], ["他", "说", "OK"]),
        ("Hello world", ["▁hello", "▁wo", "rld"], ["Hello", "world"]),
        ("用\uff21\uff11", ["用", "▁a", "1"], ["用", "\uff21\uff11"]),
        ("caf\u00e9", ["▁cafe\u0301"], ["caf\u00e9"]),
        ("Don\u2019t", ["▁don", "'", "t"], ["Don\u2019t"]),
        ("o\u200bk", ["▁ok"], ["o\u200bk"]),
        ("<unk>好", ["<unk>", "好"], ["<unk>", "好"]),
        ("<UNK>好", ["<unk>", "好"], ["<unk>", "好"]),
    ],
)
def test_b34_hypotheses_have_the_references_convention(tmp_path, reference, pieces, words):
    """wenet#1454, datasets PR#2138 (B34): greedy search punished for case, 1best not. Kind: two
    written forms of one text that are compared (case, width, composition, spaces, apostrophes)."""
    greedy, lattice = detokenize(pieces), join_words(words)
    assert score({"a": reference}, {"a": greedy}).rate == 0
    assert score({"a": reference}, {"a": lattice}).rate == 0
    write_recogs(tmp_path / "recogs.txt", {"a": reference}, {"a": greedy})
    refs, hyps = read_recogs(tmp_path / "recogs.txt")[:2]
    assert refs == hyps


def test_b34_what_is_heard_wrong_is_still_an_error():
    """B34: accents, punctuation and other letters are no conventions."""
    assert characters("ÉCOLE,1") == ["É", "C", "O", "L", "E", ",", "1"]
    assert score({"a": "他说ok"}, {"a": "他说of"}).rate == 25
    assert score({"a": "café"}, {"a": "cafe"}).rate == 25
    for text in ("\u304b\u3099\ufb01ß<unk>Ａ", "e\u0301\u212b"):
        units = characters(text)
        assert characters("".join(units)) == units
        assert all(unicodedata.is_normalized("NFKC", unit) for unit in units)


def test_b34_other_text_gets_the_case_of_the_corpus(tmp_path):
    """B34, siblings: lexicon words and text of the language model were written in capitals beside
    transcripts of ``normalize_keeping_case``."""
    tokenize = list
    for normalize, raw, word in (
        (normalize_keeping_case, "Ok", "Ok"),
        (normalize_text, "Don't", "DONT"),
        (normalize_unicode, "Don\u2019t", "don't"),
    ):
        texts = [f"他说{word}"]
        lexicon = tmp_path / "words.txt"
        lexicon.write_text(f"{raw} o k\n好 h ao3\n", encoding="utf-8")
        listed = read_word_list(lexicon, normalize)
        assert word in listed.words
        lang = Lang.from_texts(texts, tokenize, listed.words)
        (tmp_path / "more.txt").write_text(f"他，说{raw}\n", encoding="utf-8")
        read = read_text(tmp_path / "more.txt", lang.lexicon, normalize)
        assert read.sentences == [["他", "说", word]]


def test_b34_the_masked_lm_reads_spaces_between_words():
    """B34, sibling: texts of lattices were given to the masked LM as HELLOWORLD."""
    for text in ("HELLO WORLD好ABC<unk>", "A <unk> B", "今天好"):
        assert join_words(next(segment([text]))) == text.replace("C<", "C <")
