"""The command line: exit codes, and one screen for an error."""

from __future__ import annotations

import argparse
import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.cli import handover, options, packstack, up
from onestack.cli import main as program
from onestack.cli.handover import Handover
from onestack.deploy import switched_off
from onestack.diagnose import machine, preflight
from onestack.engine.runner import Runner
from onestack.engine.step import Step
from onestack.host import facts
from onestack.host.facts import HostFacts
from onestack.model import errors
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.declared import Declared
from onestack.model.findings import warn
from tests.support.machines import machine as kept
from tests.support.needs import needs_root
from tests.unit.deploy.toys import Rooms, context

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def root() -> Iterator[Path]:
    """A cloud's root that is short enough for unix sockets."""
    with tempfile.TemporaryDirectory(prefix="onestack-", dir="/tmp") as place:
        yield Path(place)


def onestack(
    *words: str, module: str = "onestack.cli.main", user: int | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", module, *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=60,
        user=user,
    )


def test_help() -> None:
    done = onestack("--help")
    assert done.returncode == 0
    for verb in program.VERBS:
        assert f"\n  {verb} " in done.stdout
    assert onestack().returncode == 2


@pytest.mark.parametrize("verb", program.VERBS)
def test_each_verb_tells_its_options(verb: str) -> None:
    done = onestack(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: onestack {verb}")


def test_a_mistyped_verb() -> None:
    done = onestack("stauts")
    assert done.returncode == 2
    assert "onestack status" in done.stderr and "Traceback" not in done.stderr


def test_mistyped_answers_end_with_2_and_all_of_them(tmp_path: Path, root: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("[general]\nCONFIG_HEAT_INSTAL=y\nCONFIG_DEBUG_MODE=perhaps\n")
    done = onestack("up", "--root", str(root / "c"), "--answer-file", str(file))
    assert done.returncode == 2, done.stderr
    assert f"{file}:2: " in done.stderr and "CONFIG_HEAT_INSTALL" in done.stderr
    assert f"{file}:3: " in done.stderr
    assert not (root / "c").exists()


def test_set_counts_more_than_a_file_and_a_file_more_than_before(
    tmp_path: Path, root: Path
) -> None:
    (root / "etc").mkdir()
    kept = root / "etc" / options.KEPT
    kept.write_text("CONFIG_KEYSTONE_REGION=kept\nCONFIG_DEBUG_MODE=y\n")
    file = tmp_path / "a.txt"
    file.write_text("[general]\nCONFIG_KEYSTONE_REGION=file\nCONFIG_KEYSTONE_ADMIN_USERNAME=me\n")
    words = ["answers", "--root", str(root), "--json", "--answer-file", str(file)]
    words += ["--set", "CONFIG_KEYSTONE_ADMIN_USERNAME=boss"]
    shown = json.loads(onestack(*words).stdout)
    assert shown["CONFIG_DEBUG_MODE"] == {"given": True, "value": "y"}
    assert shown["CONFIG_KEYSTONE_REGION"]["value"] == "file"
    assert shown["CONFIG_KEYSTONE_ADMIN_USERNAME"]["value"] == "boss"


def test_what_another_key_brings_along_is_shown(root: Path) -> None:
    words = ["answers", "--root", str(root), "--set", "CONFIG_SAHARA_INSTALL=y"]
    (line,) = (said for said in onestack(*words).stdout.splitlines() if "CONFIG_HEAT_INST" in said)
    assert line.split() == ["CONFIG_HEAT_INSTALL", "y", "implied"]


def test_what_is_kept_reads_back(root: Path) -> None:
    from argparse import Namespace

    from onestack.model.cloud import Cloud

    cloud = Cloud("a", root)
    args = Namespace(answer_file=None, set=["CONFIG_KEYSTONE_ADMIN_PW=centos"])
    wanted = options.resolve_answers(cloud, args)
    (root / "etc").mkdir()
    (root / "etc" / options.KEPT).write_text(options.keep(cloud, wanted))
    again = options.resolve_answers(cloud, Namespace())
    assert again.answers.given == {"CONFIG_KEYSTONE_ADMIN_PW": "centos"}


def test_secrets_are_not_shown(root: Path) -> None:
    words = ["answers", "--root", str(root), "--set", "CONFIG_KEYSTONE_ADMIN_PW=centos"]
    assert "centos" not in onestack(*words).stdout
    assert "centos" not in onestack(*words, "--json").stdout


def test_completing_a_file_keeps_what_stands_there(tmp_path: Path, root: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("# mine\n[general]\nCONFIG_DEBUG_MODE=y\n")
    done = onestack("answers", "--root", str(root), "--write", str(file))
    assert done.returncode == 0, done.stderr
    lines = file.read_text().splitlines()
    assert lines[:3] == ["# mine", "[general]", "CONFIG_DEBUG_MODE=y"]
    assert "CONFIG_KEYSTONE_REGION=RegionOne" in lines
    before = file.read_text()
    onestack("answers", "--root", str(root), "--write", str(file))
    assert file.read_text() == before


@needs_root
def test_data_is_purged_only_when_somebody_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[switched_off.Left] = []
    monkeypatch.setattr(switched_off, "left", lambda ctx: left)
    ctx = context(tmp_path)
    up.agreed(ctx, yes=False)  # nothing would be lost
    left.append(switched_off.Left(Declared(Rooms(), ctx), (tmp_path,), ()))
    up.agreed(ctx, yes=True)
    with pytest.raises(errors.BadAnswers, match="what is left of Rooms was not removed") as caught:
        up.agreed(ctx, yes=False)
    assert "--yes" in caught.value.cure


def test_verbs_that_change_the_machine_want_root(root: Path) -> None:
    for verb in ("down", "destroy", "restart"):
        words = [verb, "--root", str(root)] + (["nova"] if verb == "restart" else [])
        done = onestack(*words, user=65534)
        assert done.returncode == 3, done.stderr
        assert "root" in done.stderr and "Traceback" not in done.stderr


@needs_root
def test_what_a_user_may_not_read_is_said(root: Path) -> None:
    """``root`` and what is in it are only root's here."""
    file, ours = root / "a.txt", root / "c"
    (ours / "etc").mkdir(parents=True)
    for path in (file, ours / "etc" / options.KEPT):
        path.write_text("[general]\n")
        path.chmod(0o600)

    def said(*words: str, module: str = "onestack.cli.main") -> str:
        done = onestack(*words, module=module, user=65534)
        assert done.returncode == 2, done.stderr
        assert "run it as root" in done.stderr and "itself failed" not in done.stderr
        return done.stderr

    # Neither looked at, nor below a folder that can be.
    for mode in (0o700, 0o711):
        root.chmod(mode)
        for words in (["--answer-file", file, "--check"], ["--write", file]):
            assert f"{file} cannot be read" in said("answers", *map(str, words))
        assert f"{file} cannot be read" in said("up", "--answer-file", str(file))
        for word in ("--answer-file", "--gen-answer-file", "--validate-answer-file"):
            told = said(word, str(file), module="onestack.cli.packstack")
            assert f"{file} cannot be read" in told
    assert f"{ours}/etc/answers.txt cannot be read" in said("answers", "--root", str(ours))
    root.chmod(0o700)
    for verb in ("answers", "openrc", "blame"):
        assert f"you may not look into {ours}" in said(verb, "--root", str(ours))


def test_no_credentials_without_a_cloud(root: Path) -> None:
    done = onestack("openrc", "--root", str(root))
    assert done.returncode == 1
    assert "onestack up" in done.stderr


def test_an_interrupt_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert program.guarded(interrupted, "onestack up --name a") == 1
    assert "run the same command again: onestack up --name a" in capsys.readouterr().err


def test_an_error_of_ours_is_short_and_its_traceback_kept(
    capsys: pytest.CaptureFixture[str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "log").mkdir()
    monkeypatch.setattr(sys, "argv", ["onestack", "status", "--root", str(root)])

    def broken() -> int:
        raise LookupError("odd")

    assert program.guarded(broken, "") == 1
    said = capsys.readouterr().err
    assert "LookupError: odd" in said and "Traceback" not in said
    kept = root / "log" / "onestack.log"
    assert "Traceback" in kept.read_text() and str(kept) in said


def test_an_error_of_ours_in_a_step_is_kept_too(
    capsys: pytest.CaptureFixture[str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "log").mkdir()
    monkeypatch.setattr(sys, "argv", ["onestack", "up", "--root", str(root), "--dry-run"])

    def broken() -> Iterator[Change]:
        raise LookupError("odd")
        yield

    def work() -> int:
        Runner(dry_run=True).execute([Step("a", "A", broken)])
        return 0

    assert program.guarded(work, "") == 1
    said = capsys.readouterr().err
    assert "A: the step a failed: LookupError: odd" in said and "Traceback" not in said
    kept = root / "log" / "onestack.log"
    assert "Traceback" in kept.read_text() and str(kept) in said


def test_each_error_has_its_exit_code() -> None:
    for problem, code in (
        (errors.OnestackError("x"), 1),
        (errors.BadAnswers("x"), 2),
        (errors.PreflightRefused("x"), 3),
    ):

        def work(problem: errors.OnestackError = problem) -> int:
            raise problem

        assert program.guarded(work, "") == code


@pytest.mark.parametrize(
    "typed",
    [
        ["--gen-answer-file", "f"],
        ["--answer-file", "f", "--release", "mitaka"],
        ["--allinone", "--keystone-admin-passwd", "centos", "--dry-run"],
        ["--validate-answer-file", "f"],
    ],
)
def test_what_packstack_comes_to_is_understood(typed: list[str]) -> None:
    commands = packstack.translate(typed)
    assert commands
    for words in commands:
        program.parse(words)


@pytest.mark.parametrize("name", program.VERBS)
def test_what_works_on_the_machine_is_not_typed_inside_a_cloud(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(program.INSIDE, "a")
    shown = {verb: ["show"] for verb in ("pool", "nic", "net")}
    words = {**shown, "image": ["list"], "restart": ["nova"], "join": ["https://a:9443", "-"]}
    words |= {verb: ["list"] for verb in ("token", "host")}
    more = words.get(name, [])
    inside = name in ("status", "logs", "answers", "openrc", "shell", "blame", "image")
    assert program.VERBS[name].outside is not inside
    if inside:
        program.parse([name, *more])
        return
    with pytest.raises(errors.BadAnswers, match=f"{name}` was typed inside the shell of the .*'a'"):
        program.parse([name, *more])


def test_packstack_must_be_told_one_thing() -> None:
    for typed in ([], ["--allinone", "--gen-answer-file", "f"]):
        with pytest.raises(errors.BadAnswers):
            packstack.translate(typed)


def test_every_option_of_packstack_is_known() -> None:
    assert len(packstack.key_options()) > 350
    done = onestack("--options", module="onestack.cli.packstack")
    assert done.returncode == 0
    assert "--os-neutron-l2-agent=VALUE" in done.stdout


def test_nothing_but_the_standard_library_is_needed_before_the_environment() -> None:
    """What runs before our environment exists must not import from it."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import onestack.cli.bootstrap, onestack.cli.session, onestack.cli.packstack\n"
        "from onestack.cli.main import VERBS, verb_module\n"
        "from onestack.answers.registry import registry\n"
        "registry(); [verb_module(v) for v in VERBS]\n"
        "bad = [m for m in ('rich', 'keystoneauth1', 'pymysql', 'cryptography', 'uv')"
        " if m in sys.modules]\n"
        "assert not bad, bad\n"
    )
    words = [sys.executable, "-I", "-S", "-B", "-c", code, str(REPOSITORY / "src")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_is_known_of_the_machine_is_printed(root: Path) -> None:
    """Also where there is no cloud; the tests' own machines are such files."""
    done = onestack("doctor", "--facts", "--name", "nobodys", "--root", str(root / "none"))
    assert done.returncode == 0, done.stderr
    found = HostFacts.from_json(done.stdout)
    assert found.cores == len(os.sched_getaffinity(0))
    assert not (root / "none").exists()


def test_other_machines_are_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the launcher's first look handed over is used, and the machine not gathered anew."""
    asked: list[str] = []

    def dry_run(ctx: Context, *_: object) -> int:
        asked.append(ctx.facts.os_id)
        return 0

    monkeypatch.setattr(
        machine, "apt_problems", lambda packages: pytest.fail("the mirrors were asked")
    )
    monkeypatch.setattr(facts, "gather", lambda *words: pytest.fail("facts were gathered"))
    remote = {"check_apt": [warn("a mirror is slow")], "check_index": []}
    monkeypatch.setattr(handover, "take", lambda cloud: Handover(kept("one-core"), remote))
    monkeypatch.setattr(up, "dry_run", dry_run)
    monkeypatch.setattr(preflight, "CHECKS", preflight.REMOTE)
    monkeypatch.setattr(preflight, "component_checks", lambda ctx: [])
    args = up_args("--dry-run", "--name", "nobodys", "--root", "/nonexistent/cloud")
    assert up.run(args) == 0
    assert asked == ["debian"]


def up_args(*words: str) -> argparse.Namespace:
    return program.parse(["up", *words])[1]


@pytest.mark.parametrize("verb", ["up", "status"])
def test_a_root_that_is_a_file(verb: str) -> None:
    with (
        pytest.raises(errors.BadAnswers, match="cannot be a cloud's directory") as caught,
        tempfile.NamedTemporaryFile() as file,
    ):
        program.run([verb, "--root", file.name])
    assert "Not a directory" in caught.value.why


def test_a_full_disk_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where there is no room for the traceback of an error of ours."""

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/var/lib/onestack/x")

    assert program.guarded(full, "onestack doctor") == 1
    said = capsys.readouterr()
    assert "there is no room on the disk" in said.out + said.err
    assert "Traceback" not in said.out + said.err
    monkeypatch.setattr(os, "fdopen", full)
    assert program.keep("a traceback") is None
