"""Check the options of a recipe's experiments and name their folders (shared/run.sh).

Prints one line per experiment and seed, with fields separated by tabs, - if there is none: name;
configuration file; options that apply (all, or common: those of the transfer do not apply to CTC
alone); teacher store (teacher, teacher_random); number of epochs to average; seconds of speech per
update; more options of the training; experiment to start from. Options --group.key VALUE are those
of training and decoding.
"""

import argparse
import logging
import re
import sys
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple, NoReturn

from gmot.bin import decode, train
from gmot.bin._options import AVERAGES
from gmot.cli import NonNegativeInt, PositiveInt
from gmot.common import GmotError
from gmot.config import changeable
from gmot.data.config import DataConfig
from gmot.training.config import TrainingConfig

# Required options of training and decoding, which the recipe fills in later.
_REQUIRED = ("--exp-dir", "--fbank-dir", "--lang-dir", "--prefix", "--teacher")
LATER = [word for name in _REQUIRED for word in (name, "later")]


# Options that do not change the result, and may so on resume: no part of a name.
UNNAMED = (changeable(TrainingConfig, "free") | changeable(DataConfig, "free")) - {"num_epochs"}


class Experiment(NamedTuple):
    name: str
    config: Path
    options: str
    store: str
    avg: int
    update_duration: str = "-"
    more: str = "-"
    start: str = "-"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def get_parser() -> argparse.ArgumentParser:
    parser = _Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--configs", nargs="+", required=True, help="one file per experiment")
    parser.add_argument("--preset", required=True, help="file of --model, read before each of them")
    parser.add_argument("--folders", nargs="+", default=["."], help="configs are relative to these")
    parser.add_argument(
        "--avg", type=PositiveInt, required=True, help="number of epochs, if available"
    )
    parser.add_argument("--average", choices=AVERAGES, default="last")
    parser.add_argument("--epoch", type=PositiveInt, help="last epoch to decode")
    parser.add_argument(
        "--seeds", type=NonNegativeInt, nargs="+", help="training seeds of each experiment"
    )
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
            named = key not in UNNAMED
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


def averaged(name: str, args: Namespace, training: TrainingConfig) -> int:
    """Number of epochs to average: as far as the training will have kept so many.

    Raises:
      GmotError: it will not have what --average or --epoch asks for.
    """
    if args.average == "ema":
        if training.ema_decay == 0:
            raise GmotError(f"{name}: --average ema needs training.ema_decay above 0, found 0.")
        return 1
    last = args.epoch or training.num_epochs
    avg = min(args.avg, last)
    if args.average == "last":
        kept = training.keep_last - (training.num_epochs - last)  # of those up to the last one
        if last > training.num_epochs or kept < 1:
            raise GmotError(
                f"{name}: --epoch {last} will not be there after {training.num_epochs} epochs of "
                f"which the last {training.keep_last} are kept. Raise training.keep_last."
            )
        avg = min(avg, kept)
    if avg < args.avg:
        logging.warning(
            f"{name}: --avg {args.avg}, but {avg} epochs are averaged (num_epochs "
            f"{training.num_epochs}, keep_last {training.keep_last})"
        )
    return avg


def plan(args: Namespace, options: list[str]) -> list[Experiment]:
    """Experiments of a recipe with options of training and decoding, which their parsers check.

    Raises:
      GmotError: a file is missing, two experiments have one name, the first one does not fit
        ``--pretrain``, or the epochs to decode will not be there.
    """
    groups = by_group(options)
    decode.get_parser().parse_args([*LATER, *groups["decoding"]])
    typed = [word.partition("=")[0] for word in groups["common"]]
    if args.seeds and "--training.seed" in typed:
        raise GmotError("--seeds and --training.seed: expected one of them.")
    seeds = list(dict.fromkeys(args.seeds or [None]))
    experiments: list[Experiment] = []
    for config in args.configs:
        path = find(config, args.folders)
        made = [plan_one(args, path, groups["transfer"], groups["common"], seed) for seed in seeds]
        pretrained = args.pretrain == "true" and bool(experiments)
        if args.pretrain == "true" and not experiments and made[0].store != "-":
            raise GmotError(f"--pretrain true: {path} learns from a teacher; expected CTC alone.")
        if pretrained and made[0].name == experiments[0].name:
            continue
        for experiment, start in zip(made, experiments[: len(seeds)] if pretrained else made):
            if pretrained:
                name = f"{experiment.name}-pretrained"
                experiment = experiment._replace(name=name, start=start.name)
            if experiment.name in [e.name for e in experiments]:
                raise GmotError(f"two configurations of the name '{path.stem}'. Rename one.")
            experiments.append(experiment)
    return experiments


def plan_one(
    args: Namespace, path: Path, transfer: list[str], common: list[str], seed: int | None
) -> Experiment:
    """One configuration with options of the transfer (if it has one), common ones and a seed."""
    seeded = [] if seed is None else ["--training.seed", str(seed)]
    words = ["--config", args.preset, "--config", str(path), *LATER, *common, *seeded]
    found = train.get_parser().parse_args(words)
    transfers = found.transfer.objective != "none"
    if transfer:
        changed = train.get_parser().parse_args([*words, *transfer])
        found = changed if transfers else found
    name = path.stem + suffix(transfer * transfers + common + seeded)
    avg = averaged(name, args, found.training)
    more = list(seeded)
    if args.average == "best" and found.training.keep_best < avg:
        more += ["--training.keep_best", str(avg)]
    teacher = "teacher_random" if found.transfer.random_teacher else "teacher"
    update = found.data.update_duration
    return Experiment(
        name=name,
        config=path,
        options="all" if transfers else "common",
        store=teacher if found.transfer.learns_from_teacher else "-",
        avg=avg,
        update_duration="-" if update is None else f"{update:g}",
        more=" ".join(more) or "-",
    )


def main() -> None:
    parser = get_parser()
    args, options = parser.parse_known_args(sys.argv[1:])
    for word in options:
        if word.startswith("--") and "." not in word:
            parser.error(f"unknown option {word}")
    for experiment in plan(args, options):
        print(*experiment, sep="\t")
