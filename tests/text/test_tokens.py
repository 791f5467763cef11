import pytest

from gmot.common import GmotError
from gmot.text.tokens import TokenTable, WordTable


def test_table_survives_the_disk(tmp_path):
    table = TokenTable.from_pieces(["中", "##国", "a", "中", "<unk>"])
    assert table.symbols == ["<blk>", "<unk>", "##国", "a", "中"]
    table.save(tmp_path / "tokens.txt")
    assert (tmp_path / "tokens.txt").read_text(encoding="utf-8").splitlines()[:2] == [
        "<blk> 0",
        "<unk> 1",
    ]
    again = TokenTable.load(tmp_path / "tokens.txt")
    assert again.symbols == table.symbols
    assert again.fingerprint == table.fingerprint
    assert again.fingerprint != TokenTable.from_pieces(["中"]).fingerprint


def test_unknown_pieces_become_unk():
    table = TokenTable.from_pieces(["中", "国"])
    assert table.encode(["中", "x", "<unk>"]) == [table.ids["中"], 1, 1]
    assert table.decode(table.encode(["国", "中"])) == ["国", "中"]


def test_order_of_pieces_does_not_matter():
    assert (
        TokenTable.from_pieces("三四五一").fingerprint
        == TokenTable.from_pieces("一三四五").fingerprint
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<blk> 0\n<unk> 1\na 3\n", "line 3"),
        ("<blk> 0\n<unk>\n", "line 2"),
        ("<eps> 0\n<unk> 1\n", "<eps>.*<blk>"),
        ("<blk> 0\n<unk> 1\na 2\na 3\n", "tokens.txt.*'a'"),
        ("", "tokens.txt"),
    ],
)
def test_broken_tables_are_refused(tmp_path, content, message):
    (tmp_path / "tokens.txt").write_text(content)
    with pytest.raises(GmotError, match=message):
        TokenTable.load(tmp_path / "tokens.txt")


def test_missing_table_is_refused(tmp_path):
    with pytest.raises(GmotError, match="tokens.txt"):
        TokenTable.load(tmp_path / "tokens.txt")


def test_symbols_with_spaces_are_refused():
    with pytest.raises(GmotError, match="a b"):
        TokenTable(["<blk>", "<unk>", "a b"])


def test_word_table_ends_with_the_graph_symbols(tmp_path):
    words = WordTable.from_words(["国", "中"])
    assert words.symbols == ["<eps>", "中", "国", "#0", "<s>", "</s>"]
    assert words.words == ["中", "国"]
    (tmp_path / "words.txt").write_text("<eps> 0\na 1\nb 2\nc 3\n")
    with pytest.raises(GmotError, match="words.txt.*#0"):
        WordTable.load(tmp_path / "words.txt")
