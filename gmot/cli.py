"""Options, YAML files and errors of the entry points.

An entry point defines ``get_parser()`` with :class:`ArgumentParser`, imports heavy libraries
inside ``main()`` (so that ``--help`` is instant), and is started by ``run(main)``.
"""

import argparse
import difflib
import math
import re
import sys
import types
from collections.abc import Sequence
from dataclasses import is_dataclass
from itertools import takewhile
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from gmot.common import GmotError, require_extra
from gmot.common import run as run

require_extra("recipe", "jsonargparse")

import jsonargparse
from jsonargparse.typing import ClosedUnitInterval as ClosedUnitInterval
from jsonargparse.typing import NonNegativeFloat as NonNegativeFloat
from jsonargparse.typing import NonNegativeInt as NonNegativeInt
from jsonargparse.typing import PositiveFloat as PositiveFloat
from jsonargparse.typing import PositiveInt as PositiveInt
from jsonargparse.typing import restricted_number_type

from gmot.config import ConfigError, flatten, from_dict, load_yaml

# The docstring below a field is the help of its option.
jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)


class _ConfigFile(jsonargparse.ActionConfigFile):
    """``--config FILE.yaml``, with errors that name the file."""

    def __call__(self, parser, cfg, values, option_string=None):  # type: ignore[no-untyped-def]
        try:
            content = load_yaml(values)
            parser.check_keys(values, content)
        except GmotError as error:
            parser.error(str(error))
        if content:
            super().__call__(parser, cfg, values, option_string)


class ArgumentParser(jsonargparse.ArgumentParser):
    """Options from arguments and configuration dataclasses, values from YAML and command line.

    ``add_class_arguments(TransferConfig, "transfer")`` adds an option ``--transfer.alpha`` per
    field. Options may be written with dashes or underscores. Errors are one line with exit
    status 2.

    Args:
      with_config: add ``--config`` and ``--print_config``.
    """

    def __init__(self, *args: Any, with_config: bool = False, **kwargs: Any):
        kwargs.setdefault("allow_abbrev", False)
        self._files: dict[str, set[str]] = {}  # keys of each --config file
        self._typed: set[str] = set()  # options of the command line
        if with_config:
            kwargs.setdefault("usage", "%(prog)s [OPTIONS]")
        super().__init__(*args, **kwargs)
        if with_config:
            self.add_argument(
                "--config",
                action=_ConfigFile,
                metavar="FILE.yaml",
                help="configuration; may be repeated, later files win over earlier ones and the "
                "command line over all",
            )

    def format_help(self, *args: Any) -> str:
        for action in self._actions:  # jsonargparse reads a file per group too; --config is enough
            if type(action).__name__ == "_ActionConfigLoad":
                action.help = argparse.SUPPRESS
        return super().format_help(*args)

    def parse_args(self, args: Sequence[str] | None = None) -> argparse.Namespace:  # type: ignore[override]
        """Values of all options; of a dataclass, an instance.

        Args:
          args: default: those of the command line.
        """
        self._files = {}
        words = self._canonical(list(sys.argv[1:] if args is None else args))
        values = {key: _plain(value) for key, value in vars(super().parse_args(words)).items()}
        for key, value in values.items():
            if any(v == math.inf for v in (value if isinstance(value, list) else [value])):
                self._refuse(key, "a finite number", value)
        try:
            for name, group in (self.groups or {}).items():
                kind: Any = getattr(group, "group_class", None)
                if isinstance(kind, type) and is_dataclass(kind) and name in values:
                    values[name] = from_dict(kind, values[name].as_dict(), f"{name}.")
        except ConfigError as error:
            self._refuse(error.key, error.expected, error.found)
        if "config" in values:
            values["config"] = [str(path) for path in values["config"] or []]
        return argparse.Namespace(**values)

    def _canonical(self, words: list[str]) -> list[str]:
        """Option names as they were added, ``--config`` before the others."""
        actions = self._option_string_actions
        known = {name.replace("_", "-"): name for name in actions}
        first: list[str] = []
        others: list[str] = []
        self._typed = set()
        while words:
            word = words.pop(0)
            name, equals, value = word.partition("=")
            if word == "--":
                return [*first, *others, word, *words]
            if not word.startswith("--"):
                others.append(word)
                continue
            option = known.get(name.replace("_", "-"))
            if option is None:
                self.error(f"unknown option {name}{_similar(name, actions)}")
            self._typed.add(actions[option].dest)
            values: list[str] = []
            if not equals and get_origin(getattr(actions[option], "_typehint", None)) is list:
                values = list(takewhile(lambda w: not w.startswith("--"), words))
                del words[: len(values)]
                if values and not values[0].startswith("["):  # as with nargs="+"
                    values = [f"[{', '.join(values)}]"]
            elif not equals and option == "--config":
                values, words = words[:1], words[1:]
            target = first if option == "--config" else others
            target += [option + equals + value, *values]
        return first + others

    def check_keys(self, path: str, content: dict[str, Any]) -> None:
        """Raises GmotError for a key of a file that is no option."""
        known = {a.dest for a in self._actions if a.dest not in ("help", "config", "print_config")}
        groups = {key.rpartition(".")[0] for key in known} - {""}
        leaves = known - groups
        for key, value in flatten(content):
            if key in groups and value != {}:
                raise GmotError(f"{path}: {key}: expected 'key: value' lines, found {value!r}")
            if key not in known:
                raise GmotError(f"{path}: unknown key {key}{_similar(key, leaves)}")
        self._files[path] = {key for key, _ in flatten(content)}

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with one line and status 2."""
        message = message.removeprefix("argument ")
        key = re.search(r'Parser key "([\w.]+)":?', message)
        value = re.search(_VALUE, message, re.DOTALL)
        action = next((a for a in self._actions if key and a.dest == key[1]), None)
        if key and action and value:
            found = next(text for text in value.groups() if text is not None)
            kind = getattr(action, "_typehint", None) or action.type
            self._refuse(key[1], _words(kind), found.strip())
        if key:
            message = message.replace(key[0], f"{self._origin(key[1])}:")
        missing = re.fullmatch(r"the following arguments are required: (.*)", message)
        if missing:
            message = f"missing options: {', '.join(map(self._origin, missing[1].split(', ')))}"
        self.exit(2, f"error: {' '.join(message.split())} ({self.prog} --help lists the options)\n")

    def _refuse(self, key: str, expected: str, found: Any) -> NoReturn:
        shown = found if isinstance(found, str) else repr(found)
        self.exit(2, f"error: {self._origin(key)}: expected {expected}, found {shown}\n")

    def _origin(self, key: str) -> str:
        """Option, or file and key, that gave a value."""
        files = [path for path, keys in self._files.items() if key in keys]
        if files and key not in self._typed:
            return f"{files[-1]}: {key}"
        return next(
            (a.option_strings[0] for a in self._actions if a.dest == key and a.option_strings), key
        )


def _plain(value: Any) -> Any:
    """Built-in numbers for those of jsonargparse, which other processes cannot unpickle."""
    if isinstance(value, list):
        return [_plain(v) for v in value]
    for kind in (int, float):
        if isinstance(value, kind) and type(value) not in (kind, bool):
            return kind(value)
    return value


def _similar(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.7)
    return f". Similar: {', '.join(near)}" if near else ""


# A refused value in jsonargparse's messages.
_VALUE = (
    r"(?:Got value|Given value): (.*)|Not of type \w+: "
    r"(?:invalid literal .*: '(.*)'|could not .*: '(.*)'|(.*?) (?:does not|not an?) .*)"
)
_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
_SIGNS = {"gt": "above", "ge": "of at least", "lt": "below", "le": "at most"}


def _words(kind: Any) -> str:
    """Type of an option in words."""
    if get_origin(kind) is Literal:
        choices = ", ".join(map(str, get_args(kind)))
        return f"one of {choices}" if len(get_args(kind)) > 1 else choices
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(map(_words, get_args(kind)))
    if get_origin(kind) in (list, tuple):
        return "a list"
    if kind in (None, type(None)):
        return "null"
    if hasattr(kind, "_restrictions"):  # jsonargparse's restricted numbers
        limits = [f"{_SIGNS[sign.__name__]} {limit}" for sign, limit in kind._restrictions]
        return f"{_WORDS[kind._type]} {' and '.join(limits)}"
    return _WORDS.get(kind) or str(getattr(kind, "__name__", kind))


def number(kind: type, low: float, high: float | None = None) -> Any:
    """``type`` of an option for a number from ``low`` to ``high``."""
    limits = [(">=", low)] if high is None else [(">=", low), ("<=", high)]
    return restricted_number_type(None, kind, limits)


Layer = int | Literal["last"]  # layer of a teacher; 0: embeddings
