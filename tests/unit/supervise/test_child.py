"""What a child is: its user, capabilities, mounts, descriptors, environment; sockets kept."""

from __future__ import annotations

import grp
import json
import os
import pwd
import socket
import stat
import sys
import venv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onestack.kernel import proc
from onestack.kernel.linux import capability
from onestack.model.errors import OnestackError
from onestack.model.process import ConnectProbe, ZygoteSpec
from onestack.supervise.child import SYSTEM_PATH
from tests.unit.supervise.bench import Bench, needs_root, program, toy, until

pytestmark = needs_root


def facts(bench: Bench, name: str = "it") -> Any:
    return json.loads(until((bench.root / f"{name}.json").read_text))


def reporter(bench: Bench, name: str = "it", **more: Any) -> Any:
    file = bench.root / f"{name}.json"
    file.write_text("")
    file.chmod(0o666)
    arguments = {"file": str(file), **more.pop("arguments", {})}
    return toy(name, "report", arguments=arguments, **more)


def test_a_python_child_is_as_if_freshly_executed(bench: Bench) -> None:
    client = bench.launch(
        reporter(
            bench,
            user="nobody",
            groups=("daemon",),
            env={"OS_WORD": "x"},
            sockets={"door": f"unix:{bench.root}/door.sock"},
        ),
        reporter(bench, "other"),
    )
    client.start()
    client.wait(seconds=5)
    it, nobody = facts(bench), pwd.getpwnam("nobody")
    assert (it["uid"], it["gid"]) == (nobody.pw_uid, nobody.pw_gid)
    assert sorted(it["groups"]) == sorted({nobody.pw_gid, 1})
    assert it["argv"] == ["it"]
    assert it["comm"] == "it"
    assert it["cmdline"] == f"it [{bench.root}]"
    assert it["session"]
    assert it["cwd"] == "/"
    assert it["threads"] == 1
    assert len(it["fds"]) == 5  # 0, 1, 2, the socket, and the one that lists them
    assert int(it["status"]["CapEff"], 16) == 0
    assert set(it["env"]) == {
        *("PATH", "LANG", "HOME", "USER", "LOGNAME", "OS_WORD"),
        *("ONESTACK_SUPERVISED", "ONESTACK_PROCESS"),
    }
    assert it["env"]["OS_WORD"] == "x"
    assert it["random"] != facts(bench, "other")["random"]
    door = bench.root / "door.sock"
    assert (door.stat().st_uid, door.stat().st_mode & 0o777) == (nobody.pw_uid, 0o660)
    assert (bench.root / "log" / "it.log").stat().st_uid == nobody.pw_uid


def test_ambient_capabilities(bench: Bench) -> None:
    file = bench.root / "caps"
    file.write_text("")
    file.chmod(0o666)
    client = bench.launch(
        reporter(bench, user="nobody", capabilities=("net_admin", "CAP_NET_RAW")),
        program(
            "native",
            *("sh", "-c", f"cat /proc/self/status > {file}; exec sleep 1000"),
            user="nobody",
            capabilities=("net_bind_service",),
        ),
    )
    client.start()
    client.wait(seconds=5)
    mask = 1 << capability("net_admin") | 1 << capability("net_raw")
    status = facts(bench)["status"]
    assert int(status["CapEff"], 16) == int(status["CapAmb"], 16) == mask
    status = dict(line.split(":\t", 1) for line in file.read_text().splitlines())
    assert int(status["CapEff"], 16) == 1 << capability("net_bind_service")
    assert status["Uid"].split()[0] == str(pwd.getpwnam("nobody").pw_uid)
    with pytest.raises(ValueError, match="there is no capability 'fly'"):
        capability("fly")


def test_private_mounts(bench: Bench) -> None:
    place, source = bench.root / "place", bench.root / "source"
    for folder in (place, source):
        folder.mkdir()
    (source / "inside").touch()
    client = bench.launch(
        reporter(bench, mounts={str(place): str(source)}, arguments={"places": [str(place)]})
    )
    client.start()
    client.wait(seconds=5)
    assert facts(bench)["places"] == {str(place): ["inside"]}
    assert os.listdir(place) == []


def test_a_program_gets_its_sockets_as_from_systemd(bench: Bench) -> None:
    file = bench.root / "env"
    client = bench.launch(
        program(
            "native",
            "sh",
            "-c",
            f"echo $LISTEN_FDS $LISTEN_FDNAMES $LISTEN_PID $$ > {file};"
            f" ls -l /proc/self/fd/ >> {file}; exec sleep 1000",
            sockets={"one": f"unix:{bench.root}/one", "two": f"unix:{bench.root}/two"},
            sockets_group="daemon",
        )
    )
    client.start()
    client.wait(seconds=5)
    door = (bench.root / "one").stat()
    assert (door.st_uid, door.st_gid, stat.S_IMODE(door.st_mode)) == (0, 1, 0o660)
    first, *rest = file.read_text().splitlines()
    number, names, pid, own = first.split()
    assert (number, names) == ("2", "one:two")
    assert pid == own == str(bench.status("native").pid)
    assert sum("socket:" in line for line in rest) == 2


def ask(path: Path) -> int:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))
        return int(client.makefile().read())


def test_clients_queue_while_it_restarts(bench: Bench) -> None:
    door = bench.root / "door.sock"
    client = bench.launch(
        toy(
            "echo",
            "echo",
            arguments={"slow": 0.3},
            sockets={"door": f"unix:{door}"},
            probe=ConnectProbe(f"unix:{door}"),
        )
    )
    client.start()
    client.wait(seconds=5)
    first = ask(door)
    inode = door.stat().st_ino
    client.restart(["echo"])
    until(lambda: not proc.alive(first))
    second = ask(door)  # nobody accepts yet, and nothing is refused
    assert first != second
    assert door.stat().st_ino == inode
    client.wait(["echo"], seconds=5)
    os.kill(second, 9)
    until(lambda: not proc.alive(second))
    assert ask(door) not in (first, second)
    client.stop()
    assert not door.exists()


def test_stale_sockets_are_removed(bench: Bench) -> None:
    folder = bench.root / "run" / "x"
    folder.mkdir(parents=True)
    for name in ("dead", "live"):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(folder / name))
        if name == "live":
            sock.listen()
            live = sock
        else:
            sock.close()
    bench.launch(toy("a"))
    assert sorted(os.listdir(folder)) == ["live"]
    live.close()


def test_a_network_namespace_of_its_own(bench: Bench) -> None:
    import subprocess

    name = f"toys-{bench.root.name[-8:].replace('_', 'x')}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        client = bench.launch(
            reporter(bench, arguments={"places": ["/sys/class/net", "/sys/fs/cgroup"]}), netns=name
        )
        client.start()
        client.wait(seconds=5)
        places = facts(bench)["places"]
        assert places["/sys/class/net"] == ["lo"]
        assert places["/sys/fs/cgroup"] == sorted(os.listdir("/sys/fs/cgroup"))
        assert len(os.listdir("/sys/class/net")) >= 1
    finally:
        client.shutdown()
        subprocess.run(["ip", "netns", "delete", name], check=True)


MODULES = ("colorsys", "no_such_module")
"""A zygote of the second kind here has a supervisor's interpreter under another name."""


@pytest.mark.parametrize(
    "zygote",
    [ZygoteSpec(MODULES), ZygoteSpec(MODULES, isolated=True), ZygoteSpec(MODULES, "other")],
    ids=["forked", "isolated", "other environment"],
)
def test_a_zygote_of_its_own(bench: Bench, zygote: ZygoteSpec) -> None:
    more: dict[str, Any] = {"zygote": "far", "environment": zygote.environment}
    client = bench.launch(
        reporter(bench, user="nobody", **more),
        reporter(bench, "second", **more),
        toy("bad", "crash", **more),
        zygotes={"far": zygote},
        environments={"other": sys.executable},
    )
    client.start()
    client.wait(["it", "second"], seconds=5)
    it = facts(bench)
    assert it["uid"] == pwd.getpwnam("nobody").pw_uid
    assert it["argv"] == ["it"]
    assert len(it["fds"]) == 4
    assert client.details().zygotes["far"].problems == (
        "no_such_module cannot be imported: ModuleNotFoundError: No module named 'no_such_module'",
    )
    until(lambda: "exited with 3 after" in bench.sentence("bad"))
    pid = bench.status("it").pid
    assert pid
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert int(stat[1]) == client.details().pid  # a child like any other
    os.kill(pid, 9)
    until(lambda: bench.status("it").pid not in (pid, None))
    # its zygote may die, too
    # what forks a service has its name for a moment, and is younger
    zygote_pid = min(p for p in proc.belonging(bench.root) if _comm(p) == "zygote-far")
    os.kill(zygote_pid, 9)
    client.restart(["second"])
    client.wait(["second"], seconds=10)


def other_environment(bench: Bench) -> str:
    """A second environment: an interpreter with a module that the supervisor's has not."""
    place = bench.root / "other"
    venv.create(place, with_pip=False, symlinks=True)
    site = next(place.glob("lib/python*/site-packages"))
    (site / "only_here.py").write_text("from toys import report as run, job as work\n")
    return str(place / "bin" / "python")


def test_a_process_of_another_environment_is_a_program(bench: Bench) -> None:
    """It has what a fork would have; nothing that it is given is seen by others."""
    python = other_environment(bench)
    process = reporter(
        bench,
        user="nobody",
        groups=("daemon",),
        env={"WORD": "x"},
        sockets={"door": f"unix:{bench.root}/door.sock"},
        environment="other",
        arguments={"password": "s3cret"},
    )
    client = bench.launch(replace(process, run="only_here:run"), environments={"other": python})
    client.start()
    client.wait(seconds=10)
    it = facts(bench)
    nobody = pwd.getpwnam("nobody")
    assert (it["uid"], it["gid"]) == (nobody.pw_uid, nobody.pw_gid)
    assert it["groups"] == sorted({nobody.pw_gid, grp.getgrnam("daemon").gr_gid})
    assert it["argv"] == ["it"]
    assert it["session"] and it["cwd"] == "/"
    assert it["env"] == {
        "PATH": f"{Path(python).parent}:{SYSTEM_PATH}",
        "LANG": "C.UTF-8",
        "HOME": nobody.pw_dir,
        "USER": "nobody",
        "LOGNAME": "nobody",
        "ONESTACK_SUPERVISED": str(bench.root),
        "ONESTACK_PROCESS": "it",
        "WORD": "x",
    }
    # stdin, stdout, stderr, the socket, and the listing's own
    assert len(it["fds"]) == 5
    pid = bench.status("it").pid
    assert it["cmdline"].startswith("it [")
    assert "s3cret" not in Path(f"/proc/{pid}/cmdline").read_text()
    assert "s3cret" not in Path(f"/proc/{pid}/environ").read_text(errors="replace")
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"


def test_its_environments_python_counts_as_its_configuration(bench: Bench) -> None:
    process = toy("it", environment="other")
    client = bench.launch(process, environments={"other": sys.executable})
    client.start()
    client.wait(seconds=10)
    assert bench.load(process, environments={"other": sys.executable}).stale == ()
    python = other_environment(bench)
    assert bench.load(process, environments={"other": python}).stale == ("it",)
    client.restart(["it"])
    client.wait(seconds=10)
    assert not bench.status("it").stale


def test_an_environment_that_is_not_there(bench: Bench) -> None:
    client = bench.launch(toy("it", environment="nowhere"), toy("other"))
    client.start()
    until(lambda: "there is no environment 'nowhere'" in bench.sentence("it"))
    client.wait(["other"], seconds=5)


def test_a_job_in_another_environment(bench: Bench) -> None:
    client = bench.launch(environments={"other": other_environment(bench)})
    file = bench.root / "out"
    client.job(
        run="only_here:work",
        user="root",
        arguments={"file": str(file)},
        env={"WORD": "x"},
        environment="other",
        log="there",
    )
    assert file.read_text() == "x\n"
    with pytest.raises(OnestackError, match="here failed") as caught:
        client.job(run="only_here:work", user="root", arguments={}, log="here")
    assert "No module named 'only_here'" in caught.value.why


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@needs_root
def test_the_hosts_own_name(bench: Bench) -> None:
    """What asks the kernel hears what the cloud calls the host, and the machine keeps its name."""
    before = socket.gethostname()
    words = ("sh", "-c", "cat /proc/sys/kernel/hostname; exec sleep 60")
    named = program("named", *words)
    bench.launch(named, identity={"host": "first"})
    bench.client.start()
    bench.client.wait(seconds=5)
    until(lambda: "first" in bench.log("named"))
    assert socket.gethostname() == before
