"""Rows of the tokens of a recogniser from the pieces of a language model, by hand-made cases."""

import pytest
import torch
from small_bert import save_model, save_sentencepiece, save_small_bert, save_small_gpt2

from gmot.teacher import Teacher, TeacherTokenizer
from gmot.teacher.alignment import piece_weights
from gmot.text.units import Bpe, Characters, Pieces

transformers = pytest.importorskip("transformers")

# he llo, Ġwor ld, Ġ + digits; 中 is three bytes.
MERGES = ["h e", "l l", "ll o", "\u0120 w", "\u0120w o", "\u0120wo r", "l d"]


@pytest.mark.parametrize(
    ("units", "pieces", "expected"),
    [
        # One to one.
        ([(0, 1), (1, 2)], [(0, 1), (1, 2)], [[1, 0], [0, 1]]),
        # A piece over several tokens is repeated.
        ([(0, 1), (1, 2), (2, 3)], [(0, 2), (2, 3)], [[1, 0], [1, 0], [0, 1]]),
        # A token over several pieces is their mean, also where they overlap in part.
        ([(0, 3)], [(0, 1), (1, 2), (2, 3)], [[1 / 3] * 3]),
        ([(0, 2), (2, 4)], [(0, 1), (1, 3), (3, 4)], [[0.5, 0.5, 0], [0, 0.5, 0.5]]),
        # Bytes of one character.
        ([(0, 1)], [(0, 1), (0, 1), (0, 1)], [[1 / 3] * 3]),
        # Empty pieces: the first token of the model, word boundaries.
        ([(0, 1), (2, 3)], [(0, 0), (0, 1), (2, 2), (2, 3)], [[0, 1, 0, 0], [0, 0, 0, 1]]),
        # Without a piece: the last one before, else the first of all.
        ([(0, 1), (1, 2), (2, 3)], [(0, 0), (0, 1), (2, 3)], [[0, 1, 0], [0, 1, 0], [0, 0, 1]]),
        ([(0, 1), (1, 2)], [(0, 0), (1, 2)], [[1, 0], [0, 1]]),
        ([], [(0, 0)], []),
    ],
)
def test_weights(units, pieces, expected):
    found = piece_weights(units, pieces)
    assert found.shape == (len(units), len(pieces))
    torch.testing.assert_close(found, torch.tensor(expected).reshape(found.shape).float())


@pytest.fixture
def causal(tmp_path):
    return save_small_gpt2(tmp_path / "gpt2", MERGES)


def states(folder, ids):
    """Hidden states (L, D) of the last layer by transformers alone."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).last_hidden_state[0]


def ids_of(folder, *texts):
    plain = transformers.AutoTokenizer.from_pretrained(folder)
    return [i for text in texts for i in plain(text, add_special_tokens=False)["input_ids"]]


def test_a_causal_model_teaches_characters(causal):
    ids = ids_of(causal, "hello world", "中")
    assert len(ids) == 2 + 2 + 3
    end = transformers.AutoTokenizer.from_pretrained(causal).eos_token_id
    first, he, llo, wor, ld, *of_zhong, last = states(causal, [end, *ids, end])
    teacher = Teacher(causal)
    (found,) = teacher.encode(["hello world中"], Characters())
    mean = torch.stack(of_zhong).mean(0)
    expected = [first, he, he, llo, llo, llo, wor, wor, wor, ld, ld, mean, last]
    torch.testing.assert_close(found, torch.stack(expected))

    class Halves:
        fingerprint = "halves"

        def cut(self, run):
            return sorted({(len(run) + 1) // 2, len(run)})

    # hel lo, wor ld
    (found,) = teacher.encode(["hello world中"], Pieces(Halves()))
    expected = [first, (he + llo) / 2, llo, wor, ld, mean, last]
    torch.testing.assert_close(found, torch.stack(expected))
    # A batch is padded, though the tokenizer has no padding token.
    together = teacher.encode(["he", "hello world中", "中ld"], Pieces(Halves()))
    torch.testing.assert_close(together[1], found, atol=1e-5, rtol=1e-5)


def test_text_is_read_as_the_model_has_learned_it(causal):
    """Spaces before words, which a Chinese character does not have."""
    tokenizer = TeacherTokenizer(causal)
    for text in ("hello world", "held hello 12 world don't", "приве́т hello"):
        assert [piece.id for piece in tokenizer.pieces(text)] == ids_of(causal, text)
    found = tokenizer.pieces("hello中world world")
    assert [piece.id for piece in found] == ids_of(causal, "hello", "中", "world world")
    assert [(p.start, p.end) for p in found[:2]] == [(0, 2), (2, 5)]
    assert {(p.start, p.end) for p in found[2:5]} == {(5, 6)}
    assert (found[-2].start, found[-2].end) == (12, 15)
    # Its pieces as tokens of a recogniser are those within a sentence.
    units = Pieces(tokenizer)
    assert units.tokenize("hello world中") == ["▁he", "llo", "▁wor", "ld", "中"]
    assert units.unknown("龘☃ é") == []


def test_layers_of_a_causal_model(causal):
    bottom = Teacher(causal, 0)
    assert (bottom.num_layers, bottom.dim, bottom.max_tokens) == (2, 16, 38)
    (a,), (b,) = (teacher.encode(["he"], Characters()) for teacher in (bottom, Teacher(causal)))
    assert a.shape == b.shape == (4, 16) and (a - b).abs().max() > 0.1
    random = Teacher(causal, 2, random_weights=True)
    assert random.fingerprint != Teacher(causal, 2).fingerprint != bottom.fingerprint


def test_an_encoder_of_word_pieces_teaches_characters_and_longer_tokens(tmp_path):
    pieces = ["play", "##ing", "##s", "the", "中", "'", "e", "##a"]
    folder = save_small_bert(tmp_path / "bert", pieces)
    plain = transformers.AutoTokenizer.from_pretrained(folder)
    written = ["[CLS]", "the", "play", "##ing", "中", "'", "[UNK]", "[SEP]"]
    first, the, play, ing, zhong, quote, unknown, last = states(
        folder, plain.convert_tokens_to_ids(written)
    )
    teacher = Teacher(folder)
    text = "The PLAYING中' ox"
    (found,) = teacher.encode([text], Characters())
    expected = [first, *[the] * 3, *[play] * 4, *[ing] * 3, zhong, quote, *[unknown] * 2, last]
    torch.testing.assert_close(found, torch.stack(expected))
    # Byte-pair encoding that joins over the teacher's pieces.
    (found,) = teacher.encode([text], Bpe.train([text] * 3, 40))
    expected = [first, the, (play + ing) / 2, zhong, quote, unknown, last]
    torch.testing.assert_close(found, torch.stack(expected))


def test_a_character_that_the_teacher_removes_has_the_row_before_it(tmp_path):
    """An uncased BERT strips accents: a mark by itself, or an é that is one character."""
    folder = save_small_bert(tmp_path / "bert", ["e", "##a", "##e"])
    first, e, a, last = states(folder, [2, 5, 6, 3])
    for text, expected in (("e\u0301a", [e, e, a]), ("éa", [e, a])):
        (found,) = Teacher(folder).encode([text], Characters())
        torch.testing.assert_close(found, torch.stack([first, *expected, last]))
    (found,) = Teacher(folder).encode(["\u0301"], Characters())  # nothing is left of it
    torch.testing.assert_close(found, states(folder, [2, 3])[[0, 0, 1]])


def test_words_of_sentencepiece_models(tmp_path):
    """``▁hello`` covers the word, ``▁`` by itself nothing; Chinese characters one by one."""
    pieces = ["▁hello", "o", "x", "今", "天", "今天"]
    vocabulary = save_sentencepiece(tmp_path / "e5", pieces)
    folder = save_model(tmp_path / "e5", len(vocabulary), pad_token_id=1)
    tokenizer = TeacherTokenizer(folder)
    assert tokenizer.pieces("hello今天") == [(5, 0, 5), (8, 5, 6), (9, 6, 7)]
    ids, spans = tokenizer.input("x hello今", 9, "the test")
    assert [vocabulary[i] for i in ids] == ["<s>", "▁", "x", "▁hello", "今", "</s>"]
    assert spans == [(0, 0), (0, 0), (0, 1), (2, 7), (7, 8), (8, 8)]
    units = Pieces(tokenizer)
    assert units.tokenize("hello x今天") == ["▁hello", "▁x", "今", "天"]


def test_the_encoder_of_a_model_with_a_decoder(tmp_path):
    vocabulary = save_sentencepiece(tmp_path, ["今", "天"], model_max_length=20)
    config = transformers.T5Config(
        vocab_size=len(vocabulary), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2
    )
    model = transformers.T5Model(config).eval()
    model.save_pretrained(tmp_path)
    teacher = Teacher(tmp_path, "last")
    (found,) = teacher.encode(["今天"], Characters())
    ids = torch.tensor([[vocabulary.index(p) for p in ("<s>", "▁", "今", "天", "</s>")]])
    with torch.no_grad():
        expected = model.get_encoder()(ids).last_hidden_state[0]
    assert (teacher.num_layers, teacher.dim, teacher.max_tokens) == (2, 16, 18)
    torch.testing.assert_close(found, expected[[0, 2, 3, 4]])
