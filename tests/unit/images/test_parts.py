"""The formats that the test guest is put together from, and its scripts."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from onestack.components.octavia.amphora import AMPHORA
from onestack.images import disk, elf, guest, kernel
from onestack.images.content import contents
from onestack.images.cpio import Archive
from onestack.model.errors import OnestackError
from tests.support.service_guest import in_parts

ROOTFS = guest.HERE / "rootfs"


def test_another_umask_makes_the_same_guests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who gets the program with a umask of 077 has other modes in every folder and file of it."""
    before, names = guest.recipe(), ("guest.py", "rootfs")
    place = tmp_path / "images"
    shutil.copytree(guest.HERE, place, symlinks=True)
    for path in (place, *place.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o700)
    assert [*contents(place, names)] == [*contents(guest.HERE, names)]
    monkeypatch.setattr(guest, "HERE", place)
    assert guest.recipe() == before
    root = tmp_path / "root"
    mask = os.umask(0o077)
    try:
        guest._own_files(root)
    finally:
        os.umask(mask)
    modes = {path: path.stat().st_mode & 0o7777 for path in (root, *root.rglob("*"))}
    assert modes[root] == modes[root / "etc"] == modes[root / "usr/lib/guest"] == 0o755
    assert modes[root / "etc/passwd"] == 0o644
    assert modes[root / "root"] == 0o700 and modes[root / "tmp"] == 0o1777


def test_elf_names_libraries_and_loader() -> None:
    program = Path(sys.executable).resolve()
    names = elf.needed(program)
    assert "libc.so.6" in names
    assert any(name.startswith("ld-linux") for name in names)


def test_cpio_is_one_that_cpio_reads(tmp_path: Path) -> None:
    archive = Archive()
    archive.directory("bin")
    archive.file("bin/program", b"12345", 0o755)
    archive.file("empty", b"")
    raw = archive.to_bytes()
    assert raw == archive.to_bytes()
    assert len(raw) % 512 == 0
    found = {}
    at = 0
    while True:
        fields = [int(raw[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = raw[at + 110 : at + 110 + fields[11] - 1].decode()
        body = at + (110 + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            break
        found[name] = (oct(fields[1]), raw[body : body + fields[6]])
        at = body + (fields[6] + 3) // 4 * 4
    assert found == {
        "bin": ("0o40755", b""),
        "bin/program": ("0o100755", b"12345"),
        "empty": ("0o100644", b""),
    }


@pytest.mark.parametrize("size", [disk.ROOT_SIZE, 3 << 30])
def test_the_partitions_follow_each_other(size: int) -> None:
    table = disk.partition_table(size)
    assert len(table) == 72
    assert table.endswith(b"\x55\xaa")
    one, two = (struct.unpack_from("<B3sB3sII", table, 6 + 16 * n) for n in (0, 1))
    assert (one[0], one[2]) == (0x80, 0x0E)
    assert (two[0], two[2]) == (0, 0x83)
    assert one[4] * 512 == disk.BOOT_START
    assert two[4] == one[4] + one[5]


def module(folder: Path, name: str, depends: str) -> None:
    (folder / f"{name}.ko").write_bytes(
        b"\x7fELF..\0depends=" + depends.encode() + b"\0retpoline=Y\0"
    )


def test_modules_come_after_those_they_need(tmp_path: Path) -> None:
    module(tmp_path, "a-b", "c,d-e")
    module(tmp_path, "c", "d-e")
    module(tmp_path, "d-e", "")
    module(tmp_path, "f", "")
    assert list(kernel.closure(tmp_path, ["a_b", "c"])) == ["d_e", "c", "a_b"]


def test_a_missing_module_is_named(tmp_path: Path) -> None:
    module(tmp_path, "a", "gone")
    with pytest.raises(OnestackError, match=r"no module gone\nwhy: the guest needs it for a"):
        kernel.closure(tmp_path, ["a"])


def flat(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        found: dict[str, str] = {}
        for key, item in pairs:
            found |= flat(item, f"{path}.{key}" if path else str(key))
        return found
    text = value if isinstance(value, str) else json.dumps(value)
    return {path: text.replace("\n", "\\n")}


@pytest.mark.parametrize(
    "value",
    [
        {
            "uuid": "83679162-1378-4288-a2d4-70e13ec132aa",
            "public_keys": {"mine": "ssh-rsa AAAA+/== me@here\n", 'a "b"': "ssh-ed25519 BBBB"},
            "keys": [{"name": "mine", "data": "x"}, {"name": "two"}],
            "hostname": "one.novalocal",
            "launch_index": 0,
            "devices": [],
            "meta": {},
            "admin": None,
            "ready": True,
        },
        {"a": [[1, 2], [3, {"b": "c]}"}]]},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_the_guest_reads_json(value: Any, indent: int | None) -> None:
    awk = shutil.which("awk")
    assert awk
    done = subprocess.run(
        [awk, "-f", ROOTFS / "usr/lib/guest/json.awk"],
        input=json.dumps(value, indent=indent),
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    found = dict(line.split("\t", 1) for line in done.stdout.splitlines())
    assert found == flat(value)


def test_broken_json_ends() -> None:
    for text in ("", "{", '{"a"', "[[", '{"a": "b', "}"):
        subprocess.run(
            [shutil.which("awk") or "awk", "-f", ROOTFS / "usr/lib/guest/json.awk"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )


@pytest.mark.parametrize(
    "script",
    [
        path
        for place in (guest.HERE, AMPHORA.tree)
        for path in place.rglob("*")
        if path.is_file() and re.match(rb"#!/bin/(busybox )?sh\n", path.read_bytes())
    ],
)
def test_scripts_are_a_shells(script: Path) -> None:
    subprocess.run(["sh", "-n", script], check=True, timeout=10)


def test_the_recipe_is_stable() -> None:
    assert guest.recipe() == guest.recipe()
    assert len(guest.recipe()) == 12


# -- what a cluster's machine is asked for ------------------------------------------


def test_the_script_of_user_data_in_parts() -> None:
    script = "#!/bin/bash\necho one\n\necho two\n"
    packed = in_parts(script)
    for text in (packed, packed.replace("\n", "\r\n")):
        done = subprocess.run(
            [shutil.which("awk") or "awk", "-f", ROOTFS / "usr/lib/guest/script.awk"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        assert done.stdout.strip() == script.strip()


def test_another_shell(tmp_path: Path) -> None:
    """Only one that is there: with another nobody could log in any more."""
    for name in ("passwd", "shells"):
        shutil.copyfile(ROOTFS / "etc" / name, tmp_path / name)
    program = (ROOTFS / "sbin/usermod").read_text().replace("/etc/", f"{tmp_path}/")

    def usermod(*words: str) -> int:
        return subprocess.run(
            ["sh", "-c", program, "usermod", *words], capture_output=True, check=False
        ).returncode

    assert usermod("-s", "/bin/bash", "cirros") == 0
    lines = (tmp_path / "passwd").read_text().splitlines()
    assert "cirros:x:1000:1000:cirros:/home/cirros:/bin/bash" in lines
    assert "root:x:0:0:root:/root:/bin/sh" in lines and len(lines) == 4
    assert usermod("-s", "/bin/zsh", "cirros") == 3
    assert usermod("-s", "/bin/sh", "nobody-here") == 6
    assert usermod("-L", "cirros") == 2
