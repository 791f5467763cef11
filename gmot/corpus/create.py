"""From a corpus to a recipe folder: read, inspect, propose, write."""

import logging
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gmot.common import GmotError, PathLike
from gmot.corpus.folder import write_recipe
from gmot.corpus.proposal import check_language, choose, normalizer_of
from gmot.corpus.report import Findings, make_report
from gmot.corpus.splits import SPLITS, propose_splits, role_of
from gmot.data.inspection import inspect_audio, shared_values
from gmot.data.kaldi import Split
from gmot.data.manifests import check_audio, normalize_transcripts, refuse_shared_ids
from gmot.data.source import Source
from gmot.data.split_lists import select_utterances
from gmot.text.normalize import find_tags, load_normalizer
from gmot.text.scripts import UNSPACED, TextStatistics, guess_language, text_statistics

log = logging.getLogger(__name__)

NAME = r"[a-z][a-z0-9_]*"
SAMPLING_RATE = 16000  # Hz, of the features


class Recipe(NamedTuple):
    """A recipe folder and the report on its corpus."""

    folder: Path
    report: str


def create_recipe(
    name: str,
    source: Source,
    output: PathLike,
    language: str | None = None,
    teacher: str | None = None,
    seed: int = 0,
    num_jobs: int = 4,
) -> Recipe:
    """Inspect a corpus and write a recipe for it.

    Args:
      name: of the corpus, first part of the names of its manifests.
      source: the corpus.
      output: folder of the recipe, which must not exist.
      language: code (BCP 47); None: found from the characters of the text.
      teacher: folder or hub name of the language model; None: one of the language.
      seed: of the choice of splits.
      num_jobs: audio files that are opened at a time.

    Raises:
      GmotError: an input is missing or contradictory, or no utterance can be used.
    """
    output = Path(output)
    if not re.fullmatch(NAME, name):
        raise GmotError(f"name '{name}': expected small letters, digits and _, such as my_corpus.")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise GmotError(f"{output} exists. Choose another --output, or remove it first.")
    if language is not None:
        language = check_language(language)
    with tempfile.TemporaryDirectory() as made:  # some recipes of lhotse write audio
        corpus = source.read(None, num_jobs, made)
        refuse_shared_ids(corpus)
        # Of copies of an utterance, that of the test split counts as the original.
        corpus.sort(key=lambda split: -SPLITS.index(role_of(split.name) or "train"))
        found = _inspect(name, source, corpus, language, teacher, seed, num_jobs)
    report = make_report(found)
    write_recipe(output, found, source, report)
    return Recipe(output, report)


def _inspect(
    name: str,
    source: Source,
    corpus: list[Split],
    language: str | None,
    teacher: str | None,
    seed: int,
    num_jobs: int,
) -> Findings:
    audio = inspect_audio(corpus, num_jobs, seed)
    text = text_statistics(
        (s.id, _without_tags(s.text or "")) for split in corpus for s in split.supervisions.values()
    )
    given = language is not None
    code = language if language is not None else guess_language(text)
    _refuse_unusable(corpus, text)
    for split in corpus:
        check_audio(split, SAMPLING_RATE)
    normalize_transcripts(corpus, load_normalizer(normalizer_of(code)))
    _refuse_unusable(corpus, text)
    proposal = propose_splits(corpus, audio.copies, seed)
    splits = select_utterances(corpus, proposal.lists)
    train = np.array([s.duration for s in splits[0].supervisions.values()])
    switching = "-en" in code or _is_switching(code, text)
    texts = {split.name: [s.text for s in split.supervisions.values()] for split in splits}
    return Findings(
        name=name,
        origin=describe_source(source),
        corpus=corpus,
        audio=audio,
        text=text,
        proposal=proposal,
        splits=splits,
        choices=choose(code, float(train.sum() / 3600), train, teacher, switching),
        given_language=given,
        sampling_rate=SAMPLING_RATE,
        channel=source.channel,
        unheard=_unheard(texts),
        shared_speakers=shared_values(
            {split.name: (s.speaker for s in split.supervisions.values()) for split in splits}
        ),
        shared_texts=shared_values(texts),
    )


def _without_tags(text: str) -> str:
    for tag in find_tags(text):
        text = text.replace(tag, " ")
    return text


def _is_switching(language: str, text: TextStatistics) -> bool:
    """Whether a given unspaced language is spoken with words of Latin letters."""
    unspaced = language.split("-")[0] in UNSPACED
    return unspaced and guess_language(text).endswith("-en")


def _refuse_unusable(corpus: list[Split], text: TextStatistics) -> None:
    """Raises GmotError if no utterance is left."""
    if any(split.supervisions for split in corpus) and text.texts:
        return
    reasons = [pair for split in corpus for pair in split.excluded]
    counts = Counter(reason.partition(":")[0] for _, reason in reasons)
    shown = ", ".join(f"{count} {reason}" for reason, count in counts.most_common(5))
    raise GmotError(
        f"no utterance can be used: {shown or 'no transcript has a character'}"
        + (f"; for example {': '.join(reasons[0])}" if reasons else "")
    )


def _unheard(texts: dict[str, list[str]]) -> dict[str, int]:
    """Characters of dev and test that no training transcript has, with their occurrences."""
    heard = set("".join(texts["train"]))
    counts = Counter("".join(texts["dev"] + texts["test"]))
    return {c: n for c, n in counts.most_common() if c not in heard and not c.isspace()}


def describe_source(source: Source) -> str:
    """One line about where a corpus is from."""
    if source.tables:
        return f"table {', '.join(map(str, source.tables))}"
    kind = f"lhotse's recipe '{source.recipe}'," if source.recipe else "Kaldi-style folders in"
    return f"{kind} {source.corpus_dir}"
