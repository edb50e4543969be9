"""packstack's command line: what each of its options comes to, and files that lose nothing."""

from __future__ import annotations

import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.answers import packstack_file, table
from onestack.answers.registry import registry
from onestack.cli import packstack
from onestack.model.errors import BadAnswers

PACKSTACK = Path(__file__).resolve().parents[3] / "packstack"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PACKSTACK), *words], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def root() -> Iterator[str]:
    # Not pytest's own: a cloud's root must be short.
    with tempfile.TemporaryDirectory(prefix="packstack-") as folder:
        yield f"{folder}/c"


def values(path: Path) -> dict[str, str]:
    return {entry.name: entry.text for entry in packstack_file.read(path).entries}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["--allinone"], ["up", "--name", "onestack"]),
        (["--answer-file", "a.txt"], ["up", "--name", "onestack", "--answer-file", "a.txt"]),
        (
            ["--answer-file=a.txt", "--dry-run"],
            ["up", "--name", "onestack", "--answer-file", "a.txt", "--dry-run"],
        ),
        (
            ["--install-hosts=192.0.2.5", "-y"],
            ["up", "--name", "onestack", "--set=CONFIG_CONTROLLER_HOST=192.0.2.5", "--dry-run"],
        ),
        (
            ["--gen-answer-file=a.txt", "--ntp-servers=192.0.2.1", "--default-password=x"],
            [
                *("answers", "--name", "onestack", "--set=CONFIG_DEFAULT_PASSWORD=x"),
                *("--set=CONFIG_NTP_SERVERS=192.0.2.1", "--write", "a.txt"),
            ],
        ),
        (
            ["--validate-answer-file", "a.txt"],
            ["answers", "--name", "onestack", "--check", "--answer-file", "a.txt"],
        ),
        (
            ["--allinone", "--debug", "--name", "b", "--netns", "-t", "900"],
            ["up", "--name", "b", "--netns", "--set=CONFIG_DEBUG_MODE=y"],
        ),
        (
            ["--allinone", "--ntp-servers="],
            ["up", "--name", "onestack", "--set=CONFIG_NTP_SERVERS="],
        ),
        (
            ["--allinone", "--ssl-cert-subject-state=--"],
            ["up", "--name", "onestack", "--set=CONFIG_SSL_CERT_SUBJECT_ST=--"],
        ),
    ],
)
def test_a_line_of_packstacks_is_one_of_ours(typed: list[str], meant: list[str]) -> None:
    assert sorted(packstack.translate(typed)) == sorted(meant)


def test_home_is_found_where_the_shell_did_not_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert packstack.translate(["--answer-file=~/a.txt"])[-1] == "/home/me/a.txt"


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ([], "not told what to do"),
        (["--allinone", "--answer-file=a"], "at once"),
        (["--install-hosts=192.0.2.5,192.0.2.6"], "names 2 machines"),
        (
            ["--allinone", "--nova-compute-hosts=x"],
            r"packstack has no option --nova-compute-hosts\b",
        ),
        (["--allinone", "now"], "does not know what to do with now"),
        (["--answer-file"], "--answer-file: expected one argument"),
        (["--answer-file=~nobody2/x"], "--answer-file: ~nobody2 is no user's home"),
    ],
)
def test_what_cannot_be_meant_is_refused(typed: list[str], why: str) -> None:
    with pytest.raises(BadAnswers, match=why):
        packstack.translate(typed)


def test_an_option_that_nearly_is_one() -> None:
    with pytest.raises(BadAnswers) as caught:
        packstack.translate(["--allinone", "--os-swift-instal=y"])
    assert caught.value.cure == "did you mean --os-swift-install?"


def test_a_file_that_is_not_there_is_made_in_packstacks_way(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    done = run("--answer-file", str(file), "--dry-run")
    assert done.returncode == 2
    assert f"make one: packstack --gen-answer-file {file}" in done.stderr


def test_every_key_is_an_option() -> None:
    """By packstack's own name, where packstack's last releases had one."""
    options = packstack.key_options()
    rows = table.rows()
    for name in registry().keys:
        assert name in options or (name in rows and not rows[name].option), name
    assert len(set(options.values())) == len(options)
    assert options["CONFIG_NTP_SERVERS"] == "ntp-servers"
    assert options["CONFIG_ONESTACK_IMAGE"] == "onestack-image"


def test_a_whole_file_is_private_commented_and_loses_nothing(tmp_path: Path, root: str) -> None:
    file = tmp_path / "a.txt"
    done = run("--root", root, "--gen-answer-file", str(file), "--ntp-servers=192.0.2.1")
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = file.read_text().splitlines()
    assert lines[0] == "[general]"
    for number, line in enumerate(lines):
        if line.startswith(("CONFIG_", "EXCLUDE_")):
            assert lines[number - 1].startswith("# "), f"{line} has no comment"
    listed = values(file)
    assert listed["CONFIG_NTP_SERVERS"] == "192.0.2.1"
    assert len(listed) == sum(len(group.keys) for group in registry().groups)
    # It is a valid file, and says nothing that was not meant.
    checked = run("--root", root, "--validate-answer-file", str(file))
    assert (checked.returncode, checked.stdout) == (0, "the answers can be used\n"), checked.stderr


def test_a_file_that_is_made_anew_keeps_what_stands_in_it(tmp_path: Path, root: str) -> None:
    file = tmp_path / "a.txt"
    file.write_text(
        "# mine\n[general]\nCONFIG_KEYSTONE_ADMIN_PW=p a$s=s;#\n"
        "CONFIG_MYSQL_PW=old\nCONFIG_SERVICE_WORKERS=%{::processorcount}\n"
    )
    for _ in range(2):
        assert run("--root", root, "--gen-answer-file", str(file)).returncode == 0
        found = values(file)
        assert found["CONFIG_KEYSTONE_ADMIN_PW"] == "p a$s=s;#"
        assert found["CONFIG_MYSQL_PW"] == "old"
        assert found["CONFIG_SERVICE_WORKERS"] == "%{::processorcount}"
        assert file.read_text().startswith("# mine\n")
    before = file.read_text()
    run("--root", root, "--gen-answer-file", str(file))
    assert file.read_text() == before


def test_what_is_wrong_with_a_file_is_said_all_at_once(tmp_path: Path, root: str) -> None:
    file = tmp_path / "a.txt"
    file.write_text(
        "CONFIG_DEBUG_MODE=y\n[general]\nCONFIG_DEBUG_MODE=n\nCONFIG_TROVE_INSTALL=y\n"
        "CONFIG_NEUTRON_L2_AGENT=linuxbridge\nnonsense\nCONFIG_NTP_SERVER=a\n"
        "CONFIG_SERVICE_WORKERS=%{::uptime}\nCONFIG_COMPUTE_HOSTS=192.0.2.5,192.0.2.6\n"
    )
    done = run("--root", root, "--validate-answer-file", str(file))
    assert done.returncode == 2
    for part in (
        f"{file}:1: this line stands before [general]",
        f"{file}:3: CONFIG_DEBUG_MODE contradicts {file}:1",
        f"{file}:4: CONFIG_TROVE_INSTALL=y is refused: Trove",
        f"{file}:5: CONFIG_NEUTRON_L2_AGENT=linuxbridge: upstream removed linuxbridge",
        f"{file}:6: 'nonsense' is not followed by '='",
        f"{file}:7: CONFIG_NTP_SERVER is not a known key; did you mean CONFIG_NTP_SERVERS?",
        f"{file}:8: CONFIG_SERVICE_WORKERS=%{{::uptime}}: facter's uptime is not known here",
        f"{file}:9: CONFIG_COMPUTE_HOSTS=192.0.2.5,192.0.2.6 is refused",
    ):
        assert part in done.stderr, done.stderr
    assert not Path(root).exists()


def test_older_names_are_taken_and_told(tmp_path: Path, root: str) -> None:
    file = tmp_path / "a.txt"
    file.write_text("[general]\nCONFIG_MYSQL_PW=x\nCONFIG_DEBUG_MODE=y\nCONFIG_DEBUG_MODE=y\n")
    done = run("--root", root, "--validate-answer-file", str(file))
    assert done.returncode == 0, done.stderr
    assert "CONFIG_MYSQL_PW is an older name of CONFIG_MARIADB_PW\n" in done.stdout
    assert f"CONFIG_DEBUG_MODE stands twice: {file}:3 and {file}:4\n" in done.stdout
