"""CTM files, and words of texts and tokens."""

import pytest

from gmot.analysis.word_times import Word, locate, read_ctm, words_of_tokens
from gmot.common import GmotError


def words(*texts):
    return [Word(text, i, i + 0.5) for i, text in enumerate(texts)]


def test_ctm_lines_are_sorted_by_time(tmp_path):
    path = tmp_path / "words.ctm"
    path.write_text(
        ";; comment\nb 1 0.50 0.25 два 0.9\na 1 0 0.1 <eps>\nb 1 0.1 0.4 раз\n\n", encoding="utf-8"
    )
    assert read_ctm(path) == {"b": [Word("раз", 0.1, 0.5), Word("два", 0.5, 0.75)]}


@pytest.mark.parametrize(
    "line", ["a 1 0.5 word", "a 1 x 0.1 word", "a 1 -1 0.1 word", "a 1 0 0 word", "a 1 0 nan word"]
)
def test_a_line_with_wrong_columns_is_named(tmp_path, line):
    path = tmp_path / "words.ctm"
    path.write_text(f"b 1 0 1 ok\n{line}\n")
    with pytest.raises(GmotError, match=r"words.ctm, line 2: found 'a 1.*expected 'utterance 1"):
        read_ctm(path)


def test_words_are_found_with_and_without_spaces():
    assert locate("he is here", words("he", "is", "here")) == [(0, 2), (3, 5), (6, 10)]
    assert locate("今天好", words("今天", "好")) == [(0, 2), (2, 3)]
    assert locate("he is", words("he")) is None
    assert locate("he is", words("he", "was")) is None
    assert locate("he", words("he", "is")) is None


def test_a_token_belongs_to_the_word_of_most_of_its_characters():
    spans = [(0, 2), (3, 6)]
    assert words_of_tokens([(0, 2), (3, 4), (4, 6)], spans).tolist() == [0, 1, 1]
    assert words_of_tokens([(0, 2), (2, 6)], spans).tolist() == [0, 1]
    assert words_of_tokens([(0, 2)], spans) is None
    assert words_of_tokens([(2, 3), (0, 2), (3, 6)], spans) is None
    assert words_of_tokens([], spans) is None
