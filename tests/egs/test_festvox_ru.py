"""egs/festvox_ru on a made package: unpacking, splits, word times."""

import hashlib
import io
import logging
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from egs_tables import table

from gmot.common import GmotError

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs" / "festvox_ru"
VOICE = "usr/share/festival/voices/russian/msu_ru_nsh_clunits"
# Two of the voice's sentences, by its spelling and phones.
TEXT = "Глаз+а ленивые, серо-карие, и так же как у той женщины."
SPOKEN = "глаза ленивые серо карие и так же как у той женщины"
WORDS = SPOKEN.split()
SOUNDS = (
    "pau g l ay z aa ll ae nn ii v ay j e pau s y r a k aa rr i j e pau i t aa k zh y k a k u "
    "t oo j zh ee nn sch ae n y pau pau"
)
PHONES = SOUNDS.split()


def labels(phones, step=0.1):
    lines = [f"{(i + 1) * step:.5f} 125 {phone}" for i, phone in enumerate(phones)]
    return "\n".join(["#", *lines, ""])


def make_voice(folder, number=31):
    """Files of a voice by their paths: the same sentence ``number`` times."""
    buffer = io.BytesIO()
    noise = 0.1 * np.random.default_rng(0).normal(size=int(1600 * len(PHONES)))
    soundfile.write(buffer, noise, 16000, format="WAV")
    sentences = "".join(f'( ru_{i:04d} "{TEXT}" )\n' for i in range(number))
    files = {"etc/txt.done.data": sentences.encode(), "etc/f0.params": b"x"}
    for i in range(number):
        files[f"lab/ru_{i:04d}.lab"] = labels(PHONES).encode()
        files[f"wav/ru_{i:04d}.wav"] = buffer.getvalue()
        files[f"mcep/ru_{i:04d}.mcep"] = b"x"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def make_deb(path, voice, prefix=VOICE):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        archive.add(voice, f"./{prefix}")
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": data.getvalue()}
    content = b"!<arch>\n"
    for name, body in members.items():
        content += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(body):<10}`\n".encode()
        content += body + b"\n" * (len(body) % 2)
    path.write_bytes(content)
    return path


def times(path):
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return [(u, channel, float(a), float(d), word) for u, channel, a, d, word in rows]


# ---- words and phones


@pytest.fixture
def align(recipe_script):
    return recipe_script("festvox_ru", "word_times").align_words


def spans(align, words, phones):
    found = align(words.split(), phones.split())
    return [" ".join(phones.split()[a:b]) for a, b in found[0]]


def test_phones_are_grouped_by_spelling(align):
    ranges, cost = align(WORDS, PHONES)
    assert [" ".join(PHONES[a:b]) for a, b in ranges] == [
        *("g l ay z aa", "ll ae nn ii v ay j e", "s y r a", "k aa rr i j e", "i", "t aa k"),
        *("zh y", "k a k", "u", "t oo j", "zh ee nn sch ae n y"),
    ]
    assert cost == 0


@pytest.mark.parametrize(
    ("words", "phones", "expected"),
    [
        # A preposition of one consonant, beside the same consonant and a pause.
        ("с сестрой", "s ss i s t r oo j", ["s", "ss i s t r oo j"]),
        ("сад в воде", "s aa t pau v v ay dd ee", ["s aa t", "v", "v ay dd ee"]),
        # Silent consonants and signs, several letters of one sound, a j before a vowel.
        ("солнце бьётся", "s oo n c y bb j oo c a", ["s oo n c y", "bb j oo c a"]),
        ("двадцать ям", "d v aa c ay tt j aa m", ["d v aa c ay tt", "j aa m"]),
        # Endings of genitives are written with another letter than spoken.
        ("моего отца", "m ay j i v oo a c aa", ["m ay j i v oo", "a c aa"]),
        ("его обо", "j i v oo a b a", ["j i v oo", "a b a"]),
    ],
)
def test_spelling_that_differs_from_the_sounds(align, words, phones, expected):
    assert spans(align, words, phones) == expected


@pytest.mark.parametrize(
    ("words", "phones"),
    [("слово дело", "pau d o m"), ("к", "pau"), ("", "pau"), ("дом", "")],
)
def test_another_sentence_has_no_alignment_or_a_high_cost(recipe_script, align, words, phones):
    found = align(words.split(), phones.split())
    assert found is None or found[1] > recipe_script("festvox_ru", "word_times").MAX_COST


# ---- corpus


def test_splits_and_word_times(recipe_script, tmp_path, caplog):
    voice = make_voice(tmp_path / "voice", 62)
    (voice / "lab" / "ru_0003.lab").write_text(labels(["d", "o", "m"]))
    (voice / "lab" / "ru_0004.lab").write_text("#\n0.5 125 pau\n0.2 125 a\n")
    (voice / "lab" / "ru_0005.lab").unlink()
    with caplog.at_level(logging.INFO):
        options = ("--voice-dir", voice, "--output-dir", tmp_path / "corpus")
        recipe_script("festvox_ru", "prepare_corpus", *options)
    texts = {s: table(tmp_path / "corpus" / s / "text") for s in ("train", "dev", "test")}
    assert [len(texts[s]) for s in texts] == [48, 6, 8]
    assert list(texts["dev"]) == [f"ru_{i:04d}" for i in (24, 25, 26, 55, 56, 57)]
    assert texts["dev"]["ru_0024"] == TEXT.replace("+", "")
    assert Path(table(tmp_path / "corpus/dev/wav.scp")["ru_0024"]).is_file()
    ctm = times(tmp_path / "corpus" / "dev" / "words.ctm")
    assert [row[4] for row in ctm] == WORDS * 6
    assert ctm[0] == ("ru_0024", "1", 0.1, 0.5, "глаза")
    assert ctm[2][2:] == (1.5, 0.4, "серо")  # not from the pause before it
    train = {row[0] for row in times(tmp_path / "corpus" / "train" / "words.ctm")}
    assert len(train) == 45 and not {"ru_0003", "ru_0004", "ru_0005"} & train
    assert "495 words of 45 utterances" in caplog.text
    for name, fact in (("0003", "spelling"), ("0004", "go back"), ("0005", "No such file")):
        assert any(f"ru_{name}" in line and fact in line for line in caplog.text.splitlines())


def test_bad_lists_of_sentences(recipe_script, tmp_path):
    voice = make_voice(tmp_path / "voice", 2)
    options = ("--voice-dir", voice, "--output-dir", tmp_path / "corpus")
    listed = voice / "etc" / "txt.done.data"
    listed.write_text('( ru_0001 "Да." )\nru_0002 Нет.\n', encoding="utf-8")
    with pytest.raises(GmotError, match="txt.done.data, line 2"):
        recipe_script("festvox_ru", "prepare_corpus", *options)
    listed.write_text("\n")
    with pytest.raises(GmotError, match="no sentences"):
        recipe_script("festvox_ru", "prepare_corpus", *options)
    listed.unlink()
    with pytest.raises(GmotError, match="txt.done.data"):
        recipe_script("festvox_ru", "prepare_corpus", *options)
    assert not (tmp_path / "corpus").exists()


# ---- package


def test_a_package_is_unpacked(recipe_script, tmp_path):
    voice = make_voice(tmp_path / "voice", 3)
    deb = make_deb(tmp_path / "x.deb", voice)
    recipe_script("festvox_ru", "unpack_deb", "--deb", deb, "--output-dir", tmp_path / "out")
    found = {p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*") if p.is_file()}
    kept = {p.relative_to(voice) for p in voice.rglob("*") if p.is_file()}
    assert found == {p for p in kept if p.parts[0] in ("wav", "lab") or p.name == "txt.done.data"}
    assert all((tmp_path / "out" / p).read_bytes() == (voice / p).read_bytes() for p in found)


@pytest.mark.parametrize("damage", ["not an archive", "truncated", "altered", "another", "none"])
def test_damaged_packages(recipe_script, tmp_path, damage):
    voice = make_voice(tmp_path / "voice", 3)
    prefix = "usr/share/other" if damage == "another" else VOICE
    deb = make_deb(tmp_path / "x.deb", voice, prefix)
    content = bytearray(deb.read_bytes())
    if damage == "not an archive":
        content = bytearray(b"<html>")
    elif damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "altered":
        content[-4000:-3000] = bytes(1000)
    deb.write_bytes(content)
    if damage == "none":
        deb.unlink()
    with pytest.raises(GmotError, match="x.deb"):
        recipe_script("festvox_ru", "unpack_deb", "--deb", deb, "--output-dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_download_of_the_package(tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "x.deb").write_bytes(b"package")

    def download(target, mirror, checksum):
        return subprocess.run(
            ["bash", str(RECIPE / "local" / "download.sh"), str(target), mirror, checksum],
            capture_output=True,
            text=True,
            env={**os.environ, "RETRY_SECONDS": "0"},
        )

    right = hashlib.sha256(b"package").hexdigest()
    url = f"file://{tmp_path / 'mirror'}/"
    done = download(tmp_path / "in" / "x.deb", url, "0" * 64)
    assert done.returncode == 1 and right in done.stderr and "SHA-256" in done.stderr
    assert list((tmp_path / "in").iterdir()) == []
    assert download(tmp_path / "in" / "x.deb", url, right).returncode == 0
    assert (tmp_path / "in" / "x.deb").read_bytes() == b"package"
    assert download(tmp_path / "in" / "x.deb", "", "0" * 64).returncode == 0  # is there
    none = download(tmp_path / "other" / "x.deb", "", right)
    assert none.returncode == 1 and "--corpus-dir" in none.stderr


def test_from_a_package_or_a_voice_to_manifests(tmp_path):
    voice = make_voice(tmp_path / VOICE)
    (tmp_path / "package").mkdir()
    deb = make_deb(tmp_path / "package" / "festvox-ru_0.5+dfsg-6_all.deb", voice)
    (tmp_path / "teacher").mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    made = {}
    for name, corpus in (("deb", deb), ("folder", deb.parent), ("voice", tmp_path)):
        done = subprocess.run(
            [
                *("bash", str(RECIPE / "prepare.sh"), "--venv", "none", "--stop-stage", "1"),
                *("--corpus-dir", str(corpus), "--data-dir", name, "--teacher", "teacher"),
            ],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        made[name] = sorted(p.name for p in (tmp_path / name / "manifests").iterdir())
        assert (tmp_path / name / "voice").exists() == (name != "voice")
    assert made["deb"] == made["folder"] == made["voice"] and len(made["deb"]) == 6
