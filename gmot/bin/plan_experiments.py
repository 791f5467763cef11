"""Check the options of a recipe's experiments and name their folders (shared/run.sh).

Prints one line per experiment: name, configuration file, options that apply (all, or common: those
of the transfer do not apply to CTC alone), teacher store (teacher, teacher_random, or - without
transfer), number of epochs to average; separated by tabs. Options --group.key VALUE are those of
training and decoding.
"""

import re
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import NamedTuple

from gmot.bin import decode, train
from gmot.common import GmotError

# Required options of training and decoding, which the recipe fills in later.
_REQUIRED = ("--exp-dir", "--fbank-dir", "--lang-dir", "--prefix", "--teacher")
LATER = [word for name in _REQUIRED for word in (name, "later")]


class Experiment(NamedTuple):
    name: str
    config: Path
    options: str
    store: str
    avg: int


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--configs", nargs="+", required=True, help="one file per experiment")
    parser.add_argument("--preset", required=True, help="file of --model, read before each of them")
    parser.add_argument("--folders", nargs="+", default=["."], help="configs are relative to these")
    parser.add_argument("--avg", type=int, required=True, help="number of epochs, if available")
    parser.add_argument(
        "--pretrain",
        choices=("true", "false"),
        default="false",
        help="the first configuration is what the others start from",
    )
    return parser


def find(config: str, folders: list[str]) -> Path:
    """File of a configuration in the first of the folders that has it."""
    for folder in folders:
        if (Path(folder) / config).is_file():
            return Path(folder) / config
    raise GmotError(f"--config {config}: no such file, neither in {' nor in '.join(folders)}.")


def suffix(options: list[str]) -> str:
    """Part of an experiment's name for options: ``--transfer.alpha 0.03`` gives ``_alpha0.03``."""
    words, named = [], True
    for word in options:
        key, _, value = word.partition("=")
        if key.startswith("--"):
            key = key.rpartition(".")[2].replace("-", "_")
            named = key != "num_workers"  # does not change the result
            word = f"_{key}{value}"
        if named:
            words.append(re.sub(r"[^\w.+-]+", "-", word))
    return "".join(words)


def by_group(options: list[str]) -> dict[str, list[str]]:
    """Options ``--GROUP.key``, with their values, of ``transfer``, ``decoding`` and the others."""
    found: dict[str, list[str]] = {"transfer": [], "decoding": [], "common": []}
    group = "common"
    for word in options:
        if word.startswith("--"):
            group = word[2:].partition(".")[0]
        found[group if group in found else "common"].append(word)
    return found


def plan(args: Namespace, options: list[str]) -> list[Experiment]:
    """Experiments of a recipe with options of training and decoding, which their parsers check.

    Raises:
      GmotError: a file is missing, two experiments have one name, or the first one does not fit
        ``--pretrain``.
    """
    groups = by_group(options)
    transfer, common = groups["transfer"], groups["common"]
    decode.get_parser().parse_args([*LATER, *groups["decoding"]])
    experiments: list[Experiment] = []
    for config in args.configs:
        path = find(config, args.folders)
        words = ["--config", args.preset, "--config", str(path), *LATER, *common]
        found = train.get_parser().parse_args(words)
        transfers = found.transfer.objective != "none"
        if transfer:
            changed = train.get_parser().parse_args([*words, *transfer])
            found = changed if transfers else found
        teacher = "teacher_random" if found.transfer.random_teacher else "teacher"
        experiment = Experiment(
            name=path.stem + suffix(transfer * transfers + common),
            config=path,
            options="all" if transfers else "common",
            store=teacher if found.transfer.learns_from_teacher else "-",
            avg=min(args.avg, found.training.num_epochs, found.training.keep_last),
        )
        if args.pretrain == "true" and not experiments and experiment.store != "-":
            raise GmotError(f"--pretrain true: {path} learns from a teacher; expected CTC alone.")
        if args.pretrain == "true" and experiments:
            if experiment.name == experiments[0].name:
                continue
            experiment = experiment._replace(name=f"{experiment.name}-pretrained")
        if experiment.name in [e.name for e in experiments]:
            raise GmotError(f"two configurations of the name '{path.stem}'. Rename one.")
        experiments.append(experiment)
    return experiments


def main() -> None:
    parser = get_parser()
    args, options = parser.parse_known_args(sys.argv[1:])
    for word in options:
        if word.startswith("--") and "." not in word:
            parser.error(f"unknown option {word}")
    for experiment in plan(args, options):
        print(*experiment, sep="\t")
