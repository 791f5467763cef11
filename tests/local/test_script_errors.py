"""Whatever is wrong with what a script is given, it says so in one line, without a traceback."""

import importlib.util
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from gmot.common import GmotError, explain

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = [
    path.relative_to(ROOT).as_posix()
    for pattern in ("local/*.py", "egs/*/local/*.py")
    for path in sorted(ROOT.glob(pattern))
    if "__main__" in path.read_text(encoding="utf-8")
]
# Every package beside the standard library, as far as scripts and gmot import any.
PACKAGES = (
    *("numpy", "scipy", "numba", "torch", "lhotse", "soundfile", "transformers", "tokenizers"),
    *("safetensors", "kaldialign", "tensorboard", "matplotlib", "yaml", "tqdm", "jieba"),
    *("pypinyin", "cn2an", "k2", "kaldilm", "onnxruntime", "kaldi_native_fbank", "geomloss"),
)
WITHOUT_INPUT = ("local/check_environment.py", "egs/mini/local/unpack_speech.py")


def parser_of(script, monkeypatch):
    path = ROOT / script
    if path.parent.name == "local" and path.parent.parent == ROOT:
        return importlib.import_module(f"gmot.bin.{path.stem}").get_parser()
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location("script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_parser()


def arguments(parser, value):
    """What the parser asks for, ``value`` for every text."""
    found = []

    def give(action):
        values = [value]
        if action.choices:
            values = [str(next(iter(action.choices)))]
        elif (kind := getattr(action, "_typehint", None) or action.type) is not None:
            values = ["true" if kind is bool else value if kind is str else "1"]
        if isinstance(action.nargs, int):
            values *= action.nargs
        found.extend([*action.option_strings[:1], *values])

    for action in parser._actions:
        if action.required or not action.option_strings:
            give(action)
    for group in parser._mutually_exclusive_groups:
        if group.required:
            give(group._group_actions[0])
    return found


@pytest.fixture
def run_here(tmp_path, monkeypatch, capsys):
    """Run a script in this process, which has torch and lhotse: status and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("logging.basicConfig", lambda **options: None)

    def run(script, *options):
        monkeypatch.syspath_prepend(str((ROOT / script).parent))
        monkeypatch.setattr(sys, "argv", [script, *options])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        return end.value.code, capsys.readouterr().err

    return run


def assert_one_line(status, said, expected=1):
    assert "Traceback" not in said, said
    assert status == expected, said
    assert "error: " in said.strip().splitlines()[-1]


def test_there_are_scripts_to_try():
    assert len(SCRIPTS) > 15


@pytest.mark.parametrize("kind", ["not/to/be/found", "folder", "garbage", "empty"])
@pytest.mark.parametrize("script", [s for s in SCRIPTS if s not in WITHOUT_INPUT])
def test_inputs_that_are_none(script, kind, run_here, tmp_path, monkeypatch):
    if (script, kind) == ("local/plan_experiments.py", "empty"):
        pytest.skip("an empty configuration has the default values")
    (tmp_path / "folder").mkdir()
    (tmp_path / "garbage").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "empty").write_bytes(b"")
    given = arguments(parser_of(script, monkeypatch), kind)
    status, said = run_here(script, *given)
    assert_one_line(status, said, expected=2 if status == 2 else 1)  # 2: a configuration


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_unknown_option(script, run_here, monkeypatch):
    given = arguments(parser_of(script, monkeypatch), "x")
    status, said = run_here(script, *given, "--no-such-option", "1")
    assert_one_line(status, said, expected=2)
    assert "--no-such-option" in said


@pytest.fixture
def run_without(tmp_path):
    """Run a script in a process of its own, which cannot import some packages."""

    def run(packages, script, *options):
        (tmp_path / "sitecustomize.py").write_text(
            f"import sys\nfor name in {packages!r}:\n    sys.modules[name] = None\n"
        )
        result = subprocess.run(
            [sys.executable, str(ROOT / script), *options],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return result.returncode, result.stderr

    return run


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s not in WITHOUT_INPUT])
def test_missing_packages(script, run_without, monkeypatch):
    """Without any package: the first one that the script needs is named, or its input is."""
    given = arguments(parser_of(script, monkeypatch), "not/to/be/found")
    assert_one_line(*run_without(PACKAGES, script, *given))


def test_a_missing_package_is_named_with_what_installs_it(run_without):
    given = ("--exp-dir", "x", "--lang-dir", "x", "--teacher", "x", "--fbank-dir", "x")
    status, said = run_without(("torch",), "local/train.py", *given, "--prefix", "x")
    assert_one_line(status, said)
    line = said.strip().splitlines()[-1]
    assert "torch cannot be imported" in line and "shared/environment.sh" in line


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (ModuleNotFoundError("No module named 'k2'", name="k2"), ["k2", "environment.sh"]),
        (ImportError("libcuda.so.1:\n cannot open"), ["libcuda.so.1: cannot open"]),
        (MemoryError("Unable to allocate 9 GiB"), ["memory", "9 GiB"]),
        (OSError(28, "No space left on device", "/disk/x"), ["/disk/x: No space left"]),
        (PermissionError(13, "Permission denied", "x"), ["x: Permission denied"]),
        (OSError("broken pipe of a friend"), ["OSError: broken pipe of a friend"]),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), ["pid 7"]),
    ],
)
def test_what_a_user_can_mend_is_told_on_one_line(error, facts):
    said = explain(error)
    assert all(fact in said for fact in facts) and "\n" not in said


@pytest.mark.parametrize(
    "error", [ValueError("x"), RuntimeError("x"), ImportError("x", name="gmot.data.none")]
)
def test_faults_of_the_program_keep_their_traceback(error):
    assert explain(error) is None


@pytest.mark.parametrize("content", [b'{"a":1}', b"[1,2]", b"{", b"\x00\xff\xfe"])
@pytest.mark.parametrize("name", ["toy_cmvn.json", "index.json", "tokens.txt", "lexicon.txt"])
def test_files_of_another_content_are_named(tmp_path, name, content):
    from gmot.data.features import load_cmvn
    from gmot.data.kaldi import read_table
    from gmot.teacher import FeatureStore
    from gmot.text.lexicon import Lexicon
    from gmot.text.tokens import TokenTable

    readers = {
        "toy_cmvn.json": lambda: load_cmvn(tmp_path, "toy"),
        "index.json": lambda: FeatureStore(tmp_path),
        "tokens.txt": lambda: TokenTable.load(tmp_path / name),
        "lexicon.txt": lambda: Lexicon.load(tmp_path / name),
    }
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GmotError, match=name):
        readers[name]()
    if b"\xff" in content:
        with pytest.raises(GmotError, match=name):
            read_table(tmp_path / name)


def test_an_error_of_a_loading_process_is_its_message_alone(tmp_path):
    """torch puts a traceback before what a loading process raises."""
    from audio import write_part

    from gmot.data.config import DataConfig
    from gmot.data.datamodule import AsrDataModule
    from gmot.data.features import compute_fbank
    from gmot.data.manifests import prepare_manifests

    write_part(tmp_path / "corpus" / "dev", [0.3, 0.4])
    prepare_manifests(tmp_path / "corpus", "toy", ["dev"], tmp_path / "m")
    compute_fbank("toy", "dev", tmp_path / "m", tmp_path / "f")
    data = AsrDataModule(tmp_path / "f", "toy", DataConfig(num_workers=1))
    batches = data.eval_dataloader("dev")
    (tmp_path / "f" / "toy_feats_dev" / "shard-000.f16").unlink()
    with pytest.raises(GmotError, match="^features of 'utt00.' cannot be read") as error:
        list(batches)
    assert "Traceback" not in str(error.value)
