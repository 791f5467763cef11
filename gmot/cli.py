"""How the scripts of ``local/`` are started: options, config files, errors.

A script defines ``get_parser()`` with :class:`ArgumentParser`, imports the
library inside ``main()`` (so that ``--help`` is instant) and ends with
``run(main)``.
"""

import argparse
import logging
import math
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, NoReturn, Optional, Tuple, Union

from gmot.common import GmotError, setup_logging


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults, but not the empty ones."""

    def _get_help_string(self, action: argparse.Action) -> Optional[str]:
        if action.default in (None, [], ()):
            return action.help
        return super()._get_help_string(action)


class ArgumentParser(argparse.ArgumentParser):
    """argparse with ``--config FILE.yaml [FILE.yaml ...]``: files fill options by name.

    Keys are option names, dashes or underscores alike. An unknown key is an
    error. A later file wins over those before it, and the command line over all
    (see :func:`load_config`).
    """

    def __init__(self, *args: Any, with_config: bool = False, **kwargs: Any):
        kwargs.setdefault("formatter_class", _Formatter)
        # An abbreviation that works today breaks when an option is added.
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)
        self.with_config = with_config
        if with_config:
            self.add_argument(
                "--config",
                metavar="FILE.yaml",
                nargs="+",
                help="fills the options it names; of several files the later ones win",
            )

    def parse_args(self, args: Optional[List[str]] = None, namespace=None):  # type: ignore[override]
        args = sys.argv[1:] if args is None else list(args)
        if self.with_config:
            first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
            first.add_argument("--config", nargs="+", default=[])
            # Config values go first and are parsed like typed ones, so the
            # same checks hold and what comes later wins.
            for config in reversed(first.parse_known_args(args)[0].config):
                args = self._config_arguments(config) + args
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Exit with one line, as for a :class:`GmotError`; the usage is what ``--help`` prints."""
        self.exit(2, f"error: {message} ({self.prog} --help lists the options)\n")

    def _config_arguments(self, path: str) -> List[str]:
        arguments: List[str] = []
        for key, value in load_config(path).items():
            option = "--" + str(key).replace("_", "-")
            action = self._option_string_actions.get(option)
            if action is None or option in ("--config", "--help"):
                known = sorted(o for o in self._option_string_actions if o.startswith("--"))
                self.error(
                    f"{path}: unknown key '{key}'. Known: " + ", ".join(o[2:] for o in known)
                )
            if action.nargs == 0:
                self.error(f"{path}: key '{key}' cannot stand in a config file")
            values = value if isinstance(value, list) else [value]
            if value is None:
                continue
            if action.nargs in ("*", "+"):
                arguments += [option, *map(str, values)]
            else:
                arguments.append(f"{option}={values[0] if len(values) == 1 else value}")
        return arguments


def load_config(path: str, inherits: Tuple[str, ...] = ()) -> Dict[str, Any]:
    """Read a YAML mapping.

    With ``base: FILE`` in it (relative to its own folder), it is what FILE says
    but for the keys it names itself.

    Args:
      path: of the file.
      inherits: files that build on this one.
    Raises:
      GmotError: a file is missing, is not YAML, is not a mapping, or builds on itself.
    """
    import yaml

    try:
        with open(path, encoding="utf-8") as f:
            config = yaml.safe_load(f)
    except OSError as error:
        raise GmotError(f"{path}: {error.strerror}. Give an existing file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GmotError(f"{path}: not valid YAML: {error}") from None
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise GmotError(f"{path}: expected 'option: value' lines, found a {type(config).__name__}")
    if "base" not in config:
        return config
    base = str(Path(path).parent / str(config.pop("base")))
    if base in (path, *inherits):
        raise GmotError(f"{path}: 'base: {base}' leads back to it. Remove one of them.")
    return {**load_config(base, (path, *inherits)), **config}


def number(
    kind: Callable[[str], float], low: float, high: float = math.inf, above: bool = False
) -> Callable[[str], float]:
    """The ``type`` of an option that takes a number of a range.

    Args:
      kind: int or float.
      low: smallest value.
      high: largest value.
      above: the value must be larger than ``low``.
    """
    bounds = [f"above {low:g}" if above else f"at least {low:g}"]
    if high < math.inf:
        bounds.append(f"at most {high:g}")
    expected = (
        f"a number {' and '.join(bounds)}"
        if kind is float
        else f"an integer {' and '.join(bounds)}"
    )

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and low <= value <= high) or (above and value == low):
            raise argparse.ArgumentTypeError(f"expected {expected}, found '{text}'")
        return value

    return parse


def str2bool(value: str) -> bool:
    """``true/false``, ``1/0``, ``yes/no``, as icefall's users write them."""
    lowered = str(value).lower()
    if lowered in ("1", "true", "yes", "y", "t"):
        return True
    if lowered in ("0", "false", "no", "n", "f"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, found '{value}'")


def layer(value: str) -> Union[int, str]:
    """Layer of a teacher: a number (0: the embeddings), or ``last`` (also for an empty value)."""
    if value in ("", "last"):
        return "last"
    if not value.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number or 'last', found '{value}'")
    return int(value)


def run(main: Callable[[], Any]) -> None:
    """Run a script's ``main``; errors that the user can mend become one clear line."""
    setup_logging()
    try:
        main()
    except BrokenPipeError:
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; run the same command to go on", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        message = _explain(error)
        if message is None:
            raise
        logging.getLogger("gmot").debug("traceback", exc_info=True)
        print(f"error: {message}", file=sys.stderr)
        sys.exit(1)


def _explain(error: Exception) -> Optional[str]:
    """What to say of an exception; None of a fault of the program's own."""
    if isinstance(error, GmotError):
        return str(error)
    found = " ".join(str(error).split())
    if isinstance(error, ImportError) and not (error.name or "").startswith("gmot"):
        return (
            f"{error.name or 'a package'} cannot be imported ({found}). Install what "
            "'python local/check_environment.py' finds missing: bash shared/environment.sh"
        )
    if isinstance(error, MemoryError):
        return f"out of memory ({found}). Use fewer processes or smaller batches."
    if isinstance(error, OSError):
        if error.filename is None:
            return f"{type(error).__name__}: {found}"
        return f"{error.filename}: {error.strerror}. Check the path, its rights and the disk."
    if isinstance(error, RuntimeError) and "DataLoader worker" in found:
        return (
            f"a loading process was killed, most often because memory was short ({found}). "
            "Use a smaller --num-workers; the same command goes on."
        )
    return None
