"""Verbs about processes: which are meant, their logs, and one program at a time."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onestack.cli import lock, logs, pool, status
from onestack.cli.options import KEPT
from onestack.cli.select import roster, select
from onestack.model.cloud import Cloud
from onestack.model.errors import BadAnswers, OnestackError, PreflightRefused
from onestack.model.process import Process, Roster
from onestack.supervise.client import Client, OtherVersion

PROCESSES = (
    Process("mariadb", "mariadb", "u", argv=("x",)),
    Process("nova-api", "nova", "u", argv=("x",)),
    Process("nova-conductor", "nova", "u", argv=("x",), services=("nova-scheduler",)),
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("nova", ["nova-api", "nova-conductor"]),
        ("nova/api", ["nova-api"]),
        ("nova/nova-api", ["nova-api"]),
        ("nova-conductor", ["nova-conductor"]),
        ("nova-scheduler", ["nova-conductor"]),
        ("nova/scheduler", ["nova-conductor"]),
        ("mariadb", ["mariadb"]),
    ],
)
def test_what_is_meant(text: str, names: list[str]) -> None:
    assert [p.name for p in select(PROCESSES, text)] == names


@pytest.mark.parametrize("text", ["nvoa", "nova/apii", "mariadb/api", ""])
def test_what_there_is_not(text: str) -> None:
    with pytest.raises(BadAnswers, match="its components: mariadb, nova"):
        select(PROCESSES, text)


def test_without_a_roster_there_is_no_cloud(tmp_path: Path) -> None:
    with pytest.raises(OnestackError, match="onestack up"):
        roster(Cloud("a", tmp_path))


def test_roster_is_read_from_the_cloud(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    text = Roster("a", str(tmp_path), None, (), PROCESSES).to_json()
    (tmp_path / "etc" / "roster.json").write_text(text)
    assert json.loads(text)["cloud"] == "a"
    assert [p.name for p in roster(Cloud("a", tmp_path)).processes] == [p.name for p in PROCESSES]


def test_logs_are_followed_over_a_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.log"
    path.write_text("old\n")
    steps: Iterator[Callable[[], int]] = iter(
        [
            lambda: path.open("a").write("one\ntw"),
            lambda: path.open("a").write("o\n"),
            lambda: path.write_text("a\n"),  # cut and begun anew
        ]
    )
    monkeypatch.setattr(time, "sleep", lambda seconds: next(steps)())
    found = logs.follow({"a": path}, {"a": path.stat().st_size})
    assert [next(found) for _ in range(3)] == [("a", "one"), ("a", "two"), ("a", "a")]


def test_two_programs_do_not_change_one_cloud(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from onestack.cli.lock import changing; from onestack.model.cloud import Cloud\n"
        "with changing(Cloud('a', Path(sys.argv[1])), 'up'):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    src = str(Path(lock.__file__).resolve().parents[2])
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": src},
    )
    cloud = Cloud("a", tmp_path)
    try:
        assert other.stdout and other.stdout.readline() == "held\n"
        with (
            pytest.raises(lock.Busy, match=rf"`onestack up` is at work.*process {other.pid}"),
            lock.changing(cloud, "down"),
        ):
            pass
    finally:
        other.kill()
        other.communicate()
    # Killed: the kernel has freed the lock.
    with lock.changing(cloud, "down"):
        pass


def test_one_that_is_to_wait_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cloud, waits = Cloud("a", tmp_path), threading.Event()
    done: list[str] = []

    def wait() -> None:
        waits.set()
        with lock.changing(cloud, "up", wait=True) as waited:
            assert waited
            done.append("second")

    other = threading.Thread(target=wait)
    with lock.changing(cloud, "nic", wait=True) as waited:
        assert not waited
        other.start()
        assert waits.wait(60)
        until = time.monotonic() + 60
        while "waiting" not in (said := capsys.readouterr().err):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert f"`onestack nic` is at work on the cloud 'a' (process {os.getpid()})" in said
        done.append("first")
    other.join(60)
    assert done == ["first", "second"]


def test_it_makes_no_cloud_anew_that_was_destroyed_meanwhile(tmp_path: Path) -> None:
    cloud = Cloud("a", tmp_path)
    problems: list[PreflightRefused] = []

    def wait() -> None:
        try:
            with lock.changing(cloud, "up", wait=True):
                pass
        except PreflightRefused as problem:
            problems.append(problem)

    other = threading.Thread(target=wait)
    with lock.changing(cloud, "destroy"):
        other.start()
        place = str(cloud.run / "up.lock")
        until = time.monotonic() + 60
        opened = [0]
        while len(opened) < 2:
            assert time.monotonic() < until
            opened = [1 for fd in Path("/proc/self/fd").iterdir() if _leads(fd) == place]
        (cloud.run / "up.lock").unlink()
    other.join(60)
    assert "was destroyed while" in problems[0].why


def _leads(descriptor: Path) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(descriptor)
    return ""


@pytest.mark.parametrize(("text", "size"), [("+5G", 25 << 30), ("100G", 100 << 30)])
def test_a_pool_grows_by_or_to(text: str, size: int) -> None:
    assert pool.target(text, 20 << 30) == size


def test_a_pool_does_not_grow_by_words() -> None:
    with pytest.raises(BadAnswers, match="is not a size"):
        pool.target("+much", 20 << 30)


@pytest.mark.parametrize("there", ["# mine\nCONFIG_CINDER_VOLUMES_SIZE=20G\n", "# mine\n"])
def test_a_grown_pool_is_kept_in_the_answers(tmp_path: Path, there: str) -> None:
    (tmp_path / "etc").mkdir()
    kept = tmp_path / "etc" / KEPT
    kept.write_text(there)
    pool.keep(Cloud("a", tmp_path), "CONFIG_CINDER_VOLUMES_SIZE", 25 << 30)
    assert kept.read_text().startswith("# mine\n")
    assert "\nCONFIG_CINDER_VOLUMES_SIZE=25G\n" in kept.read_text()


def test_the_status_of_what_runs_under_another_onestack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def other(client: Client) -> None:
        raise OtherVersion

    monkeypatch.setattr(status, "cloud_of", lambda args: Cloud("a", tmp_path))
    monkeypatch.setattr(Client, "running", lambda client: True)
    monkeypatch.setattr(Client, "status", other)
    (tmp_path / "etc").mkdir()
    text = Roster("a", str(tmp_path), None, (), PROCESSES).to_json()
    (tmp_path / "etc" / "roster.json").write_text(text)
    parser = argparse.ArgumentParser()
    status.options(parser)
    assert status.run(parser.parse_args(["nova"])) == 1
    sentence = "runs under another onestack; `onestack up` replaces its supervisor"
    assert capsys.readouterr().out.splitlines() == [
        f"nova-api        {sentence}",
        f"nova-conductor  {sentence}, with nova-scheduler in it",
    ]
    assert status.run(parser.parse_args(["nova", "--json"])) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["running"], said["ready"]) == (True, False)
    assert {(p["sentence"], p["state"]) for p in said["processes"]} == {(sentence, "UNKNOWN")}
