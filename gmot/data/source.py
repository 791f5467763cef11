"""Sources of a corpus: Kaldi-style folders, tables of files and transcripts, recipes of lhotse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gmot.common import GmotError, PathLike
from gmot.data.kaldi import WHOLE, Split, read_kaldi_split
from gmot.data.recipes import run_recipe
from gmot.data.table import read_table_splits


@dataclass(frozen=True)
class Source:
    """A corpus as its owner has it; ``tables``, or else ``recipe``, or else Kaldi-style folders.

    Attributes:
      corpus_dir: folder of the Kaldi-style folders, or that the recipe reads.
      recipe: name of a recipe of lhotse.
      recipe_options: more arguments of the recipe's function.
      tables: csv, tsv or jsonl files (:mod:`gmot.data.table`).
      columns: role -> column of the tables.
      audio_dir: folder that paths in the tables are relative to.
      channel: of audio with several, where the corpus names none; None: such audio is excluded.
    """

    corpus_dir: PathLike | None = None
    recipe: str | None = None
    recipe_options: Mapping[str, Any] = field(default_factory=dict)
    tables: Sequence[PathLike] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    audio_dir: PathLike | None = None
    channel: int | None = None

    def read(
        self, splits: Sequence[str] | None, num_jobs: int, output_dir: PathLike
    ) -> list[Split]:
        """Splits of the corpus, before any check of text and audio.

        Args:
          splits: their names; None: all that the corpus has, ``"all"`` if it has none.
          num_jobs: audio files that are opened at a time.
          output_dir: emptied and given to recipes that require one.

        Raises:
          GmotError: an input is missing or contradictory.
        """
        if self.tables:
            files = [Path(path) for path in self.tables]
            audio_dir = Path(self.audio_dir) if self.audio_dir else None
            found = read_table_splits(files, self.columns, audio_dir, num_jobs, self.channel)
            return found if splits is None else _select(found, splits, files)
        if self.corpus_dir is None:
            raise GmotError("no corpus: expected tables, or the folder of a corpus.")
        if self.recipe is not None:
            options = self.recipe_options
            return run_recipe(
                *(self.recipe, self.corpus_dir, output_dir, splits, num_jobs, options),
                channel=self.channel,
            )
        folder = Path(self.corpus_dir)
        names = kaldi_splits(folder) if splits is None else splits
        return [
            read_kaldi_split(
                *(folder if _is_whole(folder, name) else folder / name, name, num_jobs),
                channel=self.channel,
            )
            for name in names
        ]


def kaldi_splits(folder: Path) -> list[str]:
    """Names of the Kaldi-style folders in a folder; ``"all"`` if it is one itself.

    Raises:
      GmotError: there are none.
    """
    found = sorted(path.parent.name for path in folder.glob("*/wav.scp"))
    if (folder / "wav.scp").is_file():
        if found:
            raise GmotError(
                f"{folder}: has wav.scp itself and in {', '.join(found)}. Expected one Kaldi-style "
                "folder, or a folder of them."
            )
        return [WHOLE]
    if not found:
        what = "has no wav.scp, and no folder with one" if folder.is_dir() else "is no folder"
        raise GmotError(
            f"{folder}: {what}. Expected a Kaldi-style folder (wav.scp with 'id path' lines, text "
            "with 'id transcript' lines), or one such folder per split."
        )
    return found


def _is_whole(folder: Path, name: str) -> bool:
    return name == WHOLE and (folder / "wav.scp").is_file()


def _select(found: Sequence[Split], names: Sequence[str], files: Sequence[Path]) -> list[Split]:
    by_name = {split.name: split for split in found}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise GmotError(
            f"{', '.join(map(str, files))}: no split '{missing[0]}'; found: {', '.join(by_name)}. "
            "Splits are named by a column 'split', or by the names of several files."
        )
    return [by_name[name] for name in names]
