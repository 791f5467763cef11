"""What a corpus should hold, and what of it is there.

An inventory is a YAML file beside a recipe::

    transcripts: corpus/transcripts.txt   # 'id text' lines, of all parts
    audio: corpus/wav/{part}              # folder of a part's NAME.wav, at any depth
    speaker: S[0-9]{4}                    # where an id names its speaker (may be left out)
    parts:                                # as published, normalised; each number may be left out
      train: {utterances: 120, speakers: 3, characters: 2000}

Paths are relative to the corpus. lhotse's recipes say little of what they
cannot use and stop at what they cannot read: the inventory finds both.
"""

import logging
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from gmot.cli import load_config
from gmot.common import GmotError, PathLike, require_file
from gmot.data.audio import describe_audio
from gmot.data.kaldi import Part, read_table

log = logging.getLogger(__name__)

NUMBERS = ("utterances", "speakers", "characters")


@dataclass(frozen=True)
class Survey:
    """The files of a corpus.

    Attributes:
      texts: transcript by id.
      audio: of each part, file by id, in the order of the ids.
    """

    texts: Dict[str, str]
    audio: Dict[str, Dict[str, Path]]

    def without_audio(self) -> List[str]:
        """Ids of transcripts of which there is no recording."""
        heard = {key for files in self.audio.values() for key in files}
        return [key for key in self.texts if key not in heard]

    def account(self, parts: Sequence[Part]) -> None:
        """Exclude from its part what a recipe passed over in silence."""
        for part in parts:
            told = {key for key, _ in part.excluded}
            for key in self.audio[part.name]:
                if key not in part.supervisions and key not in told:
                    known = key in self.texts
                    part.exclude(key, "passed over by the recipe" if known else "no transcript")

    def refuse_broken_audio(self) -> None:
        """Raises GmotError naming the recordings that cannot be read, if there are any."""
        broken = [
            found
            for part, files in self.audio.items()
            for key, path in files.items()
            if isinstance(found := describe_audio(key, path), str) and key in self.texts
        ]
        if broken:
            raise GmotError(
                f"{len(broken)} recordings cannot be read: {'; '.join(broken[:3])}"
                f"{'; ...' if len(broken) > 3 else ''}. Get them again, or delete them."
            )


@dataclass(frozen=True)
class Inventory:
    """See the module; ``expected`` has the numbers of each part."""

    path: Path
    transcripts: str
    audio: str
    speaker: str
    expected: Dict[str, Dict[str, int]]

    @classmethod
    def load(cls, path: PathLike) -> "Inventory":
        """Read an inventory.

        Raises:
          GmotError: it is none.
        """
        found = load_config(str(path))
        try:
            expected = {
                part: {name: int(numbers[name]) for name in NUMBERS if name in numbers}
                for part, numbers in found.pop("parts", {}).items()
            }
            inventory = cls(
                path=Path(path),
                transcripts=str(found.pop("transcripts")),
                audio=str(found.pop("audio")),
                speaker=str(found.pop("speaker", "")),
                expected=expected,
            )
            re.compile(inventory.speaker)
        except (KeyError, ValueError, TypeError, AttributeError, re.error) as error:
            raise GmotError(
                f"{path}: not an inventory of a corpus ({type(error).__name__}: {error}); "
                "gmot/data/inventory.py shows one."
            ) from None
        if found:
            raise GmotError(f"{path}: unknown keys {', '.join(found)}.")
        return inventory

    def survey(self, corpus_dir: PathLike, parts: Sequence[str]) -> Survey:
        """Look at transcripts and file names.

        Raises:
          GmotError: a part has no audio or no transcripts, an id occurs twice, or the
            transcripts are no table.
        """
        corpus_dir = Path(corpus_dir)
        source = require_file(
            corpus_dir / self.transcripts, "transcripts", "The corpus is not whole."
        )
        texts = read_table(source)
        for number, line in enumerate(source.read_text(encoding="utf-8-sig").split("\n")[:-1], 1):
            if not line.strip():  # harmless here, but lhotse's recipes trip over it
                raise GmotError(f"{source}: line {number} is blank. Remove it.")
        audio: Dict[str, Dict[str, Path]] = {}
        places: Dict[str, Path] = {}
        for part in parts:
            folder = corpus_dir / self.audio.format(part=part)
            files: Dict[str, Path] = {}
            for path in sorted(folder.rglob("*.wav"), key=lambda p: (p.stem, p)):
                if path.stem in places:
                    raise GmotError(
                        f"two recordings of the name '{path.stem}': {places[path.stem]} and "
                        f"{path}. Remove the one that does not belong there."
                    )
                files[path.stem] = places[path.stem] = path
            if not files:
                raise GmotError(f"part '{part}': no recordings (*.wav) in {folder}.")
            if not texts.keys() & files.keys():
                raise GmotError(
                    f"part '{part}': none of its {len(files)} recordings has a transcript in "
                    f"{source}; for example {next(iter(files))}."
                )
            audio[part] = files
        return Survey(texts, audio)

    def compare(self, parts: Sequence[Part], survey: Survey, strict: bool = False) -> bool:
        """Tell where the parts, as they are used, are not what was published.

        Args:
          parts: with normalised text.
          strict: a difference is an error, not a warning.
        Returns:
          Whether they are.
        Raises:
          GmotError: they are not, and ``strict``.
        """
        differences = []
        for part in parts:
            counts = {
                "utterances": len(part.supervisions),
                "speakers": len({s.speaker for s in part.supervisions.values()}),
                "characters": sum(len("".join(s.text.split())) for s in part.supervisions.values()),
            }
            wrong = [
                f"{counts[name]:,} of {number:,} {name}"
                for name, number in self.expected.get(part.name, {}).items()
                if counts[name] != number
            ]
            if wrong:
                reasons = Counter(reason.partition(":")[0] for _, reason in part.excluded)
                left = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common(3))
                differences.append(
                    f"{part.name}: {', '.join(wrong)}"
                    + (f" (left out: {left}; for example {part.excluded[0][0]})" if left else "")
                )
        silent = survey.without_audio()
        if silent:
            text = f"{len(silent):,} transcripts without a recording, {self._whose(silent)}"
            if differences:
                differences.append(text)
            else:
                log.warning("%s", text)
        if not differences:
            log.info("the corpus holds what %s says", self.path.name)
            return True
        message = f"the corpus is not the one of {self.path}: " + "; ".join(differences)
        if strict:
            raise GmotError(f"{message}. Complete it, or go on without --strict.")
        log.warning("%s", message)
        return False

    def _whose(self, ids: Sequence[str]) -> str:
        """Examples, by speaker where ids name them."""
        speakers: Counter = Counter()
        for key in ids:
            match = re.search(self.speaker, key) if self.speaker else None
            speakers[match.group() if match else key] += 1
        shown: List[Tuple[Any, int]] = speakers.most_common(5)
        listed = ", ".join(f"{who} ({n:,})" if n > 1 else who for who, n in shown)
        return f"of {listed}{', ...' if len(speakers) > len(shown) else ''}"
