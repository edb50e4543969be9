"""`onestack nic`: what is asked of whom before anything is touched."""

from __future__ import annotations

import io
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from onestack.cli import main, nic
from onestack.cli.options import KEPT, keep, resolve_answers
from onestack.cli.stopping import told_to_stop
from onestack.components.openvswitch import nics
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from onestack.model.errors import BadAnswers, OnestackError
from onestack.network.nic import operations
from onestack.network.nic.operations import Lost


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    # short, for a root
    with tempfile.TemporaryDirectory(prefix="onestack-") as folder:
        made = Cloud.named("c", Path(folder))
        made.etc.mkdir(parents=True)
        yield made


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where a test writes what the operator types."""
    theirs, ours = os.pipe()
    with os.fdopen(theirs) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield ours
        os.close(ours)


@pytest.mark.parametrize("words", [["attach", "eno1"], ["detach", "eno1"]])
def test_where_nobody_can_confirm_it_is_refused(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    _, args = main.parse(["nic", *words, "--name", "c", "--root", str(cloud.root)])
    with pytest.raises(BadAnswers, match="nobody is there to confirm") as refused:
        nic.run(args)
    assert refused.value.exit_code == 2 and "--yes" in refused.value.cure


@pytest.mark.parametrize(("said", "kept"), [("yes\n", True), ("y\n", True), ("no\n", False)])
def test_only_a_yes_keeps_it(typed: int, said: str, kept: bool) -> None:
    os.write(typed, said.encode())
    assert nic.confirmer("eno1")(5.0) is kept


def test_silence_does_not(typed: int) -> None:
    assert nic.confirmer("eno1")(0.05) is False


def test_neither_does_a_terminal_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as gone:
        monkeypatch.setattr("sys.stdin", gone)
        assert nic.confirmer("eno1")(5.0) is False


def test_yes_asks_nobody_and_the_time_is_the_operators() -> None:
    _, args = main.parse(["nic", "attach", "eno1", "--yes", "--timeout", "7"])
    terms = nic.terms(args, "eno1")
    assert terms.confirm is None and terms.timeout == 7.0
    _, args = main.parse(["nic", "detach", "eno1"])
    assert nic.terms(args, "eno1").confirm is not None and args.timeout == 60.0


@pytest.mark.parametrize("said", ["inf", "nan", "1e300", "-200", "0", "soon"])
def test_a_time_that_nobody_can_wait_is_refused(
    said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main.parse(["nic", "attach", "eno1", f"--timeout={said}"])
    assert ended.value.code == 2 and "--timeout" in capsys.readouterr().err
    assert main.parse(["nic", "detach", "eno1", "--timeout", "3600"])[1].timeout == 3600.0


def test_the_answer_is_kept_as_up_would_write_it(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = cloud.etc / KEPT
    kept.write_text("[general]\nCONFIG_NEUTRON_OVS_BRIDGE_IFACES=br-ex:eno1\nCONFIG_DEBUG_MODE=y\n")
    monkeypatch.setattr(nics, "pairs", lambda _: [("br-ex", "eno1")])
    monkeypatch.setattr(nics, "key_of", lambda _: "CONFIG_NEUTRON_OVS_BRIDGE_IFACES")
    monkeypatch.setattr(nics, "device_of", lambda _, name: name)
    _, args = main.parse(["nic", "show", "--name", "c", "--root", str(cloud.root)])
    ctx = cast(Context, None)
    for change, value in (
        ({"more": ("br-b", "eno2")}, "br-ex:eno1,br-b:eno2"),
        ({"more": ("br-ex", "eno1")}, "br-ex:eno1"),
        ({"gone": "eno1"}, ""),
    ):
        nic.save(cloud, nic.answering(args, ctx, **change))
        text = kept.read_text()
        assert (
            f"CONFIG_NEUTRON_OVS_BRIDGE_IFACES={value}\n" in text and "CONFIG_DEBUG_MODE=y" in text
        )
        assert text == keep(cloud, resolve_answers(cloud, args))
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What becomes of the keeper's file, the switch and the answers."""
    said: list[str] = []

    def join(_: Cloud) -> bool:
        said.append("joined")
        return True

    monkeypatch.setattr(nics, "write", lambda named: said.append(f"written: {named}"))
    monkeypatch.setattr(nics, "pairs", lambda _: [("br-ex", "eno1"), ("br-b", "eno2")])
    monkeypatch.setattr(nics, "key_of", lambda _: "KEY")
    monkeypatch.setattr(nics, "device_of", lambda _, name: name)
    monkeypatch.setattr(nics, "drop", lambda *_: said.append("dropped"))
    monkeypatch.setattr(nics, "joining", lambda *_: [nics.Wire("br-ex", "eno1")])
    monkeypatch.setattr(nic, "context_of", lambda _, args: getattr(args, "set", ["as it is"])[0])
    monkeypatch.setattr(nic, "join", join)
    monkeypatch.setattr(nic, "save", lambda _, args: said.append(f"saved: {args.set[0]}"))
    monkeypatch.setattr(operations, "recover", lambda *_: [])
    monkeypatch.setattr(operations, "need_returnable", lambda *_: None)
    return said


def detach(cloud: Cloud, *words: str) -> int:
    line = ["nic", "detach", "eno1", "--yes", "--name", "c", "--root", str(cloud.root), *words]
    return nic.detach(cloud, main.parse(line)[1])


PARTED = ["written: KEY=br-b:eno2", "joined", "dropped"]


def test_what_is_given_back_goes_out_of_the_answers_last(
    cloud: Cloud, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def given_back(*_: object) -> str:
        told.append("given back")
        return "so"

    monkeypatch.setattr(operations, "detach", given_back)
    assert detach(cloud) == 0
    assert told == [*PARTED, "given back", "saved: KEY=br-b:eno2"]


@pytest.mark.parametrize("error", [Lost("put back"), KeyboardInterrupt()])
def test_what_is_not_given_back_is_joined_as_before(
    cloud: Cloud, told: list[str], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Declined, stopped, or because the gateway does not answer."""

    def lost(*_: object) -> str:
        raise error

    monkeypatch.setattr(operations, "detach", lost)
    with pytest.raises(type(error)):
        detach(cloud)
    assert told == [*PARTED, "written: as it is", "joined"]


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_what_cannot_be_given_back_is_said_before_anything_is_touched(
    cloud: Cloud, told: list[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    def refused(*_: object) -> None:
        raise OnestackError("edited since")

    monkeypatch.setattr(operations, "need_returnable", refused)
    with pytest.raises(OnestackError, match="edited since"):
        detach(cloud, *words)
    assert told == []


def test_a_terminal_that_is_lost_is_as_if_it_was_stopped() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with pytest.raises(KeyboardInterrupt), told_to_stop():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == before
