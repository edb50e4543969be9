"""Images from files and from a server that behaves well, or not."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.images import fetch as fetching
from onestack.images.fetch import cached, fetch, image_format
from onestack.model.errors import BadAnswers, OnestackError

IMAGE = b"QFI\xfb" + b"image" * 500_000


class Server(http.server.ThreadingHTTPServer):
    asked: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path == "/gone.qcow2":
            self.send_error(404)
            return
        if self.path == "/busy.qcow2" and len(self.server.asked) < 3:
            self.send_error(503)
            return
        page = self.path == "/page.qcow2"
        body = b"<!DOCTYPE html><p>Not here" if page else IMAGE
        self.send_response(200)
        missing = 1000 if self.path == "/cut.qcow2" else 0
        self.send_header("Content-Length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PAUSES", (0.0, 0.0))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_download_happens_once(server: Server, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    for _ in range(2):
        path = fetch(f"{server.url}/a.qcow2", tmp_path, progress=lambda *s: steps.append(s))
    assert path.read_bytes() == IMAGE
    assert path.name.endswith("-a.qcow2")
    assert server.asked == ["/a.qcow2"]
    assert steps[-1] == (len(IMAGE), len(IMAGE))
    assert image_format(path) == "qcow2"
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".") and p.suffix != ".lock"]


def test_different_urls_are_different_files(server: Server, tmp_path: Path) -> None:
    one, two = (fetch(f"{server.url}/{v}/disk.qcow2", tmp_path) for v in "12")
    assert one != two


def test_the_checksum_holds(server: Server, tmp_path: Path) -> None:
    right = hashlib.sha256(IMAGE).hexdigest()
    path = fetch(f"{server.url}/a.qcow2", tmp_path, right.upper())
    path.write_bytes(b"QFI\xfbdamaged")
    assert fetch(f"{server.url}/a.qcow2", tmp_path, right).read_bytes() == IMAGE
    with pytest.raises(OnestackError, match="not the one that was meant"):
        fetch(f"{server.url}/a.qcow2", tmp_path, "0" * 64)
    assert path.read_bytes() == IMAGE


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("gone.qcow2", "404"),
        ("cut.qcow2", "of .* bytes|connection broke"),
        ("page.qcow2", "web page"),
    ],
)
def test_a_bad_answer_leaves_nothing(
    server: Server, tmp_path: Path, path: str, sentence: str
) -> None:
    with pytest.raises(OnestackError) as caught:
        fetch(f"{server.url}/{path}", tmp_path)
    assert caught.match(sentence)
    assert caught.value.cure
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".lock"]


def test_what_broke_on_the_way_is_tried_again(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/busy.qcow2"
    assert not cached(url, tmp_path)
    assert fetch(url, tmp_path).read_bytes() == IMAGE
    assert cached(url, tmp_path)
    assert server.asked == ["/busy.qcow2"] * 3
    server.asked.clear()
    with pytest.raises(OnestackError):
        fetch(f"{server.url}/cut.qcow2", tmp_path)
    assert len(server.asked) == 3
    server.asked.clear()
    with pytest.raises(OnestackError):
        fetch(f"{server.url}/gone.qcow2", tmp_path)
    assert len(server.asked) == 1


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(OnestackError, match=r"cannot be fetched from http://127\.0\.0\.1:1/x"):
        fetch("http://127.0.0.1:1/x", tmp_path)


def test_no_password_in_an_error(tmp_path: Path) -> None:
    with pytest.raises(OnestackError) as caught:
        fetch("http://me:hidden@127.0.0.1:1/x", tmp_path)
    assert "hidden" not in str(caught.value)


def test_files(tmp_path: Path) -> None:
    image = tmp_path / "with space.img"
    image.write_bytes(IMAGE)
    assert fetch(str(image), tmp_path / "cache") == image
    assert fetch(image.as_uri(), tmp_path / "cache") == image
    with pytest.raises(OnestackError, match="not the one"):
        fetch(str(image), tmp_path, "1" * 64)


@pytest.mark.parametrize("source", ["", "no/such.img", "ftp://host/x", "http:///x"])
def test_what_cannot_be_meant(tmp_path: Path, source: str) -> None:
    with pytest.raises(BadAnswers):
        fetch(source, tmp_path)


def test_a_file_is_never_fetched_from_elsewhere(tmp_path: Path) -> None:
    assert cached(str(tmp_path / "gone.img"), tmp_path)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"KDMV", "vmdk"),
        (b"vhdxfile", "vhdx"),
        (bytes(0x40) + b"\x7f\x10\xda\xbe", "vdi"),
        (bytes(0x8001) + b"CD001", "iso"),
        (b"\xeb\x63\x90", "raw"),
    ],
)
def test_formats(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / "image").write_bytes(content)
    assert image_format(tmp_path / "image") == name


@pytest.mark.parametrize("content", [b"", b"\xfd7zXZ\0", b"\x1f\x8b", b"\n <html>"])
def test_no_disk_images(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image").write_bytes(content)
    with pytest.raises(OnestackError):
        image_format(tmp_path / "image")
