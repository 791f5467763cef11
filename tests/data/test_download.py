"""Archives of a corpus: what arrives is whole and is what it should be, or nothing is there."""

import gzip
import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gmot.common import GmotError
from gmot.data import download
from gmot.data.download import obtain, read_checksums, unpack


def archive(members) -> bytes:
    """A .tgz of (name or TarInfo, content)."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:gz") as tar:
        for member, content in members:
            if isinstance(member, str):
                member = tarfile.TarInfo(member)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return output.getvalue()


NOISE = bytes(hashlib.sha256(bytes([i % 256, i // 256])).digest()[0] for i in range(50000))
INNER = archive([("train/a/1.wav", b"one"), ("train/a/2.wav", NOISE)])
GOOD = archive(
    [("data/text", "一 二\n".encode()), ("./data/wav/a.tar.gz", INNER), ("data/wav/b", b"b")]
)


def files(folder: Path):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


UNPACKED = {
    "text": "一 二\n".encode(),
    "wav/b": b"b",
    "wav/train/a/1.wav": b"one",
    "wav/train/a/2.wav": NOISE,
}


def test_an_archive_and_those_inside_it(tmp_path):
    (tmp_path / "data.tgz").write_bytes(GOOD)
    unpack(tmp_path / "data.tgz", tmp_path / "out" / "data")
    assert files(tmp_path / "out" / "data") == UNPACKED


def link(name, target, kind=tarfile.SYMTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "content, message",
    [
        (archive([("data/a", b"a"), ("data/../../evil", b"e")]), "'data/../../evil' leaves"),
        (archive([("/tmp/evil", b"e")]), "'/tmp/evil' leaves the folder"),
        (archive([("data/a", b"a"), ("other/b", b"b")]), "'other/b' is not in 'data/'"),
        (archive([(link("data/out", "/etc"), b"")]), "'data/out' is neither file nor folder"),
        (archive([(link("data/a", "b", tarfile.LNKTYPE), b"")]), "neither file nor folder"),
        (archive([(link("data/p", "", tarfile.FIFOTYPE), b"")]), "neither file nor folder"),
        (archive([("data/a", b"1"), ("data/a", b"2")]), "two files of the name"),
        (archive([("data/a.tgz", archive([("../evil", b"e")]))]), "a.tgz: '../evil' leaves"),
        (archive([("data/a.tgz", INNER[:-2000])]), "a.tgz: cut off or damaged"),
        (archive([("data/a.tgz", INNER), ("data/train/a/1.wav", b"")]), "two files of the name"),
        (GOOD[: len(GOOD) // 2], "data.tgz: cut off or damaged"),
        (GOOD[:-8], "cut off or damaged"),  # all the files, not gzip's checksum
        (GOOD[:-4] + b"\0\0\0\0", "cut off or damaged"),
        (gzip.compress(gzip.decompress(GOOD)[:30000]), "cut off or damaged"),
        (b"not an archive", "cut off or damaged"),
        (b"", "cut off or damaged"),
    ],
)
def test_nothing_of_a_bad_archive_is_kept(tmp_path, content, message):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data.tgz").write_bytes(content)
    with pytest.raises(GmotError) as error:
        unpack(tmp_path / "in" / "data.tgz", tmp_path / "out" / "data")
    assert message in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []
    assert not list(tmp_path.rglob("evil"))


@pytest.fixture
def folder(tmp_path):
    """Archives with their checksums in a folder of their own."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data.tgz").write_bytes(GOOD)
    (tmp_path / "sums").write_text(f"# two\n{md5(GOOD)}  data.tgz\n", encoding="utf-8")
    return tmp_path


def md5(content):
    return hashlib.md5(content).hexdigest()


def fetch(folder, **options):
    options = {"archive_dir": folder / "in", "mirror": "", **options}
    return obtain(["data.tgz"], folder / "sums", corpus_dir=folder / "out", **options)


def test_what_is_unpacked_is_not_unpacked_again(folder):
    assert fetch(folder) == [folder / "out" / "data"]
    (folder / "in" / "data.tgz").unlink()  # not needed any more
    (folder / "out" / "data" / "mark").touch()
    fetch(folder)
    assert (folder / "out" / "data" / "mark").exists()
    # Archives of another content are another corpus.
    other = archive([("data/new", b"new")])
    (folder / "in" / "data.tgz").write_bytes(other)
    (folder / "in" / "md5sum.txt").write_text(f"{md5(other)} *data.tgz\n")
    fetch(folder)
    assert files(folder / "out" / "data") == {"new": b"new"}


def test_a_folder_without_its_stamp_is_not_trusted(folder):
    """Left by a kill between the two, or by hand."""
    (folder / "out" / "data").mkdir(parents=True)
    (folder / "out" / "data" / "half").touch()
    fetch(folder)
    assert files(folder / "out" / "data") == UNPACKED


def test_a_wrong_checksum_is_an_error_and_nothing_is_unpacked(folder):
    (folder / "in" / "data.tgz").write_bytes(GOOD[:-5])
    with pytest.raises(GmotError, match=f"MD5 {md5(GOOD[:-5])}, expected {md5(GOOD)}"):
        fetch(folder)
    assert not (folder / "out").exists()
    assert (folder / "in" / "data.tgz").exists()  # it is the user's


def test_a_missing_archive_and_a_missing_mirror_are_errors(folder):
    (folder / "in" / "data.tgz").unlink()
    with pytest.raises(GmotError, match="neither data/ nor data.tgz in"):
        fetch(folder)
    with pytest.raises(GmotError, match="no such folder"):
        fetch(folder, mirror=str(folder / "nowhere"))
    (folder / "sums").write_text("")
    with pytest.raises(GmotError, match="empty"):
        fetch(folder)
    (folder / "sums").write_text(f"{md5(b'')}  other.tgz\n")
    with pytest.raises(GmotError, match="says nothing of data.tgz"):
        fetch(folder)
    (folder / "sums").write_text("data.tgz: good\n")
    with pytest.raises(GmotError, match="'data.tgz: good', expected 'MD5  NAME'"):
        read_checksums(folder / "sums")


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_local_mirror_is_read_in_place(folder, form):
    fetch(folder, archive_dir=folder / "own", mirror=form.format(folder / "in"))
    assert files(folder / "out" / "data") == UNPACKED
    assert not (folder / "own").exists()


class Server:
    """Serves one archive by HTTP and misbehaves as it is told."""

    def __init__(self, content=GOOD):
        self.content = content
        self.ranges = True  # may be asked for the rest of a file
        self.cut_after = []  # bytes after which the connection breaks, request by request
        self.status = 200
        self.requests = []  # (path, Range)

    def __enter__(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                wanted = self.headers.get("Range")
                server.requests.append((self.path, wanted))
                if server.status != 200:
                    self.send_error(server.status)
                    return
                start = int(wanted.split("=")[1].rstrip("-")) if wanted and server.ranges else 0
                if start >= len(server.content):
                    self.send_error(416)
                    return
                self.send_response(206 if start else 200)
                body = server.content[start:]
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                cut = server.cut_after.pop(0) if server.cut_after else None
                self.wfile.write(body[:cut])

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
def quick(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)


def test_a_download_goes_on_where_it_broke_off(folder, quick):
    (folder / "in" / "data.tgz").unlink()
    with Server() as server:
        server.cut_after = [1000, 500]
        fetch(folder, mirror=server.url + "/")
    assert server.requests == [
        ("/33/data.tgz", None),
        ("/33/data.tgz", "bytes=1000-"),
        ("/33/data.tgz", "bytes=1500-"),
    ]
    assert files(folder / "out" / "data") == UNPACKED
    assert (folder / "in" / "data.tgz").read_bytes() == GOOD
    assert not list(folder.rglob("*.part"))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_later_run_goes_on_with_what_an_earlier_one_fetched(folder, quick, ranges):
    (folder / "in" / "data.tgz").unlink()
    with Server() as server:
        server.cut_after = [700] + [0] * 10
        with pytest.raises(GmotError, match="run the same command again to go on"):
            fetch(folder, mirror=server.url)
        assert (folder / "in" / "data.tgz.part").read_bytes() == GOOD[:700]
        assert not (folder / "out").exists()
        server.cut_after, server.requests, server.ranges = [], [], ranges
        fetch(folder, mirror=server.url)
        assert server.requests == [("/33/data.tgz", "bytes=700-")]
    assert files(folder / "out" / "data") == UNPACKED


def test_a_whole_part_needs_no_more_bytes(folder, quick):
    (folder / "in" / "data.tgz").rename(folder / "in" / "data.tgz.part")
    with Server() as server:
        fetch(folder, mirror=server.url)
    assert files(folder / "out" / "data") == UNPACKED


def test_something_else_than_was_asked_for_is_deleted(folder, quick):
    (folder / "in" / "data.tgz").unlink()
    with Server(b"<html>log in first</html>") as server:
        with pytest.raises(GmotError, match=f"expected {md5(GOOD)}. It is deleted"):
            fetch(folder, mirror=server.url)
        assert files(folder / "in") == {}
        server.content = GOOD
        fetch(folder, mirror=server.url)
    assert files(folder / "out" / "data") == UNPACKED


def test_refusals_of_a_server(folder, quick):
    (folder / "in" / "data.tgz").unlink()
    with Server() as server:
        server.status = 404
        with pytest.raises(GmotError, match="the server answers 404"):
            fetch(folder, mirror=server.url)
        assert len(server.requests) == 1
        server.status = 503
        with pytest.raises(GmotError, match="503"):
            fetch(folder, mirror=server.url)
        assert len(server.requests) == 1 + download.TRIES
    with pytest.raises(GmotError, match="URLError"):
        fetch(folder, mirror=server.url)  # gone
    with pytest.raises(GmotError, match="unknown url type|not a URL"):
        fetch(folder, mirror="htp://x")
