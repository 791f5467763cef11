"""Options that several commands share."""

from typing import Any

from gmot.cli import ArgumentParser, NonNegativeInt, PositiveInt, number

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
    "--num-mel-bins": {"type": number(int, 4), "default": 80, "help": "bins of the filter bank"},
    "--num-threads": {"type": NonNegativeInt, "default": 0, "help": "torch's; 0: all cores"},
    "--pitch": {"type": bool, "default": False, "help": "with Kaldi's three pitch features"},
    "--prefix": {"required": True, "help": "corpus name, first part of file names"},
    "--sampling-rate": {"type": PositiveInt, "default": 16000, "help": "of all audio, in Hz"},
    "--splits": {"nargs": "+", "required": True, "help": "for example train dev test"},
    "--teacher": {"required": True, "help": "language model: Hugging Face folder or name"},
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
