"""A thousand sentences of several languages: normalised, tokenized, and back."""

import importlib.util
import random
import re
import unicodedata
from pathlib import Path

import pytest
from small_bert import save_byte_pairs, save_model, save_sentencepiece, save_wordpiece

from gmot.text.lang import Lang
from gmot.text.normalize import normalize_english, normalize_text, normalize_unicode
from gmot.text.units import Bpe, Characters, Pieces, detokenize

NUMBER = 1000
SENTENCES = Path(__file__).resolve().parents[2] / "egs" / "mini" / "local" / "sentences.py"
RUSSIAN = """я мы он она Это ёлка моё объём съёмка йод чей-то кто-нибудь во-первых за́мок замо́к
    дом Дома говорить говорит сказала весь всё ещё Москва река зима весной человек люди двадцать
    три 2025 год «книга» книгу читал читала, хорошо плохо! почему? потому что если жизнь подъезд
    вьюга щука цыплёнок этаж юла 50-летний т.е. г-н O'Brien Ж/Д"""
OTHERS = """क्षमा करें हिन्दी में बोलिए। ฉันรักภาษาไทย สวัสดีครับ ¿Dónde está el niño? Français: l’été,
    œuvre, naïve Straße İstanbul Tiếng Việt ở đây 한국어 문장 Ελληνικά ΤΈΛΟΣ يتكلّم עִבְרִית ქართული
    ｈａｌｆ ﬁne ½ x² don''t 'quoted' rock'n'roll ʻokina"""


def english():
    """Of the documentation of Python, with its punctuation and symbols."""
    topics = pytest.importorskip("pydoc_data.topics").topics
    text = " ".join(" ".join(topics[key] for key in sorted(topics)).split())
    return re.split(r"(?<=[.:;]) ", text)


def russian():
    rng = random.Random(0)
    while True:
        yield " ".join(rng.choices(RUSSIAN.split(), k=rng.randint(2, 12))) + rng.choice(".!?…")


def chinese():
    spec = importlib.util.spec_from_file_location("sentences", SENTENCES)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate(2 * NUMBER, 1)


def mixed():
    """Parts of all others, with and without spaces, foreign words and tags."""
    rng = random.Random(1)
    sources = [[*zip(range(500), make())] for make in (english, russian, chinese)]
    tags = ["[unk]", "<noise>", "T恤", "K歌", "か", "ガール", "〇", "𠮷"]
    while True:
        parts = []
        for _ in range(rng.randint(2, 5)):
            sentence = rng.choice(rng.choice(sources))[1]
            words = sentence.split()[:6]
            parts += [*words, rng.choice(tags), rng.choice(OTHERS.split())]
        rng.shuffle(parts)
        yield rng.choice(["", " "]).join(parts)


LANGUAGES = {
    "english": (english, normalize_english),
    "russian": (russian, normalize_unicode),
    "chinese": (chinese, normalize_text),
    "mixed": (mixed, normalize_unicode),
}
KINDS = ("characters", "wordpiece", "sentencepiece", "byte pairs of the teacher", "bpe")


@pytest.fixture(scope="module")
def texts():
    """Language -> different normalised sentences."""
    found = {}
    for language, (make, normalize) in LANGUAGES.items():
        chosen: dict[str, None] = {}
        for sentence in make():
            text = normalize(sentence)
            if len(text) > 4:
                chosen[text] = None
            if len(chosen) == NUMBER:
                break
        found[language] = list(chosen)
        assert len(chosen) == NUMBER, language
    return found


@pytest.fixture(scope="module", params=KINDS)
def units(request, texts, tmp_path_factory):
    """Units of all texts together; the tokenizers of teachers can spell all of them."""
    everything = [text for chosen in texts.values() for text in chosen]
    if request.param == "characters":
        return Characters()
    if request.param == "bpe":
        return Bpe.train(everything, 2000)
    from gmot.teacher import TeacherTokenizer

    folder = tmp_path_factory.mktemp("teacher")
    characters = sorted({c for text in everything for c in text} - {" "})
    syllables = sorted({text[i : i + 3] for text in everything[::7] for i in range(len(text) - 3)})
    syllables = [s for s in syllables if " " not in s and s.isalpha()]
    if request.param == "wordpiece":  # cased: the accents stay
        pieces = [*characters, *syllables]
        pieces += [f"##{piece}" for piece in pieces]
        save_wordpiece(folder, pieces, do_lower_case=False, strip_accents=False)
    elif request.param == "sentencepiece":
        pieces = [*characters, *syllables, *(f"▁{s}" for s in syllables)]
        save_sentencepiece(folder, [p for p in dict.fromkeys(pieces) if p != "▁"])
    else:
        save_byte_pairs(folder, texts=everything, vocab_size=1500)
    save_model(folder, 10)
    return Pieces(TeacherTokenizer(folder))


@pytest.mark.parametrize("language", LANGUAGES)
def test_round_trip(units, texts, language):
    for text in texts[language]:
        tokens, spans = units.tokenize(text), units.spans(text)
        assert detokenize(tokens) == text
        assert units.unknown(text) == [] and tokens.count("<unk>") == text.count("<unk>")
        assert [token.lstrip("▁") for token in tokens] == [text[a:b] for a, b in spans]
        assert "".join(text[a:b] for a, b in spans) == text.replace(" ", "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_of_the_lexicon_spell_the_texts(units, texts, language):
    lang = Lang.from_texts(texts[language][:200], units.tokenize)
    for text, words in zip(texts[language], lang.text):
        assert words.count("<unk>") == text.count("<unk>")
        spelled = [token for word in words for token in lang.lexicon.spellings[word]]
        assert spelled == units.tokenize(text)


def test_the_languages_are_what_they_say(texts):
    """Normalisation leaves what the units are to be tried on."""
    together = {name: set("".join(chosen)) for name, chosen in texts.items()}
    assert set("'abcxyz2 ") <= together["english"] and set("ёъй") <= together["russian"]
    assert not any(unicodedata.category(c)[0] in "ZSP" for c in together["mixed"] - set(" '<>"))
    categories = {unicodedata.category(c) for c in together["mixed"]}
    assert {"Mn", "Mc", "Lo", "Ll", "Nd"} <= categories
    assert sum("<unk>" in text for text in texts["mixed"]) > 100
