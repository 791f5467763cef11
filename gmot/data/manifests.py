"""Corpora as lhotse manifests: one recording and one supervision set per part.

The input is a Kaldi-style folder per part (``wav.scp``, ``text``, optionally
``segments`` and ``utt2spk``) or whatever one of lhotse's recipes reads. The
text of the manifests is normalised once, here, and never again.
"""

import gzip
import itertools
import json
import logging
import subprocess
import zlib
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from gmot.common import GmotError, PathLike, atomic_path, require_file
from gmot.data.inventory import Inventory
from gmot.data.kaldi import Part, read_kaldi_part
from gmot.data.recipes import run_recipe

log = logging.getLogger(__name__)


def manifest_path(manifest_dir: PathLike, prefix: str, kind: str, part: str) -> Path:
    """Where a manifest lies; ``kind`` is ``recordings`` or ``supervisions``."""
    return Path(manifest_dir) / f"{prefix}_{kind}_{part}.jsonl.gz"


def load_supervisions(manifest_dir: PathLike, prefix: str, part: str) -> List[Tuple[str, str]]:
    """The transcripts of a part, as ``(utterance id, text)`` in the manifest's order.

    Raises:
      GmotError: the manifest is missing, broken or empty.
    """
    records = read_manifest(manifest_dir, prefix, "supervisions", part, ("id", "text"))
    return [(record["id"], record["text"]) for record in records]


def read_manifest(
    manifest_dir: PathLike, prefix: str, kind: str, part: str, keys: Sequence[str]
) -> List[Dict[str, Any]]:
    """The records of a manifest as they are written, without lhotse.

    Args:
      manifest_dir, prefix, kind, part: see :func:`manifest_path`.
      keys: what each record must have.
    Raises:
      GmotError: the manifest is missing, broken or empty.
    """
    path = require_file(
        manifest_path(manifest_dir, prefix, kind, part),
        f"{kind} of '{part}'",
        "Run the manifests stage first.",
    )
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            records = [json.loads(line) for line in lines]
        for record in records:
            for key in keys:
                record[key]
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise GmotError(
            f"{path}: not a manifest of {kind} ({type(error).__name__}: {error}). "
            "Delete it and run the manifests stage again."
        ) from None
    if not records:
        raise GmotError(f"{path}: holds no utterance. Run the manifests stage again.")
    return records


def prepare_manifests(
    corpus_dir: PathLike,
    prefix: str,
    parts: Sequence[str],
    manifest_dir: PathLike,
    recipe: Optional[str] = None,
    sampling_rate: int = 16000,
    normalize_command: Optional[str] = None,
    num_jobs: int = 4,
    inventory: Optional[PathLike] = None,
    strict: bool = False,
    recipe_options: Optional[Mapping[str, Any]] = None,
) -> List[Part]:
    """Make the manifests of a corpus.

    Utterances that cannot be used (no audio, unreadable audio, another sampling
    rate, no text) are left out and listed in ``excluded.txt``.

    Args:
      corpus_dir: holds a Kaldi-style folder per part, or is what the recipe reads.
      prefix: first part of the file names, usually the corpus' name.
      parts: which parts.
      manifest_dir: gets the manifests.
      recipe: name of one of lhotse's recipes, or None for Kaldi-style folders.
      sampling_rate: in Hz, of all audio.
      normalize_command: shell command that filters one transcript a line.
      num_jobs: audio files opened at a time.
      inventory: file with what the corpus should hold (``gmot.data.inventory``).
      strict: that it holds something else is an error, not a warning.
      recipe_options: more arguments of the recipe's function.

    Returns:
      What was made, part by part.

    Raises:
      GmotError: an input is missing or contradictory, or nothing is left of a part.
    """
    stock = Inventory.load(inventory) if inventory else None
    survey = stock.survey(corpus_dir, parts) if stock else None
    if recipe is None:
        found = [read_kaldi_part(Path(corpus_dir) / part, part, num_jobs) for part in parts]
    else:
        made = Path(manifest_dir) / f"{prefix}_{recipe}"
        found = run_recipe(recipe, corpus_dir, made, parts, num_jobs, recipe_options, survey)
    if survey:
        survey.account(found)
    for part in found:
        _check_audio(part, sampling_rate)
    if normalize_command is not None:
        _normalize(found, normalize_command)
    for part in found:
        for utterance, supervision in list(part.supervisions.items()):
            if not (supervision.text or "").strip():
                part.exclude(utterance, "empty transcript")
        _report(part)
    _refuse_shared_ids(found)
    if stock and survey:
        stock.compare(found, survey, strict)
    _write(found, Path(manifest_dir), prefix, survey.without_audio() if survey else [])
    return found


def _check_audio(part: Part, sampling_rate: int) -> None:
    for utterance, supervision in list(part.supervisions.items()):
        recording = part.recordings.get(supervision.recording_id)
        if recording is None:
            part.exclude(utterance, f"no recording '{supervision.recording_id}'")
        elif recording.sampling_rate != sampling_rate:
            part.exclude(
                utterance,
                f"sampling rate {recording.sampling_rate} Hz, expected {sampling_rate} Hz",
            )


def _normalize(parts: Sequence[Part], command: str) -> None:
    """Filter all transcripts by one run of a shell command, one a line."""
    supervisions = [s for part in parts for s in part.supervisions.values()]
    lines = [" ".join((s.text or "").split()) for s in supervisions]
    result = subprocess.run(
        command,
        shell=True,
        input="".join(line + "\n" for line in lines).encode(),
        capture_output=True,
        check=False,
    )
    errors = result.stderr.decode(errors="replace").strip()
    if result.returncode != 0:
        raise GmotError(
            f"the normalisation command '{command}' failed with status {result.returncode}: "
            f"{errors[-500:] or 'no message'}"
        )
    if errors:
        log.info("%s: %s", command, errors)
    try:
        normalized = result.stdout.decode().split("\n")
    except UnicodeDecodeError as error:
        raise GmotError(
            f"the normalisation command '{command}' does not write UTF-8 ({error})"
        ) from None
    if normalized[-1] == "":
        normalized.pop()
    if len(normalized) != len(lines):
        raise GmotError(
            f"the normalisation command '{command}' made {len(normalized)} lines "
            f"of {len(lines)}. It must write one line for each it reads, an empty one too."
        )
    for supervision, text in zip(supervisions, normalized):
        supervision.text = text.strip()


def _report(part: Part) -> None:
    kept = len(part.supervisions)
    reasons = Counter(reason.partition(":")[0] for _, reason in part.excluded)
    summary = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(5))
    if not kept:
        example = part.excluded[0] if part.excluded else ("", "no utterance is listed")
        raise GmotError(
            f"part '{part.name}': none of {len(part.excluded)} utterances can be used "
            f"({summary or 'none is listed'}); for example {example[0]}: {example[1]}"
        )
    if part.excluded:
        log.warning(
            "part '%s': %d of %d utterances left out (%s)",
            part.name,
            len(part.excluded),
            kept + len(part.excluded),
            summary,
        )


def _refuse_shared_ids(parts: Sequence[Part]) -> None:
    """Nothing that is tested may have been trained on."""
    for part, other in itertools.combinations(parts, 2):
        shared = sorted(part.supervisions.keys() & other.supervisions.keys())
        if shared:
            raise GmotError(
                f"parts '{part.name}' and '{other.name}' share {len(shared)} utterances: "
                f"{', '.join(shared[:5])}{', ...' if len(shared) > 5 else ''}. "
                "Parts must not overlap: leave them out of one, or rename them."
            )


def _write(parts: Sequence[Part], manifest_dir: Path, prefix: str, silent: Sequence[str]) -> None:
    from lhotse import RecordingSet, SupervisionSet

    for part in parts:
        used = {s.recording_id for s in part.supervisions.values()}
        recordings = [r for key, r in part.recordings.items() if key in used]
        for kind, manifest in (
            ("recordings", RecordingSet.from_recordings(recordings)),
            ("supervisions", SupervisionSet.from_segments(part.supervisions.values())),
        ):
            with atomic_path(manifest_path(manifest_dir, prefix, kind, part.name)) as path:
                manifest.to_file(path)
    excluded = manifest_dir / "excluded.txt"
    lines = [f"{p.name}\t{key}\t{reason}\n" for p in parts for key, reason in p.excluded]
    lines += [f"-\t{key}\ttranscript without audio\n" for key in silent]
    if lines:
        with atomic_path(excluded) as path:
            path.write_text("".join(lines), encoding="utf-8")
        log.info("what was left out is listed in %s", excluded)
    elif excluded.exists():
        excluded.unlink()
