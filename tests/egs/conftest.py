"""Scripts of the recipes, run in this process."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def recipe_script(monkeypatch):
    """Function that loads ``egs/<recipe>/local/<name>.py`` and runs its ``main``.

    Without options it only returns the module.
    """

    def call(recipe, name, *options):
        folder = ROOT / "egs" / recipe / "local"
        monkeypatch.syspath_prepend(str(folder))
        spec = importlib.util.spec_from_file_location(f"{recipe}_{name}", folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        if options:
            monkeypatch.setattr(sys, "argv", [name, *map(str, options)])
            module.main()
        return module

    return call
