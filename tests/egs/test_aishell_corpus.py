"""Stages 0 and 1 of egs/aishell: archives, a mirror, folders that are only read."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs" / "aishell"
TRANSCRIPT = "data_aishell/transcript/aishell_transcript_v0.8.txt"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The tree, unpacked and as archives."""
    folder = tmp_path_factory.mktemp("aishell")
    sample = folder / "sample"
    sample.mkdir()
    random = np.random.default_rng(0)
    for i in range(8):
        soundfile.write(sample / f"u{i}.flac", 0.1 * random.normal(size=8000), 16000)
    text = "".join(f"u{i}\t今天天气{'好热'[i % 2]}\n" for i in range(8))
    (sample / "transcripts.tsv").write_text(text, encoding="utf-8")
    for name, options in (("tree", []), ("archives", ["--archives"])):
        subprocess.run(
            [
                *(sys.executable, str(ROOT / "tests/aishell/make_tree.py"), *options),
                *("--sample", str(sample), "--output", str(folder / name)),
                *("--num-utterances", "4", "2", "2"),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
    return folder


@pytest.fixture
def prepare(tmp_path):
    """Run stages 0 and 1 with a data folder of the test's own."""

    def run(*options, stop_stage=1):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [
                *("bash", str(RECIPE / "prepare.sh"), "--venv", "none"),
                *("--data-dir", str(tmp_path / "data"), "--stop-stage", str(stop_stage)),
                *map(str, options),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "RETRY_SECONDS": "0"},
            timeout=120,
        )

    return run


def manifests(tmp_path):
    return sorted(p.name for p in (tmp_path / "data" / "manifests").glob("*.gz"))


ALL = sorted(
    f"aishell_{kind}_{part}.jsonl.gz"
    for kind in ("recordings", "supervisions")
    for part in ("train", "dev", "test")
)


def state(folder):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(folder.rglob("*"))}


def test_an_unpacked_corpus_is_only_read(made, prepare, tmp_path):
    before = state(made / "tree")
    done = prepare("--corpus-dir", made / "tree")
    assert done.returncode == 0, done.stderr
    assert manifests(tmp_path) == ALL
    assert state(made / "tree") == before
    assert not (tmp_path / "data" / "corpus").exists()
    assert prepare("--corpus-dir", made / "tree").stderr.count("up to date") == 2


def test_archives_are_unpacked_into_the_data_folder(made, prepare, tmp_path):
    before = state(made / "archives")
    done = prepare("--corpus-dir", os.path.relpath(made / "archives", tmp_path))
    assert done.returncode == 0, done.stderr
    assert "archives/md5sum.txt" in done.stderr  # not the official checksums
    assert manifests(tmp_path) == ALL
    assert state(made / "archives") == before
    unpacked = tmp_path / "data" / "corpus"
    assert (unpacked / TRANSCRIPT).read_bytes() == (made / "tree" / TRANSCRIPT).read_bytes()
    assert not list(unpacked.rglob("*.gz"))
    shutil.rmtree(tmp_path / "data" / ".stages")  # unpacked once, without a marker too
    times = state(unpacked)
    assert prepare("--corpus-dir", made / "archives", stop_stage=0).returncode == 0
    assert state(unpacked) == times


def test_archives_that_are_not_the_official_ones_are_refused(made, prepare, tmp_path):
    shutil.copytree(made / "archives", tmp_path / "in")
    (tmp_path / "in" / "md5sum.txt").unlink()
    done = prepare("--corpus-dir", tmp_path / "in")
    assert done.returncode == 1
    assert "2f494334227864a8a8fec932999db9d8" in done.stderr  # expected
    assert (
        hashlib.md5((tmp_path / "in" / "data_aishell.tgz").read_bytes()).hexdigest() in done.stderr
    )
    assert not list((tmp_path / "data").glob("corpus/*"))
    assert (tmp_path / "in" / "data_aishell.tgz").exists()  # the user's


def test_a_truncated_archive_whose_checksum_is_right(made, prepare, tmp_path):
    """As if it had been truncated before it was listed."""
    shutil.copytree(made / "archives", tmp_path / "in")
    archive = tmp_path / "in" / "data_aishell.tgz"
    archive.write_bytes(archive.read_bytes()[:-3000])
    sums = (tmp_path / "in" / "md5sum.txt").read_text().splitlines()
    sums[0] = f"{hashlib.md5(archive.read_bytes()).hexdigest()}  {archive.name}"
    (tmp_path / "in" / "md5sum.txt").write_text("\n".join(sums) + "\n")
    done = prepare("--corpus-dir", tmp_path / "in")
    assert done.returncode == 1
    assert str(archive) in done.stderr
    assert "Stage 0" in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "data" / "corpus").iterdir())


def test_changed_transcripts_and_audio_are_noticed(made, prepare, tmp_path):
    """B22, and another corpus in the same data folder."""
    shutil.copytree(made / "tree", tmp_path / "tree")
    assert prepare("--corpus-dir", tmp_path / "tree", stop_stage=2).returncode == 0
    transcript = tmp_path / "tree" / TRANSCRIPT
    transcript.write_text(
        transcript.read_text(encoding="utf-8").replace("热", "冷"), encoding="utf-8"
    )

    def stages(*options):
        lines = prepare("--corpus-dir", *options, stop_stage=2).stderr.splitlines()
        return [n for n in "012" for line in lines if f"Stage {n}" in line and "again" in line]

    assert stages(tmp_path / "tree") == ["1", "2"]
    assert stages(tmp_path / "tree") == []
    wav = next((tmp_path / "tree" / "data_aishell" / "wav" / "dev").rglob("*.wav"))
    size = wav.stat().st_size
    soundfile.write(wav, np.zeros(8000), 16000)
    assert wav.stat().st_size == size
    assert stages(tmp_path / "tree", "--stage", "2") == ["2"]
    assert stages(made / "archives") == ["0", "1", "2"]


def test_the_published_size_is_checked(made, prepare):
    done = prepare("--corpus-dir", made / "tree", stop_stage=3)
    assert done.returncode == 0, done.stderr
    assert "120,098" in done.stderr and "104,765" in done.stderr
    done = prepare("--corpus-dir", made / "tree", "--strict", stop_stage=3)
    assert done.returncode == 1
    assert "120,098" in done.stderr


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda tree: shutil.rmtree(tree / "data_aishell"), "data_aishell.tgz"),
        (lambda tree: shutil.rmtree(tree / "data_aishell/wav/dev"), "wav/dev"),
        (lambda tree: (tree / TRANSCRIPT).unlink(), "transcript"),
    ],
)
def test_missing_parts_of_a_corpus_are_named(made, prepare, tmp_path, damage, named):
    shutil.copytree(made / "tree", tmp_path / "tree")
    damage(tmp_path / "tree")
    done = prepare("--corpus-dir", tmp_path / "tree")
    assert done.returncode == 1
    assert named in done.stderr
    assert "Stage 1" not in done.stderr


def test_the_inner_folder_is_recognised(made, prepare):
    done = prepare("--corpus-dir", made / "tree" / "data_aishell")
    assert done.returncode == 1
    assert "--corpus-dir" in done.stderr


class Server:
    """HTTP server of the archives, with faults."""

    def __init__(self, folder):
        self.folder = folder
        self.ranges = True  # resuming is possible
        self.cut_after = []  # bytes after which connections break
        self.status = 200
        self.requests = []  # (name, first byte)

    def __enter__(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rsplit("/", 1)[1]
                wanted = self.headers.get("Range", "bytes=0-")
                start = int(wanted.split("=")[1].rstrip("-"))
                server.requests.append((name, start))
                content = (server.folder / name).read_bytes()
                start = start if server.ranges else 0
                if server.status != 200 or start >= len(content):
                    self.send_error(server.status if server.status != 200 else 416)
                    return
                self.send_response(206 if start else 200)
                if start:
                    whole = len(content)
                    self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                cut = server.cut_after.pop(0) if server.cut_after else None
                self.wfile.write(content[start:][:cut])

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/33"
        return self

    def __exit__(self, *error):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def download(made, prepare, tmp_path):
    """Stage 0 into an empty folder ``own``."""
    (tmp_path / "own").mkdir()

    def run(url):
        return prepare(
            *("--corpus-dir", tmp_path / "own", "--mirror", url),
            *("--checksums", made / "archives" / "md5sum.txt"),
            stop_stage=0,
        )

    return run


def unpacked(made, tmp_path):
    transcript = tmp_path / "data" / "corpus" / TRANSCRIPT
    return (
        transcript.is_file()
        and transcript.read_bytes() == (made / "tree" / TRANSCRIPT).read_bytes()
    )


def test_a_mirror_may_be_a_file_url(made, download, tmp_path):
    done = download(f"file://{made / 'archives'}")
    assert done.returncode == 0, done.stderr
    assert unpacked(made, tmp_path)


def test_a_download_is_resumed(made, download, tmp_path):
    with Server(made / "archives") as server:
        server.cut_after = [1000, 500, *[100] * 8]  # each with progress
        done = download(server.url + "/")
    assert done.returncode == 0, done.stderr
    assert server.requests[:3] == [("data_aishell.tgz", start) for start in (0, 1000, 1500)]
    assert unpacked(made, tmp_path)
    assert not list((tmp_path / "own").glob("*.part"))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_later_run_continues_what_an_earlier_one_downloaded(made, download, tmp_path, ranges):
    with Server(made / "archives") as server:
        server.cut_after = [700] + [0] * 10
        done = download(server.url)
        assert done.returncode == 1
        part = tmp_path / "own" / "data_aishell.tgz.part"
        assert part.stat().st_size == 700
        server.cut_after, server.requests, server.ranges = [], [], ranges
        done = download(server.url)
        assert done.returncode == 0, done.stderr
        assert server.requests[0] == ("data_aishell.tgz", 700)
    assert unpacked(made, tmp_path)


def test_a_complete_part_needs_no_more_bytes(made, download, tmp_path):
    for name in ("data_aishell.tgz", "resource_aishell.tgz"):
        shutil.copy(made / "archives" / name, tmp_path / "own" / f"{name}.part")
    with Server(made / "archives") as server:
        assert download(server.url).returncode == 0
    assert server.requests == []
    assert unpacked(made, tmp_path)


def test_a_part_that_cannot_be_continued_is_downloaded_again(made, download, tmp_path):
    """Longer than the archive: the server answers 416."""
    (tmp_path / "own" / "data_aishell.tgz.part").write_bytes(bytes(10**6))
    with Server(made / "archives") as server:
        assert download(server.url).returncode == 0
    assert server.requests[:2] == [("data_aishell.tgz", 10**6), ("data_aishell.tgz", 0)]
    assert unpacked(made, tmp_path)


def test_a_download_with_another_checksum_is_deleted(made, download, tmp_path):
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "data_aishell.tgz").write_text("<html>log in first</html>")
    with Server(tmp_path / "wrong") as server:
        done = download(server.url)
        assert done.returncode == 1
        assert hashlib.md5(b"<html>log in first</html>").hexdigest() in done.stderr
        assert list((tmp_path / "own").iterdir()) == []
        server.folder = made / "archives"
        assert download(server.url).returncode == 0
    assert unpacked(made, tmp_path)


@pytest.mark.parametrize("status", [404, 503])
def test_refusals_of_a_server(made, download, status):
    with Server(made / "archives") as server:
        server.status = status
        done = download(server.url)
    assert done.returncode == 1
    assert str(status) in done.stderr and server.url in done.stderr
    assert len(server.requests) == (1 if status == 404 else 5)
