"""An image by URL or file path, kept in the cache, and what kind of disk it is."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from onestack.host.command import Aborted
from onestack.kernel import locks
from onestack.model.errors import BadAnswers, OnestackError
from onestack.model.run import this_run

Progress = Callable[[int, int | None], None]
"""Called with the bytes that have arrived, and how many there will be if the server said."""

BLOCK = 1 << 20
SILENCE = 30.0
"""Seconds without a byte after which a server counts as gone."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further try when the way to the server failed, as apt has it."""

IMAGE = "the image"
"""What people are told of what is fetched, unless it is something else."""
MAGIC = (
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vhd"),
    (0x40, b"\x7f\x10\xda\xbe", "vdi"),
    (0x8001, b"CD001", "iso"),
)
"""Offset, bytes, and glance's name for the format."""
PACKED = (
    (b"\x1f\x8b", "gunzip"),
    (b"\xfd7zXZ\0", "unxz"),
    (b"BZh", "bunzip2"),
    (b"\x28\xb5\x2f\xfd", "unzstd"),
)


def fetch(source: str, cache: Path, sha256: str = "", progress: Progress | None = None) -> Path:
    """The image at ``source`` (a URL, or a file's path) as a local file.

    A download is kept in ``cache`` and not repeated while its ``sha256`` (when
    given, in hexadecimal) fits. Raises `BadAnswers` for a path or URL that
    cannot be meant, `OnestackError` when the server or the content is wrong.
    """
    check(source)
    path, remote = _place(source, cache)
    if not remote:
        _verify(path, sha256, source)
        image_format(path)
        return path
    cache.mkdir(parents=True, exist_ok=True)
    with locks.held(cache / f".{path.name}.lock"):
        if not path.exists() or (sha256 and _digest(path) != sha256.lower()):
            _download(source, path, sha256, progress)
    return path


def check(source: str) -> None:
    """Raises `BadAnswers` for what no image can be had from: a file that is not there, no URL."""
    path, remote = _place(source, Path())
    if not remote and not path.is_file():
        raise BadAnswers(
            f"there is no image at {path}",
            "it is neither a URL nor a file",
            "give an http(s) URL, or the absolute path of a file",
        )


def unknown_server(source: str) -> str:
    """The name of the server of an image by URL, if nobody here knows it; else nothing.

    Behind a proxy it is the proxy that has to know it.
    """
    url = urllib.parse.urlsplit(source)
    host = url.hostname or ""
    if not host or url.scheme not in ("http", "https"):
        return ""
    if url.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return ""
    try:
        socket.getaddrinfo(host, url.port or url.scheme)
    except (OSError, UnicodeError):
        return host
    return ""


def cached(source: str, cache: Path) -> bool:
    """Whether `fetch` needs nothing from elsewhere. Raises `BadAnswers` for what is no URL."""
    path, remote = _place(source, cache)
    return not remote or path.exists()


def local(source: str, cache: Path) -> Path:
    """Where the image is once it has been fetched. Raises as `cached`."""
    return _place(source, cache)[0]


def _place(source: str, cache: Path) -> tuple[Path, bool]:
    """Where the image is, or will be, and whether it comes from elsewhere."""
    url = urllib.parse.urlsplit(source)
    if url.scheme in ("", "file"):
        return Path(urllib.parse.unquote(url.path) if url.scheme else source), False
    if url.scheme not in ("http", "https") or not url.hostname:
        raise BadAnswers(
            f"{shown(source)} cannot be an image's place",
            "http://, https:// and file:// URLs and file paths are known",
            "give one of those",
        )
    return cache / _file_name(url), True


def image_format(path: Path) -> str:
    """Glance's name for the disk format of ``path``; ``raw`` when it has no mark.

    Raises `OnestackError` for what is surely no disk image: compressed, empty, a web page.
    """
    with path.open("rb") as file:
        head = file.read(0x8006)
    for offset, mark, name in MAGIC:
        if head[offset : offset + len(mark)] == mark:
            return name
    for mark, program in PACKED:
        if head.startswith(mark):
            raise OnestackError(
                f"{path} is compressed",
                "images are uploaded as instances read them",
                f"unpack it with {program}, and give the unpacked file",
            )
    start = head[:512].lstrip().lower()
    if not head or start.startswith((b"<!doctype html", b"<html")):
        raise OnestackError(
            f"{path} is no disk image",
            "it is a web page" if head else "it is empty",
            "check the URL in a browser: it must lead to the image itself",
        )
    return "raw"


def shown(url: str) -> str:
    """``url`` without a password in it."""
    return re.sub(r"//[^/@]*@", "//", url)


def _file_name(url: urllib.parse.SplitResult) -> str:
    """Readable, and different for different URLs."""
    digest = hashlib.sha256(url.geturl().encode()).hexdigest()[:12]
    last = re.sub(r"[^A-Za-z0-9._-]", "_", url.path.rsplit("/", 1)[-1])[-80:]
    return f"{digest}-{last or 'image'}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(path: Path, sha256: str, source: str, noun: str = IMAGE) -> None:
    found = _digest(path) if sha256 else ""
    if found != sha256.lower():
        raise OnestackError(
            f"{noun} from {shown(source)} is not the one that was meant",
            f"its SHA-256 is {found}, not {sha256}",
            "get it anew, or correct the checksum",
        )


def download(source: str, path: Path, sha256: str) -> None:
    """What is at the URL ``source``, whatever it is, to ``path``: whole, or not at all.

    Raises `OnestackError` when the server or the content is wrong.
    """
    _download(source, path, sha256, None, lambda _: None, path.name)


def _download(
    source: str,
    path: Path,
    sha256: str,
    progress: Progress | None,
    examine: Callable[[Path], object] = image_format,
    noun: str = IMAGE,
) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as target:
            os.fchmod(target.fileno(), 0o644)
            _persistently(source, target, progress, noun)
            target.flush()
            os.fsync(target.fileno())
        _verify(temporary, sha256, source, noun)
        examine(temporary)
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class _OnTheWay(OnestackError):
    """Neither the request nor the answer was wrong: the network, or the server, broke off."""


def _persistently(source: str, target: BinaryIO, progress: Progress | None, noun: str) -> None:
    for pause in (*PAUSES, None):
        try:
            _receive(source, target, progress, noun)
            return
        except _OnTheWay:
            if pause is None:
                raise
            if this_run().stop.wait(pause):
                raise Aborted("the download was stopped") from None
            target.seek(0)
            target.truncate()


def _receive(source: str, target: BinaryIO, progress: Progress | None, noun: str) -> None:
    """Copy what ``source`` answers to ``target``."""
    request = urllib.request.Request(source, headers={"User-Agent": "onestack"})
    what = f"{noun} cannot be fetched from {shown(source)}"
    other = "check the URL and this machine's network and proxy (http_proxy, https_proxy)"
    try:
        with urllib.request.urlopen(request, timeout=SILENCE) as answer:
            said = answer.headers.get("Content-Length")
            total = int(said) if said else None
            arrived = 0
            while block := answer.read(BLOCK):
                target.write(block)
                arrived += len(block)
                if progress:
                    progress(arrived, total)
    except urllib.error.HTTPError as error:
        kind = _OnTheWay if error.code in (429, 500, 502, 503, 504) else OnestackError
        raise kind(what, f"the server says {error.code} {error.reason}", other) from error
    except urllib.error.URLError as error:
        raise _OnTheWay(what, str(error.reason), other) from error
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise _OnTheWay(
            what, f"the connection broke: {error}", "run the same command again"
        ) from error
    except OSError as error:
        raise OnestackError(what, error.strerror or str(error), "make room on the disk") from error
    if total is not None and arrived != total:
        raise _OnTheWay(
            what,
            f"the connection ended after {arrived} of {total} bytes",
            "run the same command again",
        )
