"""lhotse's recipes, whose signatures and results differ, as splits of a corpus."""

import contextlib
import inspect
import logging
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gmot.common import GmotError, PathLike, empty_folder
from gmot.data.audio import error_cause
from gmot.data.kaldi import WHOLE, Split, refuse_repeated

log = logging.getLogger(__name__)

OPTION = "--recipe-options"
# Parameters by which recipes choose what they make.
SELECTORS = ("languages", "language", "lang", "dataset_parts", "dataset_part", "parts", "splits")
KINDS = ("recordings", "supervisions")


def run_recipe(
    recipe: str,
    corpus_dir: PathLike,
    output_dir: PathLike,
    splits: Sequence[str] | None,
    num_jobs: int,
    options: Mapping[str, Any] | None = None,
    channel: int | None = None,
) -> list[Split]:
    """Read splits of a corpus by the function ``lhotse.recipes.prepare_<recipe>``.

    ``splits`` None: all that the recipe makes; :data:`~gmot.data.kaldi.WHOLE` if it has no splits.
    ``channel`` is that of audio with several, if the recipe assigns none; None: it is excluded.

    ``output_dir`` is emptied and given to recipes that require one (some write audio there),
    ``num_jobs`` (audio files that are opened at a time) to those that have it.

    Raises:
      GmotError: no such recipe or split, an argument is missing or unknown, or the recipe fails.
    """
    import lhotse.recipes

    prepare = getattr(lhotse.recipes, f"prepare_{recipe}", None)
    if prepare is None:
        known = sorted(n[8:] for n in dir(lhotse.recipes) if n.startswith("prepare_"))
        raise GmotError(f"lhotse has no recipe '{recipe}'. It has: {', '.join(known)}")
    if not Path(corpus_dir).is_dir():
        raise GmotError(f"corpus folder {corpus_dir} does not exist.")
    arguments = recipe_arguments(recipe, prepare, corpus_dir, output_dir, num_jobs, options or {})
    if arguments.get("output_dir") == output_dir:
        empty_folder(output_dir)  # recipes reuse manifests that they find there
    try:
        with _summarized_log(recipe):
            manifests = prepare(**arguments)
        if splits is None:
            splits = split_names(manifests)
        return [
            _read_split(name, _find_manifests(recipe, prepare, manifests, name, splits), channel)
            for name in splits
        ]
    except GmotError:
        raise
    except ImportError as error:
        raise GmotError(
            f"lhotse's recipe '{recipe}' needs a package that is missing: {error}"
        ) from error
    except Exception as error:  # recipes raise whatever their parsers raise
        raise GmotError(
            f"lhotse's recipe '{recipe}' cannot read {corpus_dir}: {type(error).__name__}: "
            f"{error_cause(error)}"
        ) from error


@contextlib.contextmanager
def _summarized_log(recipe: str) -> Iterator[None]:
    """One warning in place of a recipe's own log, which has lines per utterance."""
    warnings: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            warnings.append(record.getMessage())
        return False

    root = logging.getLogger()  # recipes log there directly: a filter stops nothing else
    root.addFilter(collect)
    try:
        yield
    finally:
        root.removeFilter(collect)
        if warnings:
            log.warning(
                "lhotse's recipe '%s': %d warnings, the first: %s",
                *(recipe, len(warnings), " ".join(warnings[0].split())),
            )


def recipe_arguments(
    recipe: str,
    prepare: Callable,
    corpus_dir: PathLike,
    output_dir: PathLike,
    num_jobs: int,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Arguments of a recipe, by its signature.

    The corpus is the parameter ``corpus_dir``, or else the first one that ``options`` lack;
    ``output_dir`` is given where it has no default.

    Raises:
      GmotError: names the missing or unknown parameters.
    """
    parameters = inspect.signature(prepare).parameters
    required = [name for name, p in parameters.items() if p.default is p.empty]
    unknown = [name for name in options if name not in parameters]
    if unknown:
        raise GmotError(
            f"{OPTION} {unknown[0]}: no argument of lhotse's recipe '{recipe}', which takes "
            f"{', '.join(parameters)}."
        )
    corpus = "corpus_dir"
    if corpus not in parameters:
        corpus = next((name for name in required or parameters if name not in options), "")
    own = {corpus: corpus_dir, "num_jobs": num_jobs, "absolute_paths": True}
    if "output_dir" in required:
        own.setdefault("output_dir", output_dir)
    arguments = {**{name: own[name] for name in own if name in parameters}, **options}
    missing = [name for name in required if name not in arguments]
    if missing:
        raise GmotError(
            f"lhotse's recipe '{recipe}' needs {', '.join(missing)} too: give {OPTION} "
            f"{' '.join(f'{name}=...' for name in missing)}"
        )
    for name, value in arguments.items():
        kind = typing.get_origin(parameters[name].annotation)
        if kind in (list, Sequence) and isinstance(value, (str, Path)):
            arguments[name] = [value]  # a recipe would iterate over its characters
    return arguments


def split_names(manifests: Any) -> list[str]:
    """Splits with recordings and supervisions among the results of a recipe."""
    if not isinstance(manifests, Mapping) or "supervisions" in manifests:
        return [WHOLE]
    found = [k for k, v in manifests.items() if isinstance(v, Mapping) and set(KINDS) <= v.keys()]
    if not found and len(manifests) == 1:  # a level for a single language
        return split_names(next(iter(manifests.values())))
    return found or [WHOLE]


def _read_split(name: str, manifests: Mapping[str, Any], channel: int | None) -> Split:
    split = Split(name)
    for kind in KINDS:
        items = sorted(manifests[kind], key=lambda item: item.id)  # not in directory order
        repeated = [a.id for a, b in zip(items, items[1:]) if a.id == b.id]
        refuse_repeated(repeated, f"{kind} of '{name}'")
        getattr(split, kind).update((item.id, item) for item in items)
    for recording in split.recordings.values():
        for source in recording.sources:
            if source.type == "file":
                source.source = str(Path(source.source).absolute())
    _choose_channels(split, channel)
    return split


def _find_manifests(
    recipe: str, prepare: Callable, manifests: Any, name: str, wanted: Sequence[str]
) -> Mapping[str, Any]:
    """Recordings and supervisions of a split; see :func:`run_recipe`."""
    if isinstance(manifests, tuple) and len(manifests) == 2:
        manifests = dict(zip(KINDS, manifests))
    if not isinstance(manifests, Mapping):
        raise GmotError(f"lhotse's recipe '{recipe}' returned no manifests. Use another recipe.")
    if "supervisions" in manifests:  # a corpus without splits
        if len(wanted) > 1:
            raise GmotError(
                f"lhotse's recipe '{recipe}' has no splits, and {len(wanted)} were requested. "
                "Split the corpus into Kaldi-style folders, or request one split."
            )
        found = manifests
    else:
        if name not in manifests and len(manifests) == 1:  # a level for a single language
            inner = next(iter(manifests.values()))
            manifests = inner if "supervisions" not in inner else manifests
        found = manifests.get(name, {})
    if not found.keys() >= set(KINDS):
        selectors = [n for n in inspect.signature(prepare).parameters if n in SELECTORS]
        raise GmotError(
            f"lhotse's recipe '{recipe}' has no split '{name}'"
            f"{' with recordings and supervisions' if found else ''}; it made: "
            f"{', '.join(map(str, manifests)) or 'nothing'}."
            + (f" Choose with {OPTION} {selectors[0]}=..." if selectors else "")
        )
    return found


def _choose_channels(split: Split, channel: int | None) -> None:
    """Choose the channel of multi-channel audio, unless the recipe assigns utterances to channels.

    Audio that lacks it is excluded; all of it, if ``channel`` is None.
    """
    # 0 is also what a recipe writes that ignores channels.
    divided = {s.recording_id for s in split.supervisions.values() if s.channel not in (0, [0])}
    for utterance, supervision in list(split.supervisions.items()):
        recording = split.recordings.get(supervision.recording_id)
        if recording is None or recording.num_channels == 1:
            continue
        if supervision.recording_id not in divided or not isinstance(supervision.channel, int):
            if channel in recording.channel_ids:
                supervision.channel = channel
            else:
                wanted = "1" if channel is None else f"a channel {channel}, numbered from 0"
                split.exclude(utterance, f"{recording.num_channels} channels, expected {wanted}")
