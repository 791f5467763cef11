"""Recipe folder of a corpus: scripts, configurations, lists of the splits, README."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from string import Template

from gmot.common import GmotError, atomic_path
from gmot.corpus.proposal import Choices, Size
from gmot.corpus.report import Findings
from gmot.corpus.splits import SPLITS
from gmot.data.source import Source
from gmot.data.split_lists import write_split_lists

ROOT = Path(__file__).resolve().parents[2]  # of the repository

PREPARE = """#!/usr/bin/env bash
# Data of $name (README.md). Written by `gmot new-corpus`; change what differs in your corpus.
# shellcheck disable=SC2034,SC2154  # options of prepare_options.sh
recipe=$$(cd "$$(dirname "$${BASH_SOURCE[0]}")" && pwd)
data_of=$name
# shellcheck source=/dev/null
. $root/shared/prepare_options.sh

speed_perturb="0.9 1.1"
units=$units
vocab_size=$vocab_size
teacher=$teacher
parse_options "$$@"
begin data_dir init_lang_dir

corpus=$name
normalizer=$normalizer
# Changes of these compute the manifests (source_files) or the features (audio) anew.
source_files=($inputs "$$recipe"/splits/{train,dev,test}.txt)
audio=($audio)
# The corpus, as options of local/prepare_manifests.py.
source_options=($source
  --split-lists "$$recipe/splits")
after_corpus=() # no stage 0

# shellcheck source=/dev/null
. "$$root/shared/prepare.sh"
"""

RUN = """#!/usr/bin/env bash
# $name from its audio to error rates, stages 1 to 10: bash $folder/run.sh --help
# shellcheck disable=SC2034  # options of shared/run.sh
recipe=$$(cd "$$(dirname "$${BASH_SOURCE[0]}")" && pwd)
title=$name
config=(conf/ctc.yaml conf/gm_ot.yaml)
pretrain_config=conf/ctc.yaml
model=$$recipe/conf/model.yaml
avg=$avg
# shellcheck source=/dev/null
. $root/shared/run.sh
"""

MODEL = """# Model and training for the $hours hours of training speech of $name
# (docs/corpora.md: table of sizes).
model:
  d_model: $d_model
  num_heads: 4
  ffn_dim: $ffn_dim
  num_layers: $layers
  kernel_size: 15
  subsampling_channels: $channels
  dropout: $dropout
training:
  num_epochs: $epochs
  base_lr: $rate
  warmup_steps: $warmup
  schedule: $schedule
  weight_decay: 0.01
  clip_norm: 5.0
  keep_last: $avg
data:
  update_duration: $update  # seconds of speech per update
  max_duration: $batch  # of them on a device at a time; lower it when memory runs out
  min_utterance: $min_utterance
  max_utterance: $max_utterance
  spec_augment:
    time_warp_factor: $warp
    num_frame_masks: $masks
    frames_mask_size: $frames
    features_mask_size: $bins
"""

DECODING = """# Decoding methods and scales of this recipe: options of local/decode.py.
scoring: [$scoring]  # the first one is the primary error rate
homophones: $homophones
decoding:
  methods: [ctc-greedy-search, ctc-decoding, 1best]
"""

README = """# $name

$origin. Written by `gmot new-corpus`; [inspection.md](inspection.md) is what it found.

    bash $folder/run.sh            # all stages, from the audio to a table of error rates
    bash $folder/run.sh --help

| file | what it says |
|---|---|
| `inspection.md` | audio, text and speakers of the corpus, and what to look at |
| `splits/{train,dev,test}.txt` | the utterances of each split; edit them as you like |
| `prepare.sh` | where the corpus is; units ($units), normaliser, teacher, speeds |
| `conf/model.yaml` | model, training, limits of utterances |
| `conf/ctc.yaml`, `conf/gm_ot.yaml` | the experiments: without and with a teacher |
| `decoding.yaml` | scoring ($scoring), decoding methods |

A changed file repeats the stages that depend on it. Prepared data is in `data/`, experiments and
`RESULTS.md` are in `exp/`. Other choices: [docs/corpora.md]($docs).
"""


def write_recipe(output: Path, found: Findings, source: Source, report: str) -> None:
    """Write the recipe of a corpus to a new folder.

    Raises:
      GmotError: this is not a clone of the repository, which has the stages of the recipes.
    """
    if not (ROOT / "shared" / "run.sh").is_file():
        raise GmotError(
            f"{ROOT} has no shared/run.sh: gmot is installed without its recipes. Clone the "
            "repository and start local/new_corpus.py there."
        )
    files = recipe_files(output, found, source)
    with atomic_path(output) as folder:
        (folder / "conf").mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")
        (folder / "inspection.md").write_text(report, encoding="utf-8")
        write_split_lists(folder / "splits", found.proposal.lists)


def recipe_files(output: Path, found: Findings, source: Source) -> dict[str, str]:
    """Contents of the files, by their names in the folder."""
    choices = found.choices
    inside = output.absolute().parent.parent == ROOT
    folder = os.path.relpath(output, ROOT) if inside else str(output.absolute())
    inputs, audio = _inputs(found, source)
    values = {
        "name": found.name,
        "origin": found.origin[0].upper() + found.origin[1:],
        "folder": shlex.quote(folder),
        "root": '"$recipe/../.."' if inside else shlex.quote(str(ROOT)),
        "docs": "../../docs/corpora.md" if inside else str(ROOT / "docs" / "corpora.md"),
        "units": choices.units,
        "vocab_size": choices.vocab_size or "",
        "teacher": shlex.quote(_teacher(choices.teacher)),
        "normalizer": choices.normalizer,
        "inputs": " ".join(map(shlex.quote, inputs)),
        "audio": " ".join(map(shlex.quote, audio)),
        "source": _source_options(found, source),
        "scoring": ", ".join(choices.scoring),
        "homophones": f"{choices.homophones}".lower()
        + ("  # Mandarin: count homophone substitutions" if choices.homophones else ""),
        **_model_values(found, choices, choices.size),
    }
    templates: Mapping[str, str] = {
        "prepare.sh": PREPARE,
        "run.sh": RUN,
        "conf/model.yaml": MODEL,
        "decoding.yaml": DECODING,
        "README.md": README,
    }
    experiments = {
        f"conf/{name}.yaml": (ROOT / "egs" / "mini" / "conf" / f"{name}.yaml").read_text("utf-8")
        for name in ("ctc", "gm_ot")
    }
    written = {name: Template(text).substitute(values) for name, text in templates.items()}
    return {**written, **experiments}


def _model_values(found: Findings, choices: Choices, size: Size) -> dict[str, object]:
    train = found.splits[SPLITS.index("train")]
    hours = sum(s.duration for s in train.supervisions.values()) / 3600
    return {
        **asdict(size),
        "hours": f"{hours:.2f}",
        "batch": min(size.update, 100),
        "bins": 27 if size.masks > 2 else 16,
        "warp": 80 if size.masks > 2 else 0,
        "min_utterance": choices.min_utterance,
        "max_utterance": "null" if choices.max_utterance is None else choices.max_utterance,
    }


def _teacher(teacher: str) -> str:
    return str(Path(teacher).absolute()) if Path(teacher).is_dir() else teacher


def _inputs(found: Findings, source: Source) -> tuple[list[str], list[str]]:
    """Files and folders that the manifests, and the features, are made from."""
    if source.tables:
        inputs = [str(Path(table).absolute()) for table in source.tables]
    else:
        inputs = [str(Path(str(source.corpus_dir)).absolute())]
    files = {
        str(Path(s.source).parent)
        for split in found.corpus
        for recording in split.recordings.values()
        for s in recording.sources
        if s.type == "file"
    }
    common = os.path.commonpath(files) if files else ""
    if any(common == path or common.startswith(path + "/") for path in inputs):
        return inputs, inputs
    # Not a folder with more than this corpus in it, nor one that the recipe of lhotse made.
    usable = len(Path(common).parts) > 3 and Path(common).is_dir()
    return inputs, [*inputs, common] if usable else inputs


def _source_options(found: Findings, source: Source) -> str:
    """Options of local/prepare_manifests.py that name the corpus."""
    words: list[str] = []
    if source.tables:
        words += ["--table", *(str(Path(table).absolute()) for table in source.tables)]
        if source.columns:
            words += ["--columns", *(f"{role}={name}" for role, name in source.columns.items())]
        if source.audio_dir:
            words += ["--audio-dir", str(Path(source.audio_dir).absolute())]
    else:
        words += ["--corpus-dir", str(Path(str(source.corpus_dir)).absolute())]
    if source.recipe:
        words += ["--recipe", source.recipe]
    if source.recipe_options:
        options = source.recipe_options.items()
        words += ["--recipe-options", *(f"{name}={value}" for name, value in options)]
    words += ["--source-splits", *found.proposal.sources]
    if source.channel is not None and max(found.audio.channels, default=1) > 1:
        words += ["--channel", str(source.channel)]
    lines, line = [], ""
    for word in map(shlex.quote, words):
        if word.startswith("--") and line:
            lines.append(line)
            line = ""
        line += f"{' ' if line else ''}{word}"
    return "\n  ".join([*lines, line])
