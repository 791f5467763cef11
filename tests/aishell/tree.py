"""A generated AISHELL-1: what ``make_tree.py`` and the tests make theirs with."""

import gzip
import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gmot.common import GmotError, atomic_path, import_quietly, require_file
from gmot.data.kaldi import read_table

SAMPLING_RATE = 16000
PARTS = ("train", "dev", "test")
# The first speaker of each part in the real corpus; parts share none.
FIRST_SPEAKER = {"train": 2, "dev": 724, "test": 764}
# Finals as the real lexicon spells them.
SPELLED = {"iou": "iu", "uei": "ui", "uen": "un"}
APICAL = {**dict.fromkeys(("zh", "ch", "sh", "r"), "ix"), **dict.fromkeys(("z", "c", "s"), "iy")}
CHINESE = re.compile("[\u4e00-\u9fff]+")
TRANSCRIPT = "data_aishell/transcript/aishell_transcript_v0.8.txt"


class Utterance(NamedTuple):
    """``name`` is where it comes from, ``text`` is without spaces."""

    name: str
    audio: Path
    text: str


Source = dict[str, list[Utterance]]


def read_sample(folder: Path, counts: Sequence[int], only_chinese: bool = True) -> Source:
    """The first utterances of a sample for train, the next for dev and test.

    Args:
      folder: holds ``NAME.flac`` and ``transcripts.tsv``, lines of name, tab, text.
      counts: utterances of train, dev and test.
      only_chinese: leave out texts with other characters.
    Raises:
      GmotError: there are not so many.
    """
    table = read_table(
        require_file(folder / "transcripts.tsv", "transcripts of the sample", "See --help.")
    )
    utterances = _select(
        (Utterance(name, folder / f"{name}.flac", text) for name, text in table.items()),
        only_chinese,
    )
    if len(utterances) < sum(counts):
        raise GmotError(
            f"{folder}: {len(utterances)} utterances can be used, {sum(counts)} are asked for. "
            "Give smaller --num-utterances."
        )
    ends = np.cumsum(counts).tolist()
    return {part: utterances[end - count : end] for part, count, end in zip(PARTS, counts, ends)}


def read_kaldi(
    folder: Path, counts: Sequence[int] | None = None, only_chinese: bool = True
) -> Source:
    """Kaldi-style folders ``train``, ``dev`` and ``test``; arguments as of ``read_sample``."""
    parts = {}
    for i, part in enumerate(PARTS):
        remedy = "--kaldi-dir holds train, dev and test with wav.scp and text."
        wavs = read_table(require_file(folder / part / "wav.scp", f"audio of '{part}'", remedy))
        texts = read_table(require_file(folder / part / "text", f"texts of '{part}'", remedy))
        found = _select(
            (Utterance(k, folder / part / wavs[k], texts[k]) for k in wavs if k in texts),
            only_chinese,
        )
        if len(found) < (counts[i] if counts else 1):
            raise GmotError(
                f"{folder / part}: {len(found)} utterances can be used, "
                f"{counts[i] if counts else 1} are asked for. Give smaller --num-utterances."
            )
        parts[part] = found[: counts[i]] if counts else found
    return parts


def _select(utterances: Iterator[Utterance], only_chinese: bool) -> list[Utterance]:
    joined = (u._replace(text="".join(u.text.split())) for u in utterances)
    return sorted(u for u in joined if not only_chinese or CHINESE.fullmatch(u.text))


def make_tree(
    parts: Source, speakers: Sequence[int], output: Path, archives: bool = False
) -> dict[str, list[str]]:
    """Write the tree, or its archives.

    Args:
      parts: what is said, by part.
      speakers: how many of each part.
      output: the folder above ``data_aishell`` and ``resource_aishell``.
      archives: write ``data_aishell.tgz``, ``resource_aishell.tgz`` and ``md5sum.txt``.
    Returns:
      The ids of each part, in the order of ``parts``.
    """
    named = {
        part: _name(utterances, count, FIRST_SPEAKER[part])
        for (part, utterances), count in zip(parts.items(), speakers)
    }
    texts = {key: segment(u.text) for ids in named.values() for key, u in ids.items()}
    transcript = "".join(f"{key} {' '.join(words)}\n" for key, words in sorted(texts.items()))
    names = sorted({speaker_of(key) for key in texts})
    resources = {
        "resource_aishell/lexicon.txt": lexicon({w for words in texts.values() for w in words}),
        "resource_aishell/speaker.info": "".join(
            f"{name[1:]} {'FM'[i % 2]}\n" for i, name in enumerate(names)
        ),
    }
    wavs = (
        (f"data_aishell/wav/{part}/{speaker_of(key)}/{key}.wav", wav_bytes(u.audio))
        for part, ids in named.items()
        for key, u in sorted(ids.items())
    )
    if archives:
        _write_archives(output, transcript, resources, wavs)
    else:
        for folder in ("data_aishell", "resource_aishell"):
            if (output / folder).exists():
                raise GmotError(f"{output / folder} is there. Delete it, or give another --output.")
        with atomic_path(output / "data_aishell") as temporary:
            _write(temporary / "transcript" / Path(TRANSCRIPT).name, transcript.encode())
            for path, content in wavs:
                _write(temporary / path[len("data_aishell/") :], content)
        for path, text in resources.items():
            _write(output / path, text.encode())
    return {part: list(ids) for part, ids in named.items()}


def speaker_of(key: str) -> str:
    return key[6:11]


def _name(utterances: Sequence[Utterance], speakers: int, first: int) -> dict[str, Utterance]:
    """Ids as AISHELL-1 has them. The number of a name that is one already is kept."""
    if not 1 <= speakers <= len(utterances):
        raise GmotError(f"{len(utterances)} utterances for {speakers} speakers: give others.")
    numbers = [re.fullmatch(r"BAC009S\d{4}W(\d{4})", u.name) for u in utterances]
    kept = [int(match.group(1)) for match in numbers if match]
    if len(set(kept)) < len(utterances):
        kept = [121 + i for i in range(len(utterances))]
    return {
        f"BAC009S{first + i * speakers // len(utterances):04d}W{number:04d}": utterance
        for i, (number, utterance) in enumerate(zip(kept, utterances))
    }


def segment(text: str) -> list[str]:
    """The words of a text, as the real transcripts separate them."""
    jieba = import_quietly("jieba")  # it asks for pkg_resources
    jieba.setLogLevel("WARNING")
    return jieba.lcut(text, HMM=False)


def lexicon(words: set) -> str:
    """Words and all their characters with initials and finals, in the real lexicon's form."""
    from pypinyin import Style, pinyin

    lines = ["SIL sil\n", "<SPOKEN_NOISE> sil\n"]
    for word in sorted(words.union(*words)):
        phones = []
        for (initial,), (final,) in zip(
            pinyin(word, style=Style.INITIALS),
            pinyin(word, style=Style.FINALS_TONE3, neutral_tone_with_five=True),
        ):
            vowel, tone = SPELLED.get(final[:-1], final[:-1]), final[-1:]
            if vowel == "i":
                vowel = APICAL.get(initial, vowel)
            # A syllable without an initial has its first vowel twice.
            phones += [initial or 2 * vowel[:1], vowel + tone]
        lines.append(f"{word} {' '.join(phones)}\n")
    return "".join(lines)


def wav_bytes(path: Path) -> bytes:
    """An audio file as a WAV of 16 kHz, mono, 16 bits."""
    import soundfile

    try:
        samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (RuntimeError, OSError) as error:
        raise GmotError(f"{path}: unreadable audio ({error}).") from None
    samples = samples.mean(axis=1)
    if rate != SAMPLING_RATE:
        from scipy.signal import resample_poly

        samples = resample_poly(samples, SAMPLING_RATE, rate)
    output = io.BytesIO()
    soundfile.write(output, samples, SAMPLING_RATE, format="WAV", subtype="PCM_16")
    return output.getvalue()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def tar_gz(members: Sequence[tuple[str, bytes]]) -> bytes:
    """An archive of these files and the folders above them, which knows no time and no user."""
    output = io.BytesIO()
    folders: dict[str, None] = {}
    with (
        gzip.GzipFile(fileobj=output, mode="wb", mtime=0, compresslevel=1) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path, content in members:
            for parent in [str(p) for p in reversed(Path(path).parents)][1:]:
                if parent not in folders:
                    folders[parent] = None
                    folder = tarfile.TarInfo(parent)
                    folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(folder)
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return output.getvalue()


def _write_archives(
    output: Path, transcript: str, resources: dict[str, str], wavs: Iterator[tuple[str, bytes]]
) -> None:
    by_speaker: dict[str, list[tuple[str, bytes]]] = {}
    for path, content in wavs:
        speaker = speaker_of(Path(path).stem)
        by_speaker.setdefault(speaker, []).append((path[len("data_aishell/wav/") :], content))
    archives = {
        "data_aishell.tgz": tar_gz(
            [(TRANSCRIPT, transcript.encode())]
            + [
                (f"data_aishell/wav/{speaker}.tar.gz", tar_gz(members))
                for speaker, members in sorted(by_speaker.items())
            ]
        ),
        "resource_aishell.tgz": tar_gz([(p, t.encode()) for p, t in resources.items()]),
    }
    sums = "".join(f"{hashlib.md5(c).hexdigest()}  {name}\n" for name, c in archives.items())
    for name, content in {**archives, "md5sum.txt": sums.encode()}.items():
        with atomic_path(output / name) as path:
            path.write_bytes(content)
