"""What Octavia's tests of Tempest's need: a web server for their guests, made of its source.

Upstream's plugin has the source, in Go, and expects the program beside it. It is made by Debian's
compiler, which is not installed: all of it is unpacked for that, and gone afterwards.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from onestack.host import debs
from onestack.host.command import run
from onestack.host.files import remove_tree
from onestack.host.locks import Tell, file_lock, silent
from onestack.kernel.files import sync_directory
from onestack.model.change import Change
from onestack.model.cloud import CACHE
from onestack.model.context import Context
from onestack.model.errors import OnestackError

COMPILER = "golang-go"
"""Debian's name for whichever release of it is the current one."""
SOURCE = "octavia_tempest_plugin/contrib/test_server/test_server.go"
ENVIRONMENT = CAPABILITY = "tempest"


def source(ctx: Context) -> Path | None:
    """``None`` while the tests' environment is not installed."""
    place = ctx.release.environment(ENVIRONMENT).place
    return next(place.glob(f"lib/python3*/site-packages/{SOURCE}"), None)


def server(ctx: Context, cache: Path = CACHE) -> Path:
    """Where the program is once it is made; another release's is another."""
    name = ctx.release.environment(ENVIRONMENT).place.name
    return cache / f"octavia-test-server-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def ensure_server(ctx: Context) -> Iterator[Change]:
    if not server(ctx).is_file():
        yield Change("make the web server of Octavia's tests", lambda: make(ctx))


def make(ctx: Context, cache: Path = CACHE, tell: Tell = silent) -> None:
    """Raises `OnestackError` when apt does not have the compiler, or that fails."""
    done, code = server(ctx, cache), source(ctx)
    if code is None:
        raise OnestackError(
            "the web server of Octavia's tests cannot be made",
            f"{ENVIRONMENT}'s environment has no {SOURCE}",
            "report it: upstream's plugin has changed",
        )
    with file_lock(cache / f".{done.name}.lock", "another cloud makes the same", tell):
        if done.is_file():
            return
        for left in cache.glob(f".{done.name}-*"):
            remove_tree(left)  # by a run that was killed
        with tempfile.TemporaryDirectory(prefix=f".{done.name}-", dir=cache) as folder:
            work = Path(folder)
            root = unpacked(work)
            (work / "test_server.go").write_bytes(code.read_bytes())
            made = work / "test_server.bin"
            run(
                # Without names of functions it is half as large; guests get it by ssh.
                [root / "bin/go", "build", "-ldflags", "-s -w", "-o", made, "test_server.go"],
                cwd=work,
                timeout=900,
                env={
                    "GOROOT": str(root),
                    "HOME": folder,
                    "CGO_ENABLED": "0",
                    "GO111MODULE": "off",
                    # No look at the internet.
                    "GOPROXY": "off",
                    "GOTOOLCHAIN": "local",
                },
            )
            made.chmod(0o755)
            run(["sync", "-f", made], timeout=120)
            made.rename(done)
            sync_directory(cache)
        for older in cache.glob("octavia-test-server-*"):
            if older != done:
                older.unlink()


def unpacked(work: Path) -> Path:
    """The compiler's own root: its programs, and the library that it compiles with them."""
    compilers = [name for name in debs.depended(COMPILER) if name.endswith("-go")]
    if not compilers:
        raise OnestackError(
            f"apt does not know {COMPILER}",
            "its lists are empty, or no Debian archive is configured",
            "run apt-get update; see /etc/apt/sources.list.d",
        )
    names = [name.removesuffix("go") + part for name in compilers for part in ("go", "src")]
    debs.unpack(names, work / "go")
    return next((work / "go/usr/lib").glob("go-*"))
