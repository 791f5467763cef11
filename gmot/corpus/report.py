"""Report on a corpus: what was found, what is proposed, what to look at."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gmot.corpus.proposal import Choices
from gmot.corpus.splits import Proposal
from gmot.data.inspection import AudioStatistics, too_fast
from gmot.data.kaldi import Split
from gmot.text.scripts import HAN, UNSPACED, TextStatistics

SHOWN = 5  # examples


@dataclass
class Findings:
    """All that was found in a corpus.

    ``corpus`` are its splits, ``splits`` the proposed ones with normalised text; ``unheard``
    characters of dev and test that train lacks; ``shared_speakers`` and ``shared_texts`` those of
    each pair of proposed splits.
    """

    name: str
    origin: str
    corpus: list[Split]
    audio: AudioStatistics
    text: TextStatistics
    proposal: Proposal
    splits: list[Split]
    choices: Choices
    given_language: bool
    sampling_rate: int
    channel: int | None
    unheard: dict[str, int] = field(default_factory=dict)
    shared_speakers: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    shared_texts: dict[tuple[str, str], list[str]] = field(default_factory=dict)


def make_report(found: Findings) -> str:
    """Report as Markdown."""
    attention = [*_audio_problems(found), *_text_problems(found), *_split_problems(found)]
    sections = {
        "Audio": _audio(found),
        "Text": _text(found),
        "Splits": _splits(found),
        "Proposal": _proposal(found),
        "To look at": [f"- {line}" for line in attention] or ["- nothing"],
    }
    lines = [f"# Inspection of {found.name}", "", f"Source: {found.origin}"]
    for title, content in sections.items():
        lines += ["", f"## {title}", "", *content]
    return "\n".join(lines) + "\n"


def _counts(counts: Mapping, unit: str = "") -> str:
    items = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{value}{unit} ({count:,})" for value, count in items)


def _some(items: Sequence, more: int | None = None) -> str:
    """The first items, and how many there are beyond."""
    shown = ", ".join(map(str, items[:SHOWN]))
    rest = (len(items) if more is None else more) - min(SHOWN, len(items))
    return shown + (f" and {rest:,} more" if rest > 0 else "")


def _audio(found: Findings) -> list[str]:
    audio = found.audio
    seconds = audio.durations
    lines = [
        f"- {len(seconds):,} utterances, {audio.hours:.2f} hours",
        f"- sampling rates of the files: {_counts(audio.rates, ' Hz')}",
        f"- channels of the files: {_counts(audio.channels)}; formats: {_counts(audio.formats)}",
    ]
    if len(seconds):
        middle = seconds[len(seconds) // 2]
        lines.append(f"- durations: {seconds[0]:.2f} to {seconds[-1]:.2f} s, median {middle:.2f} s")
    return lines + [f"- {audio.decoded:,} utterances chosen at random were decoded"]


def _audio_problems(found: Findings) -> Iterable[str]:
    audio, rate = found.audio, found.sampling_rate
    excluded = [pair for split in found.corpus for pair in split.excluded]
    for kind, count in Counter(_kind(reason) for _, reason in excluded).most_common():
        ids = [key for key, reason in excluded if _kind(reason) == kind]
        yield f"excluded: {count:,} {kind} ({_some(ids)})"
    other = {r: n for r, n in audio.rates.items() if r != rate}
    if other:
        low = " Below it no detail is added: expect a loss." if min(other) < rate else ""
        yield f"resampled to {rate} Hz when loaded: files {_counts(other, ' Hz')}.{low}"
    several = {c: n for c, n in audio.channels.items() if c > 1}
    if several and found.channel is not None:
        yield (
            f"channel {found.channel} is used of files with several: {_counts(several)} channels "
            "(--channel)"
        )
    for what in ("silent", "clipped"):
        if ids := getattr(audio, what):
            yield f"{what}: {len(ids):,} of {audio.decoded:,} decoded utterances ({_some(ids)})"
    if audio.unreadable:
        shown = "; ".join(f"{key}: {reason}" for key, reason in audio.unreadable[:2])
        yield (
            f"cannot be decoded: {len(audio.unreadable):,} of {audio.decoded:,} utterances "
            f"({shown}). The fbank stage leaves them out and lists them."
        )
    if audio.copies:
        pairs = [f"{key} = {other}" for key, other in audio.copies.items()]
        left = len(found.proposal.left_out)
        yield f"same audio twice: {len(pairs):,} utterances ({_some(pairs)}); {left:,} left out"
    if fast := too_fast(found.splits):
        shown = ", ".join(f"{key} {speed:.0f}" for key, speed in fast[:SHOWN])
        yield (
            f"faster than speech: {len(fast):,} utterances, characters per second: {shown}. Their "
            "transcripts may belong to other audio."
        )


def _kind(reason: str) -> str:
    return reason.partition(":")[0].partition(" in /")[0]


def _text(found: Findings) -> list[str]:
    text = found.text
    case = {(True, True): "both cases", (True, False): "lower case", (False, True): "upper case"}
    lines = [
        f"- {text.texts:,} transcripts, {text.characters.total():,} characters, "
        f"{len(text.characters):,} different",
        f"- scripts, by letters: {_counts(text.scripts)}",
        f"- {case.get((text.lower > 0, text.upper > 0), 'no case')}; with digits: "
        f"{text.digits:,} transcripts",
    ]
    marks = {c: n for c, n in text.characters.most_common() if not c.isalnum()}
    if marks:
        lines.append(f"- other characters: {_some([f'{c} {n:,}' for c, n in marks.items()])}")
    if text.rare:
        lines.append(f"- characters that occur once or twice: {_some(list(text.rare))}")
    return lines


def _text_problems(found: Findings) -> Iterable[str]:
    text = found.text
    if text.mixed_words:
        shown = [f"{word} ({key})" for key, word in text.mixed_words]
        yield (
            f"look-alike letters of two scripts in one word: {_some(shown)}. Correct the "
            "transcripts: each such letter is another token."
        )
    if text.mixed:
        share = len(text.mixed) / max(text.texts, 1)
        yield (
            f"mixed scripts: {len(text.mixed):,} transcripts, {share:.1%} ({_some(text.mixed)}), "
            f"scored by {' and '.join(found.choices.scoring)}"
        )
    if text.decomposed:
        yield (
            f"not in the normal form NFC: {len(text.decomposed):,} transcripts "
            f"({_some(text.decomposed)}); the normaliser composes them"
        )
    if text.two_forms:
        yield f"words in two normal forms, one after normalisation: {_some(text.two_forms)}"
    if found.choices.language.split("-")[0] in UNSPACED - HAN:
        yield (
            "the language is written without spaces: put spaces between the words, of which the "
            "lexicon of HLG is made, or decode with ctc-greedy-search alone"
        )
    if text.digits:
        yield (
            f"digits: {text.digits:,} transcripts. Their reading depends on the language; write "
            "them as words, or the model has to learn it."
        )
    if found.unheard:
        items = [f"{c} {n}" for c, n in found.unheard.items()]
        yield (
            f"characters of dev and test that train lacks, which no system can recognise: "
            f"{len(items):,} ({_some(items)})"
        )


def _splits(found: Findings) -> list[str]:
    lines = ["| split | utterances | hours | speakers |", "|---|---|---|---|"]
    for split in found.splits:
        supervisions = split.supervisions.values()
        hours = sum(s.duration for s in supervisions) / 3600
        speakers = len({s.speaker for s in supervisions} - {None})
        lines.append(
            f"| {split.name} | {len(supervisions):,} | {hours:.2f} | {speakers or 'unknown'} |"
        )
    return [*lines, "", *(f"- {note}" for note in found.proposal.notes)]


def _split_problems(found: Findings) -> Iterable[str]:
    for (a, b), speakers in found.shared_speakers.items():
        unseen = f". Results on {b} are not those of unseen speakers." if a == "train" else ""
        yield f"speakers in {a} and in {b}: {len(speakers):,} ({_some(speakers)}){unseen}"
    for (a, b), texts in found.shared_texts.items():
        yield f"texts in {a} and in {b}: {len(texts):,} ({_some([f'«{t}»' for t in texts])})"
    smallest = min(found.splits, key=lambda s: len(s.supervisions))
    if len(smallest.supervisions) < 100:
        yield (
            f"{smallest.name} has {len(smallest.supervisions)} utterances: its error rates have "
            "wide intervals"
        )


def _proposal(found: Findings) -> list[str]:
    choices, size = found.choices, found.choices.size
    how = "given" if found.given_language else "found from the characters; --language sets it"
    limits = f"from {choices.min_utterance:g} s on"
    if choices.max_utterance:
        limits = f"of {choices.min_utterance:g} to {choices.max_utterance:g} s"
    supervisions = [s for split in found.splits[:1] for s in split.supervisions.values()]
    highest = choices.max_utterance or float("inf")
    outside = sum(not choices.min_utterance <= s.duration <= highest for s in supervisions)
    return [
        f"- language: {choices.language} ({how})",
        f"- units: {choices.unit_name}; normaliser: {choices.normalizer.partition(':')[2]}; "
        f"scoring: {', '.join(choices.scoring)}",
        f"- teacher: {choices.teacher}",
        f"- model: {size.layers} Conformer blocks of {size.d_model}; {size.epochs} epochs at "
        f"speeds 0.9, 1 and 1.1; {size.warmup:,} updates of warm-up, {size.update} s per update",
        f"- training utterances {limits} ({outside:,} of {len(supervisions):,} are outside)",
    ]
