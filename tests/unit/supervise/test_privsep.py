"""Who may have a privsep daemon, and how."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from onestack.supervise import privsep
from onestack.supervise.privsep import NotAllowed, Peer, Request, check, parse
from tests.unit.supervise.bench import SOURCE, Bench, needs_root

HELPER = SOURCE / "onestack" / "runtime" / "privsep-helper"
CONTEXT = "neutron.privileged.default"


def words(*more: str) -> bytes:
    return "\0".join(more).encode()


def test_the_helpers_words() -> None:
    ours = ("--privsep_context", "a.b", "--privsep_sock_path", "/tmp/x=y/s")
    assert parse(words("--config-file", "/etc/a", "--config-dir=/etc/b", *ours)) == Request(
        "a.b", "/tmp/x=y/s", ("--config-file", "/etc/a", "--config-dir", "/etc/b")
    )
    with pytest.raises(NotAllowed, match="the argument '--log-file' is not allowed"):
        parse(words(*ours, "--log-file", "/etc/passwd"))
    with pytest.raises(NotAllowed, match="are needed"):
        parse(words("--privsep_context", "a.b"))


@needs_root
def test_who_may_have_what(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir(mode=0o755)
    config = etc / "nova.conf"
    config.touch(0o640)
    (tmp_path / "open.conf").touch()
    peer = Peer(1, 65534, 65534)
    folder = tmp_path / "nobodys"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "s"))
    allowed = {"nobody": (CONTEXT,)}

    def refusal(request: Request, who: Peer = peer) -> str:
        try:
            check(request, who, allowed, tmp_path)
        except NotAllowed as refused:
            return str(refused)
        return ""

    good = Request(CONTEXT, str(folder / "s"), ("--config-file", str(config)))
    assert refusal(good) == f"{folder} is not a directory of the user nobody"
    os.chown(folder, 65534, 65534)
    assert refusal(good) == f"{folder}/s is not a socket of the user nobody"
    os.chown(folder / "s", 65534, 65534)
    assert refusal(good) == ""
    assert refusal(good, Peer(1, 1, 1)) == f"the user daemon may not have the context {CONTEXT}"
    other = Request("os_brick.privileged.default", good.socket)
    assert refusal(other) == "the user nobody may not have the context os_brick.privileged.default"
    outside = Request(CONTEXT, good.socket, ("--config-file", str(tmp_path / "open.conf")))
    assert refusal(outside) == f"{tmp_path}/open.conf is not below {etc}"
    sneaky = Request(CONTEXT, good.socket, ("--config-file", f"{etc}/../open.conf"))
    assert "is not below" in refusal(sneaky)
    config.chmod(0o660)
    assert refusal(good) == f"{config} could be changed by others than root"
    config.chmod(0o640)
    os.chown(config, 65534, 0)
    assert refusal(good) == f"{config} could be changed by others than root"


@needs_root
def test_connecting_as_the_caller(tmp_path: Path) -> None:
    """A socket that the caller could not reach itself is not reached for it either."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "roots"))
        sock.listen()
        os.chmod(tmp_path / "roots", 0o600)
        tmp_path.chmod(0o755)
        with pytest.raises(PermissionError):
            privsep.connect_as(Peer(1, 65534, 65534), str(tmp_path / "roots"))
        os.chmod(tmp_path / "roots", 0o666)
        for parent in tmp_path.parents:
            if not parent.stat().st_mode & 0o001:
                return  # nobody cannot get here at all
        with pytest.raises(NotAllowed, match="is served by another user"):
            privsep.connect_as(Peer(1, 65534, 65534), str(tmp_path / "roots"))
    assert os.geteuid() == 0


@needs_root
def test_the_helper_passes_the_refusal_on(bench: Bench) -> None:
    bench.launch(privsep={"nobody": (CONTEXT,), "root": (CONTEXT,)})
    place = bench.root / "run" / "supervisor" / "privsep.sock"
    ask = ["--privsep_context", "os.system", "--privsep_sock_path", "/tmp/s"]
    done = subprocess.run(
        [str(HELPER), str(place), *ask], capture_output=True, text=True, timeout=10
    )
    assert done.returncode == 1
    assert done.stderr == ("no privsep daemon: the user root may not have the context os.system\n")
    assert "of root was refused" in bench.log("supervisor")
    done = subprocess.run([str(HELPER), "/none"], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stderr) == (
        1,
        "no privsep daemon: /none: [Errno 2] No such file or directory\n",
    )
