"""The mini corpus: sentences, plan, archives of its speech."""

import hashlib
import io
import struct
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from gmot.common import GmotError

MINI = Path(__file__).resolve().parents[2] / "egs" / "mini"
SPEECH = MINI / "speech"
SPLITS = ("train", "dev", "test")
# Of the utterances planned before the second batch of test utterances was added.
FIRST_PLAN_SHA256 = "64a588eec50a7a3af2d61590ac14c2d1978b3ae4a59c1099050821a5148871eb"


@pytest.fixture(autouse=True)
def mini_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(MINI / "local"))


@pytest.fixture
def script(monkeypatch):
    """Runs ``main`` of a script of egs/mini/local: ``script(name, options...)``."""

    def call(name, *options):
        monkeypatch.setattr(sys, "argv", [name, *map(str, options)])
        module = __import__(name)
        module.main()
        return module

    return call


def table(path):
    return dict(line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines())


def spoken(text):
    return [c for c in text if "\u4e00" <= c <= "\u9fff"]


# ---- sentences


def test_numbers_in_characters():
    from sentences import number

    numbers = {7: "七", 10: "十", 14: "十四", 20: "二十", 99: "九十九", 100: "一百"}
    numbers |= {101: "一百零一", 110: "一百一十", 115: "一百一十五", 340: "三百四十"}
    numbers |= {808: "八百零八", 999: "九百九十九"}
    assert {n: number(n) for n in numbers} == numbers


def test_sentences_are_distinct_and_reproducible():
    from sentences import generate

    first = generate(500, seed=3)
    assert len(set(first)) == 500
    longer = generate(3000, seed=3)
    assert longer[:500] == first
    assert 110 <= len({c for sentence in longer for c in spoken(sentence)}) <= 140


def test_context_disambiguates_the_pronouns():
    from sentences import MEN, WOMEN, generate

    for sentence in generate(3000, seed=5):
        if "她" in sentence:
            assert any(woman in sentence for woman in WOMEN), sentence
        if "他" in sentence:
            assert any(man in sentence for man in MEN), sentence
        assert not ("他" in sentence and "她" in sentence)


# ---- plan


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_splits_share_neither_sentences_nor_speakers(size):
    from corpus import SIZES, plan

    splits = plan(size)
    assert {split: len(us) for split, us in splits.items()} == SIZES[size]
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        for what in ("text", "speaker", "voice", "id"):
            shared = {getattr(u, what) for u in splits[one]} & {
                getattr(u, what) for u in splits[other]
            }
            assert not shared, (what, shared)
    for utterances in splits.values():
        assert len({u.speaker for u in utterances}) >= 2
        assert len({u.text for u in utterances}) == len(utterances)


def test_voices_of_the_second_test_batch_are_far_from_all_others():
    from corpus import DEV_SPEAKERS, MORE_TEST_SPEAKERS, TEST_SPEAKERS, TRAIN_SPEAKERS

    def distance(one, other):
        return sum(abs(one.get(v, 0) - other.get(v, 0)) for v in {*one, *other})

    voices = [v for _, v in (*TRAIN_SPEAKERS, *DEV_SPEAKERS, *TEST_SPEAKERS, *MORE_TEST_SPEAKERS)]
    for _, voice in MORE_TEST_SPEAKERS:
        assert sum(voice.values()) == pytest.approx(1)
        assert min(distance(voice, other) for other in voices if other is not voice) >= 0.5


def test_small_has_a_large_test_split_of_characters_seen_in_training():
    from corpus import plan

    splits = plan("small")
    assert sum(len(spoken(u.text)) for u in splits["test"]) >= 5000
    seen = {c for u in splits["train"] for c in u.text}
    assert {c for u in splits["test"] + splits["dev"] for c in u.text} <= seen


def test_tiny_is_a_subset_of_small():
    from corpus import plan

    tiny, small = plan("tiny"), plan("small")
    assert all(set(tiny[split]) <= set(small[split]) for split in SPLITS)


def test_the_first_utterances_keep_ids_voices_speeds_and_sentences():
    from corpus import FIRST_TEST, plan

    splits = plan("small")
    first = splits["train"] + splits["dev"] + [u for u in splits["test"] if u.number <= FIRST_TEST]
    assert first == [u for us in splits.values() for u in us][: len(first)]
    listed = "".join(f"{u}\n" for u in first)
    assert hashlib.sha256(listed.encode()).hexdigest() == FIRST_PLAN_SHA256


# ---- archives of the repository


def test_the_archives_hold_what_is_planned():
    from corpus import plan
    from unpack_speech import verify

    verify(SPEECH)
    assert sum(path.stat().st_size for path in SPEECH.rglob("*.tar")) <= 20 * 2**20
    for split, utterances in plan("small").items():
        assert table(SPEECH / split / "text") == {u.id: u.text for u in utterances}
        assert table(SPEECH / split / "utt2spk") == {u.id: u.speaker for u in utterances}
        with tarfile.open(SPEECH / split / "audio.tar") as archive:
            assert archive.getnames() == [f"{u.id}.ogg" for u in utterances]


def test_unpacking_tiny(script, tmp_path):
    from corpus import plan
    from lhotse import Recording

    script("unpack_speech", "--size", "tiny", "--output-dir", tmp_path)
    for split, utterances in plan("tiny").items():
        folder = tmp_path / split
        assert table(folder / "text") == {u.id: u.text for u in utterances}
        assert table(folder / "utt2spk") == {u.id: u.speaker for u in utterances}
        for name, path in table(folder / "wav.scp").items():
            recording = Recording.from_file(path, recording_id=name)
            samples = recording.load_audio()
            assert recording.sampling_rate == 16000 and 0.5 < recording.duration < 10
            assert samples.shape == (1, recording.num_samples)
            assert 0.05 < np.abs(samples).max() <= 1


# ---- packing and unpacking of a corpus of two utterances per split


@pytest.fixture
def toy_corpus(tmp_path):
    """Kaldi-style folders, two utterances per split."""
    rng = np.random.default_rng(1)
    for split in SPLITS:
        folder = tmp_path / "corpus" / split
        folder.mkdir(parents=True)
        ids = [f"S-{split}-{number:05d}" for number in (1, 2)]
        for number, name in enumerate(ids):
            time = np.arange(8000 + 321 * number) / 16000
            tone = 0.3 * np.sin(2 * np.pi * (200 + 300 * time) * time) * (0.6 + 0.4 * rng.random())
            soundfile.write(folder / f"{name}.flac", tone, 16000)
        (folder / "wav.scp").write_text("".join(f"{i} {folder}/{i}.flac\n" for i in ids))
        (folder / "text").write_text("".join(f"{i} 你好{split}。\n" for i in ids), "utf-8")
        (folder / "utt2spk").write_text("".join(f"{i} S\n" for i in ids))
    return tmp_path / "corpus"


def test_unpacked_speech_is_the_packed_speech(script, toy_corpus, tmp_path):
    speech, unpacked = tmp_path / "speech", tmp_path / "unpacked"
    script("pack_speech", "--corpus-dir", toy_corpus, "--speech-dir", speech)
    for _ in range(2):  # the second time over the first
        script("unpack_speech", "--speech-dir", speech, "--output-dir", unpacked)
    for split in SPLITS:
        for name in ("text", "utt2spk"):
            assert (unpacked / split / name).read_bytes() == (
                toy_corpus / split / name
            ).read_bytes()
        packed, original = (
            table(unpacked / split / "wav.scp"),
            table(toy_corpus / split / "wav.scp"),
        )
        assert packed.keys() == original.keys()
        for name in original:
            before, rate = soundfile.read(original[name])
            after, same_rate = soundfile.read(packed[name])
            assert len(after) == len(before) and same_rate == rate
            assert np.sum((after - before) ** 2) < 0.02 * np.sum(before**2)


def test_the_serial_number_alone_is_replaced():
    from pack_speech import with_serial

    file = io.BytesIO()
    samples = 0.1 * np.random.default_rng(2).standard_normal(20000)
    soundfile.write(file, samples, 16000, format="OGG", subtype="OPUS")
    original = file.getvalue()
    (serial,) = struct.unpack_from("<I", original, 14)
    changed = with_serial(original, serial ^ 1)
    assert len(changed) == len(original) and changed != original
    assert with_serial(changed, serial) == original  # checksums of libogg included


def test_packing_is_reproducible(script, toy_corpus, tmp_path):
    for name in ("one", "two"):
        script("pack_speech", "--corpus-dir", toy_corpus, "--speech-dir", tmp_path / name)
    one, two = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")}
        for n in ("one", "two")
    )
    assert one == two


@pytest.mark.parametrize("damage", ["flipped bit", "cut", "removed", "no checksums", "not listed"])
def test_damaged_archives_are_refused(script, toy_corpus, tmp_path, damage):
    speech = tmp_path / "speech"
    script("pack_speech", "--corpus-dir", toy_corpus, "--speech-dir", speech)
    broken = speech / "dev" / "audio.tar"
    content = broken.read_bytes()
    if damage == "flipped bit":
        broken.write_bytes(content[:3000] + bytes([content[3000] ^ 1]) + content[3001:])
    elif damage == "cut":
        broken.write_bytes(content[: len(content) // 2])
    elif damage == "removed":
        broken.unlink()
    else:
        sums = speech / "SHA256SUMS"
        kept = [line for line in sums.read_text().splitlines() if "dev/audio.tar" not in line]
        sums.write_text("\n".join(kept) if damage == "not listed" else "")
        broken = broken if damage == "not listed" else sums
    with pytest.raises(GmotError) as error:
        script("unpack_speech", "--speech-dir", speech, "--output-dir", tmp_path / "unpacked")
    assert str(broken) in str(error.value) and "git checkout" in str(error.value)
    assert not (tmp_path / "unpacked").exists()


# ---- synthesis


def test_missing_packages_of_synthesis_are_named_with_their_command(monkeypatch, tmp_path):
    import importlib.util

    from make_speech import synthesise

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name)
    )
    with pytest.raises(GmotError) as error:
        synthesise([], tmp_path, tmp_path / "model.onnx", num_jobs=1)
    assert "onnxruntime" in str(error.value) and "requirements/synthesis.txt" in str(error.value)
