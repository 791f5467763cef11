"""Entry points: one module per command, run by ``local/COMMAND.py`` and ``gmot COMMAND``."""

import ast
import importlib
import sys
from pathlib import Path

from gmot.common import run


def commands() -> dict[str, str]:
    """Summary of each command: first line of its module's docstring, read without import."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path.stem] = text.split("\n")[0]
    return found


def run_command(name: str) -> None:
    """Run a command with the options in ``sys.argv``."""
    run(lambda: importlib.import_module(f"gmot.bin.{name}").main())


def main() -> None:
    """Console script ``gmot COMMAND [OPTIONS]``."""
    known, given = commands(), sys.argv[1:]
    if not given or given[0] in ("-h", "--help"):
        print("usage: gmot COMMAND [OPTIONS]; gmot COMMAND --help lists the options\n")
        for name, summary in known.items():
            print(f"  {name.ljust(max(map(len, known)))}  {summary}")
        sys.exit(0 if given else 2)
    name = given[0].replace("-", "_")
    if name not in known:
        print(f"error: unknown command {given[0]}; gmot --help lists them", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"gmot {name}", *given[1:]]
    run_command(name)
