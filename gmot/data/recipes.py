"""lhotse's recipes, whose signatures and results differ, as parts of a corpus."""

import collections.abc
import inspect
import logging
import typing
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from gmot.common import GmotError, PathLike, empty_folder
from gmot.data.inventory import Survey
from gmot.data.kaldi import Part, refuse_repeated

OPTION = "--recipe-options"
CHOOSING = ("languages", "language", "lang", "dataset_parts", "dataset_part", "parts", "splits")


def run_recipe(
    recipe: str,
    corpus_dir: PathLike,
    output_dir: PathLike,
    parts: Sequence[str],
    num_jobs: int,
    options: Optional[Mapping[str, Any]] = None,
    survey: Optional[Survey] = None,
) -> List[Part]:
    """Read a corpus by the function ``lhotse.recipes.prepare_<recipe>``.

    Args:
      recipe: name.
      corpus_dir: the corpus.
      output_dir: emptied, and given to recipes that cannot do without one: some put audio there.
      parts: parts of the result that are used.
      num_jobs: audio files opened at a time, where the recipe takes it.
      options: more arguments of the recipe.
      survey: files of the corpus, which are named if the recipe fails on one.

    Raises:
      GmotError: no such recipe or part, an argument is missing or unknown, or the recipe fails.
    """
    import lhotse.recipes

    prepare = getattr(lhotse.recipes, f"prepare_{recipe}", None)
    if prepare is None:
        known = sorted(n[8:] for n in dir(lhotse.recipes) if n.startswith("prepare_"))
        raise GmotError(f"lhotse has no recipe '{recipe}'. It has: {', '.join(known)}")
    if not Path(corpus_dir).is_dir():
        raise GmotError(f"corpus folder {corpus_dir} is not there")
    quiet = logging.getLogger()
    level = quiet.level
    arguments = recipe_arguments(recipe, prepare, corpus_dir, output_dir, num_jobs, options or {})
    if arguments.get("output_dir") == output_dir:
        empty_folder(output_dir)  # a recipe takes manifests that it finds there for this corpus's
    try:
        # A survey counts what the recipe would warn of, a line each.
        quiet.setLevel(logging.ERROR if survey else logging.WARNING)
        manifests = prepare(**arguments)
        return [_read_part(recipe, prepare, manifests, name, parts) for name in parts]
    except GmotError:
        raise
    except ImportError as error:
        raise GmotError(
            f"lhotse's recipe '{recipe}' needs a package that is missing: {error}"
        ) from error
    except Exception as error:  # recipes raise whatever their parsers raise
        if survey:
            survey.refuse_broken_audio()
        raise GmotError(
            f"lhotse's recipe '{recipe}' cannot read {corpus_dir}: {type(error).__name__}: {error}"
        ) from error
    finally:
        quiet.setLevel(level)


def recipe_arguments(
    recipe: str,
    prepare: Callable,
    corpus_dir: PathLike,
    output_dir: PathLike,
    num_jobs: int,
    options: Mapping[str, Any],
) -> Dict[str, Any]:
    """Arguments of a recipe, after its signature.

    The corpus is the parameter ``corpus_dir``, or the first one that ``options`` leave;
    ``output_dir`` is given where it has no default.

    Raises:
      GmotError: names the parameters that are missing or unknown.
    """
    parameters = inspect.signature(prepare).parameters
    unknown = [name for name in options if name not in parameters]
    if unknown:
        raise GmotError(
            f"{OPTION} {unknown[0]}: no argument of lhotse's recipe '{recipe}', which takes "
            f"{', '.join(parameters)}."
        )
    arguments = dict(options)
    corpus = "corpus_dir"
    if corpus not in parameters:
        required = [n for n, p in parameters.items() if p.default is p.empty] or list(parameters)
        corpus = next((name for name in required if name not in options), "")
    if corpus:
        arguments.setdefault(corpus, corpus_dir)
    own = {"output_dir": output_dir, "num_jobs": num_jobs, "absolute_paths": True}
    for name, value in own.items():
        parameter = parameters.get(name)
        if parameter and (name != "output_dir" or parameter.default is parameter.empty):
            arguments.setdefault(name, value)
    missing = [n for n, p in parameters.items() if p.default is p.empty and n not in arguments]
    if missing:
        raise GmotError(
            f"lhotse's recipe '{recipe}' needs {', '.join(missing)} too: give {OPTION} "
            f"{' '.join(f'{name}=...' for name in missing)}"
        )
    for name, value in arguments.items():
        kind = typing.get_origin(parameters[name].annotation)
        if kind in (list, collections.abc.Sequence) and isinstance(value, (str, Path)):
            arguments[name] = [value]  # a recipe would go through its characters
    return arguments


def _read_part(
    recipe: str, prepare: Callable, manifests: Any, name: str, wanted: Sequence[str]
) -> Part:
    """One part of what a recipe returned."""
    if isinstance(manifests, tuple) and len(manifests) == 2:
        manifests = dict(zip(("recordings", "supervisions"), manifests))
    if not isinstance(manifests, Mapping):
        raise GmotError(f"lhotse's recipe '{recipe}' returned no manifests. Use another recipe.")
    if "supervisions" in manifests:  # of a corpus that is not divided
        if len(wanted) > 1:
            raise GmotError(
                f"lhotse's recipe '{recipe}' does not divide its corpus, and {len(wanted)} parts "
                "were asked for. Divide it into Kaldi-style folders, or give one part."
            )
        found = manifests
    else:
        if name not in manifests and len(manifests) == 1:  # a level for the one language
            inner = next(iter(manifests.values()))
            manifests = inner if "supervisions" not in inner else manifests
        found = manifests.get(name, {})
    if not {"recordings", "supervisions"} <= found.keys():
        choosing = [n for n in inspect.signature(prepare).parameters if n in CHOOSING]
        raise GmotError(
            f"lhotse's recipe '{recipe}' has no part '{name}'"
            f"{' with recordings and supervisions' if found else ''}; it made: "
            f"{', '.join(map(str, manifests)) or 'nothing'}."
            + (f" What it makes is chosen by {OPTION} {choosing[0]}=..." if choosing else "")
        )
    part = Part(name)
    for kind in ("recordings", "supervisions"):
        table = getattr(part, kind)
        repeated = []
        # Recipes go through folders in the file system's order.
        for item in sorted(found[kind], key=lambda item: item.id):
            if item.id in table:
                repeated.append(item.id)
            table[item.id] = item
        refuse_repeated(repeated, f"{kind} of '{name}'")
    for recording in part.recordings.values():
        for source in recording.sources:
            if source.type == "file":
                source.source = str(Path(source.source).absolute())
    _exclude_unnamed_channels(part)
    return part


def _exclude_unnamed_channels(part: Part) -> None:
    """Leave out multi-channel audio, unless the recipe divides it by channel."""
    # 0 is also what a recipe writes that does not think of channels.
    divided = {s.recording_id for s in part.supervisions.values() if s.channel not in (0, [0])}
    for utterance, supervision in list(part.supervisions.items()):
        recording = part.recordings.get(supervision.recording_id)
        if recording is None or recording.num_channels == 1:
            continue
        if supervision.recording_id not in divided or not isinstance(supervision.channel, int):
            part.exclude(utterance, f"{recording.num_channels} channels, expected 1")
