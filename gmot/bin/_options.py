"""Options that several commands share."""

from collections.abc import Sequence
from typing import Any

from gmot.cli import ArgumentParser, NonNegativeInt, PositiveInt, number
from gmot.common import GmotError

EXECUTOR = (
    "scheduler of a Dask cluster, for example tcp://host:8786, instead of local processes; its "
    "workers need a file system that they share with this process, under the same paths "
    "(docs/cluster.md)"
)
_UNITS = ("utterance", "speaker")
AVERAGES = ("last", "best", "ema")
_SHARED: dict[str, dict[str, Any]] = {
    "--avg": {"type": PositiveInt, "default": 1, "help": "epochs to average, --epoch included"},
    "--average": {
        "choices": AVERAGES,
        "default": "last",
        "help": "what is averaged: the last --avg epochs, the --avg epochs of lowest dev loss (as "
        "far as they are kept: training.keep_best), or the running average of the weights",
    },
    "--device": {"default": "auto", "help": "cpu, cuda, cuda:1, ... or auto"},
    "--epoch": {"type": PositiveInt, "help": "last epoch to use, from 1; default: the last one"},
    "--executor": {"help": EXECUTOR},
    "--exp-dir": {"required": True, "help": "folder of the experiment"},
    "--fbank-dir": {"required": True, "help": "folder of cuts and features"},
    "--lang-dir": {"required": True, "help": "folder of tokens, words, lexicon and text"},
    "--manifest-dir": {"required": True, "help": "folder of the manifests"},
    "--normalizer": {
        "default": "gmot.text.normalize:normalize_text",
        "metavar": "MODULE:FUNCTION",
        "help": "Python function from text to normalised text, the same for transcripts, lexicon "
        "and other text. In gmot.text.normalize: normalize_text (Chinese), "
        "normalize_keeping_case, normalize_english, normalize_unicode (any language); "
        "builtins:str changes nothing",
    },
    "--num-mel-bins": {"type": number(int, 4), "default": 80, "help": "bins of the filter bank"},
    "--num-threads": {"type": NonNegativeInt, "default": 0, "help": "torch's; 0: all cores"},
    "--pitch": {"type": bool, "default": False, "help": "with Kaldi's three pitch features"},
    "--prefix": {"required": True, "help": "corpus name, first part of file names"},
    "--sampling-rate": {"type": PositiveInt, "default": 16000, "help": "of all audio, in Hz"},
    "--splits": {"nargs": "+", "required": True, "help": "for example train dev test"},
    "--teacher": {"help": "language model: Hugging Face folder or name"},
    "--train-split": {"default": "train", "help": "split to learn from"},
    "--unit": {"choices": _UNITS, "default": "utterance", "help": "unit of resampling"},
}


def add_options(parser: ArgumentParser, *names: str, **changes: Any) -> None:
    """Add shared options; ``changes`` are of their settings (``default``, ``help``, ...)."""
    for name in names:
        parser.add_argument(name, **{**_SHARED[name], **changes})


def make_parser(description: str | None, *names: str, **settings: Any) -> ArgumentParser:
    """Parser with the shared options of the names."""
    parser = ArgumentParser(description=description, **settings)
    add_options(parser, *names)
    return parser


def add_source_options(parser: ArgumentParser, channel: int | None = None) -> None:
    """Add the options of a corpus that commands share (:class:`gmot.data.source.Source`).

    ``channel`` is the default of its option.
    """
    parser.add_argument("--corpus-dir", help="folder of the corpus")
    parser.add_argument(
        "--table",
        nargs="+",
        metavar="FILE",
        help="csv, tsv or jsonl files of paths and transcripts; several: one per split",
    )
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="ROLE=NAME",
        help="columns of the tables for path, text, speaker, split and id, or their numbers from 1 "
        "in tables without a header; default: found by usual names",
    )
    parser.add_argument(
        "--audio-dir", help="folder that paths in tables are relative to; default: found"
    )
    parser.add_argument(
        "--recipe-options",
        nargs="*",
        default=[],
        metavar="NAME=VALUE",
        help="arguments of the lhotse recipe's function, for example languages=zh-CN",
    )
    parser.add_argument(
        "--channel",
        type=NonNegativeInt,
        default=channel,
        help="channel of audio with several, from 0, where the corpus names none"
        + ("; default: such audio is excluded" if channel is None else ""),
    )


def name_values(option: str, words: Sequence[str], plain: bool = True) -> dict[str, Any]:
    """Values of ``NAME=VALUE`` words; unless ``plain``, numbers, lists, true and so on are read.

    Raises:
      GmotError: a word has another form.
    """
    import yaml

    values: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise GmotError(f"{option} {word}: expected NAME=VALUE.")
        try:
            values[name] = value if plain else yaml.safe_load(value)
        except yaml.YAMLError:
            values[name] = value
    return values
