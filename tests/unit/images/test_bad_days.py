"""Images that are asked for without a network, or on a disk that is full.

Of what makes them apt, uv, tar, mke2fs and qemu-img are the real ones; so is the disk.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import onestack
from onestack.cli import image as verb
from onestack.cli import main
from onestack.host import archive
from onestack.host.command import run
from onestack.images import debian_root, disk
from onestack.images.service_guest import Recipe
from tests.support.needs import needs_root
from tests.support.small_disks import MIB, resize, small_disk

pytestmark = needs_root
LOCK = "images/.service-guests.lock"
TYPED = """
import sys
from pathlib import Path
from onestack.cli import image, main
from onestack.images import debian_root
image.CACHE = Path(sys.argv[1])
if sys.argv[2] == "packages are here":
    debian_root.fetch = lambda *_: None
sys.argv[1:] = ["image", sys.argv[3]]
sys.exit(main.main())
"""
"""A command line that keeps images elsewhere: it is given where, what is there, and the word."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where images are kept, with programs that try again at once."""
    made = tmp_path / "cache"
    made.mkdir()
    for folder in (made, tmp_path, tmp_path.parent):
        # apt fetches as a user of its own.
        folder.chmod(0o755)
    hasty = tmp_path / "apt.conf"
    hasty.write_text('Acquire::Retries::Delay "false";\n')
    monkeypatch.setenv("APT_CONFIG", str(hasty))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return made


def left(cache: Path) -> set[str]:
    return {str(path.relative_to(cache)) for path in cache.rglob("*") if not path.is_dir()}


# -- without a network -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "has", "failed", "why"),
    [
        ("spark-guest", "nothing", "the machine of a Spark cluster cannot be built", "mirror"),
        ("amphora", "nothing", "the machine of a load balancer cannot be built", "mirror"),
        ("spark-guest", "packages are here", "the Python packages of the source of", "index"),
        ("database-guest", "packages are here", "the Python packages of the machine of", "index"),
    ],
)
def test_without_a_network(cache: Path, name: str, has: str, failed: str, why: str) -> None:
    """The command's own words, from a network namespace that leads nowhere."""
    words = ["unshare", "--net", sys.executable, "-c", TYPED, str(cache), has, f"build-{name}"]
    done = subprocess.run(
        words,
        env={**os.environ, "PYTHONPATH": str(Path(onestack.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    (what,) = (line for line in said.splitlines() if line.startswith("onestack: "))
    assert what.startswith(f"onestack: {failed}")
    assert f"the package {why} is not reached" in said and "cure: check the network" in said
    assert "Traceback" not in said
    assert left(cache) == {LOCK}


# -- on a full disk ----------------------------------------------------------------


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """One that the verb knows, of hardly anything."""
    tree = tmp_path / "tree"
    tree.mkdir()
    toy = Recipe("toy", "a toy", (), tree)
    monkeypatch.setattr(verb, "guest_images", lambda: {"toy": toy})
    return toy


@pytest.fixture
def typed(
    cache: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], tuple[int, str]]:
    """``onestack image build-toy``: its exit code, and what it says."""
    monkeypatch.setattr(verb, "CACHE", cache)

    def ran() -> tuple[int, str]:
        line = ["image", "build-toy"]
        code = main.guarded(lambda: main.run(line), "onestack image build-toy")
        said = capsys.readouterr()
        return code, said.out + said.err

    return ran


def package(folder: Path, pool: Path, name: str, mib: int) -> Path:
    control = folder / "DEBIAN/control"
    control.parent.mkdir(parents=True)
    control.write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a test <a@b.c>\n"
        "Description: one\n"
    )
    (folder / "usr/share").mkdir(parents=True)
    (folder / "usr/share" / name).write_bytes(os.urandom(mib * MIB))
    pool.mkdir(parents=True, exist_ok=True)
    made = pool / f"{name}_1_all.deb"
    run(["dpkg-deb", "-Znone", "--build", folder, made])
    return made


ASKED: list[str] = []


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        ASKED.append(self.path)

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            # Who asked has no room for it.
            self.close_connection = True


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """With two packages, of which the guest and its making are; what was asked for."""
    place = tmp_path / "mirror"
    index = place / "dists/bookworm/main/binary-amd64/Packages"
    index.parent.mkdir(parents=True)
    entries = []
    for name, mib in (("toy-root", 3), ("toy-tool", 12)):
        deb = package(tmp_path / name, place / "pool", name, mib)
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        fields = run(["dpkg-deb", "-f", deb]).out.strip()
        where = f"Filename: pool/{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"
        entries.append(f"{fields}\n{where}")
    index.write_text("\n".join(entries))
    raw = index.read_bytes()
    (place / "dists/bookworm/Release").write_text(
        "Suite: bookworm\nCodename: bookworm\nArchitectures: amd64 all\nComponents: main\nSHA256:\n"
        f" {hashlib.sha256(raw).hexdigest()} {len(raw)} main/binary-amd64/Packages\n"
    )
    ASKED.clear()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(place))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(debian_root, "mirrors", lambda: {"": url})
    monkeypatch.setattr(debian_root, "PACKAGES", ("toy-root",))
    monkeypatch.setattr(debian_root, "TOOLS", ("toy-tool",))
    # Nobody signs this one.
    monkeypatch.setattr(archive, "KEYRING", f"{archive.KEYRING} trusted=yes")
    try:
        yield ASKED
    finally:
        server.shutdown()
        server.server_close()


def is_told(code: int, said: str, cache: Path) -> None:
    assert code == 1 and "cannot be made" in said
    assert said.count("the disk is full") == 1
    assert f"make room (df -h {cache}/images), then run the same command again" in said
    assert "Traceback" not in said and "an error of onestack's own" not in said


def test_packages_do_not_fit(
    cache: Path,
    recipe: Recipe,
    typed: Callable[[], tuple[int, str]],
    mirror: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What has come is kept: the same command goes on from there."""

    def builds(self: Recipe, parts: Path, work: Path, image: Path) -> None:
        debs = (parts / "root/toy-root_1_all.deb", parts / "tools/toy-tool_1_all.deb")
        image.write_bytes(b"".join(deb.read_bytes() for deb in debs))

    monkeypatch.setattr(Recipe, "_build", builds)
    with small_disk(cache, 12):
        is_told(*typed(), cache)
        there = {path for path in left(cache) if path.endswith(".deb")}
        assert left(cache) - there == {LOCK}
        assert "images/packages/toy-root_1_all.deb" in there
        assert not recipe.fetched(cache / "images")
        resize(cache, 64)
        mirror.clear()
        code, said = typed()
        assert code == 0, said
        assert "/pool/toy-tool_1_all.deb" in mirror and "/pool/toy-root_1_all.deb" not in mirror
        pool = cache.parent / "mirror/pool"
        whole = b"".join(deb.read_bytes() for deb in sorted(pool.iterdir()))
        assert recipe.image(cache / "images").read_bytes() == whole


def unpacks(parts: Path, work: Path, image: Path) -> None:
    debian_root.unpack(parts / "root", work / "root")


def copies(parts: Path, work: Path, image: Path) -> None:
    shutil.copytree(parts / "sources", work / "root")


def writes(parts: Path, work: Path, image: Path) -> None:
    (work / "boot").write_bytes(bytes(24 * MIB))


def makes_a_file_system(parts: Path, work: Path, image: Path) -> None:
    (work / "scratch").mkdir()
    (work / "disk.raw").touch()
    disk._root_partition(work / "disk.raw", parts / "sources", work / "scratch", 64 * MIB)


def converts(parts: Path, work: Path, image: Path) -> None:
    words = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2"]
    run([*words, parts / "sources/2", image], timeout=60)


@pytest.mark.parametrize("step", [unpacks, copies, writes, makes_a_file_system, converts])
def test_an_image_does_not_fit(
    cache: Path,
    recipe: Recipe,
    typed: Callable[[], tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    step: Callable[[Path, Path, Path], None],
) -> None:
    """Whichever of the programs meets it. What was fetched is kept, and nothing else."""
    monkeypatch.setattr(Recipe, "_build", lambda self, parts, work, image: step(parts, work, image))
    with small_disk(cache, 48):
        parts = recipe._parts(cache / "images")
        package(cache.parent / "toy-root", parts / "root", "toy-root", 16)
        (parts / "sources").mkdir()
        for number in range(3):
            (parts / f"sources/{number}").write_bytes(os.urandom(8 * MIB))
        fetched = left(cache)
        # Hardly more is free than one of them needs.
        with (cache / "another").open("wb") as file:
            file.write(bytes(3 * MIB))
        code, said = typed()
        is_told(code, said, cache)
        assert left(cache) == fetched | {LOCK, "another"}
        assert not recipe.image(cache / "images").exists()
