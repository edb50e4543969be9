"""packstack's command line: what each of its options comes to, and files that lose nothing."""

from __future__ import annotations

import datetime
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.answers import packstack_file, table
from onestack.answers.registry import registry
from onestack.cli import main as program
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
        # Where services do not get through, there is to be no cloud.
        Path(folder).chmod(0o711)
        yield f"{folder}/c"


def values(path: Path) -> dict[str, str]:
    return {entry.name: entry.text for entry in packstack_file.read(path).entries}


UP = ["up", "--name", "onestack", "--defaults", "latest"]
ASK = ["answers", "--name", "onestack", "--defaults", "latest"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["--answer-file", "a.txt"], [*UP, "--answer-file", "a.txt"]),
        (
            ["--answer-file=a.txt", "--dry-run", "--release=mitaka"],
            [*UP[:-1], "mitaka", "--answer-file", "a.txt", "--dry-run"],
        ),
        (
            ["--gen-answer-file=a.txt", "--ntp-servers=192.0.2.1", "--default-password=x"],
            [
                *(*ASK, "--set=CONFIG_DEFAULT_PASSWORD=x", "--set=CONFIG_NTP_SERVERS=192.0.2.1"),
                *("--passwords", "--write", "a.txt"),
            ],
        ),
        (["--validate-answer-file", "a.txt"], [*ASK, "--check", "--answer-file", "a.txt"]),
        (
            ["-a", "a.txt", "--debug", "--name", "b", "--netns", "-t", "900"],
            [
                *("up", "--name", "b", "--netns", "--defaults", "latest"),
                *("--set=CONFIG_DEBUG_MODE=y", "--answer-file", "a.txt"),
            ],
        ),
        (
            ["-a", "a.txt", "--ntp-servers=", "--ssl-cert-subject-state=--"],
            [
                *(*UP, "--set=CONFIG_NTP_SERVERS=", "--set=CONFIG_SSL_CERT_SUBJECT_ST=--"),
                *("--answer-file", "a.txt"),
            ],
        ),
        # Spellings of older releases.
        (
            ["-a", "a.txt", "--neutron-l2-agent=ovn", "--provision-all-in-one-ovs-bridge", "n"],
            [
                *(*UP, "--set=CONFIG_NEUTRON_L2_AGENT=ovn"),
                "--set=CONFIG_PROVISION_ALL_IN_ONE_OVS_BRIDGE=n",
                *("--answer-file", "a.txt"),
            ],
        ),
    ],
)
def test_a_line_of_packstacks_is_one_of_ours(typed: list[str], meant: list[str]) -> None:
    assert packstack.translate(typed) == [meant]


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        (["--allinone"], []),
        (["--allinone", "--provision-demo=n"], ["--set=CONFIG_PROVISION_DEMO=n"]),
        (["--install-hosts=192.0.2.5"], ["--set=CONFIG_CONTROLLER_HOST=192.0.2.5"]),
        (
            ["--install-hosts=192.0.2.5, 192.0.2.6,192.0.2.7"],
            [
                "--set=CONFIG_CONTROLLER_HOST=192.0.2.5",
                "--set=CONFIG_COMPUTE_HOSTS=192.0.2.6,192.0.2.7",
            ],
        ),
    ],
)
def test_what_is_made_without_a_file_leaves_one(
    typed: list[str], given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    now = datetime.datetime(2026, 11, 29, 4, 5, 6)
    file = "/home/me/packstack-answers-20261129-040506.txt"
    assert packstack.translate([*typed, "-y"], now) == [
        [*ASK, *given, "--passwords", "--write", file],
        [*UP, *given, "--answer-file", file, "--dry-run"],
    ]
    # Before it is written, the launcher looks at the machine with the same answers.
    assert packstack.first_look(typed) == [*UP, *given]


def test_home_is_found_where_the_shell_did_not_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert packstack.translate(["--answer-file=~/a.txt"])[0][-1] == "/home/me/a.txt"


def test_what_has_no_effect_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "run", lambda words: 0)
    for typed in (["--timeout=900"], ["-t", "900"], []):
        assert packstack.run(["--allinone", *typed]) == 0
        assert ("--timeout has no effect" in capsys.readouterr().err) is bool(typed)


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ([], "not told what to do"),
        (["--allinone", "--answer-file=a"], "at once"),
        (["--install-hosts=,"], "names no machine"),
        (["--allinone", "--youcandothat"], r"packstack has no option --youcandothat\b"),
        (["--allinone", "--release=havana"], "--release: invalid choice"),
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
    """By packstack's own names, of whatever release."""
    options = packstack.key_options()
    rows = table.rows()
    for name in registry().keys:
        assert name in options or (name in rows and not rows[name].options), name
    every = [option for each in options.values() for option in each]
    assert len(set(every)) == len(every) > 420
    assert options["CONFIG_NTP_SERVERS"] == ("ntp-servers",)
    assert options["CONFIG_NEUTRON_L2_AGENT"] == ("os-neutron-l2-agent", "neutron-l2-agent")
    assert options["CONFIG_ONESTACK_IMAGE"] == ("onestack-image",)


@pytest.mark.parametrize("release", table.RELEASES)
def test_a_whole_file_is_private_commented_and_loses_nothing(
    tmp_path: Path, root: str, release: str
) -> None:
    file, chosen = tmp_path / "a.txt", ("--root", root, "--release", release)
    done = run(*chosen, "--gen-answer-file", str(file), "--ntp-servers=192.0.2.1")
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = file.read_text().splitlines()
    assert lines[0] == "[general]"
    for number, line in enumerate(lines):
        if line.startswith(("CONFIG_", "EXCLUDE_")):
            assert lines[number - 1].startswith("# "), f"{line} has no comment"
    listed = values(file)
    assert listed["CONFIG_NTP_SERVERS"] == "192.0.2.1"
    gone = [line.removeprefix("#") for line in lines if line.startswith(("#CONFIG_", "#EXCL"))]
    assert len(listed) + len(gone) == sum(len(group.keys) for group in registry().groups)
    # What the notes edit stands there, also where packstack has it no more.
    for service in ("HEAT", "SAHARA", "LBAAS", "TROVE", "HEAT_CLOUDWATCH"):
        assert listed[f"CONFIG_{service}_INSTALL"] == "n"
    assert listed["CONFIG_NEUTRON_FWAAS"] == "n"
    assert ("CONFIG_NAGIOS_INSTALL=y" in gone) == (release == "latest")
    # It is a valid file, and says nothing that was not meant.
    checked = run(*chosen, "--validate-answer-file", str(file))
    assert (checked.returncode, checked.stdout) == (0, "the answers can be used\n"), checked.stderr


def test_passwords_are_made_as_packstack_made_them(tmp_path: Path, root: str) -> None:
    random, common = tmp_path / "random", tmp_path / "common"
    for file, more in ((random, ()), (common, ("--default-password", "geheim"))):
        done = run("--root", root, "--gen-answer-file", str(file), *more)
        assert done.returncode == 0, done.stderr
    secret = {s.key for s in registry().secrets.values() if s.key}
    made = {n: t for n, t in values(random).items() if n in secret and t}
    # Of another kind than packstack's: the cloud makes its own.
    assert made.pop("CONFIG_ONESTACK_BARBICAN_KEK") == "PW_PLACEHOLDER"
    assert len(made) > 20 and len(set(made.values())) == len(made)
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in made.values())
    listed = values(common)
    assert listed["CONFIG_DEFAULT_PASSWORD"] == listed["CONFIG_KEYSTONE_ADMIN_PW"] == "geheim"
    # No password, but what hashes and ciphers are made with.
    for name in ("CONFIG_SWIFT_HASH", "CONFIG_HEAT_AUTH_ENC_KEY"):
        assert listed[name] not in ("geheim", values(random)[name])


def test_a_dry_run_leaves_its_answers(tmp_path: Path, root: str) -> None:
    done = subprocess.run(
        [str(PACKSTACK), "--root", root, "--allinone", "--dry-run", "--provision-demo=n"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    # Whether this machine is fit is another matter; the cloud is not touched.
    assert done.returncode in (0, 3), done.stderr
    (file,) = tmp_path.glob("packstack-answers-*.txt")
    listed = values(file)
    assert listed["CONFIG_HORIZON_INSTALL"] == listed["CONFIG_SWIFT_INSTALL"] == "y"
    assert listed["CONFIG_PROVISION_DEMO"] == "n"
    assert str(file) in done.stdout and not Path(root).exists()


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
        "CONFIG_DEBUG_MODE=y\n[general]\nCONFIG_DEBUG_MODE=n\nCONFIG_IRONIC_INSTALL=y\n"
        "CONFIG_NEUTRON_L2_AGENT=linuxbridge\nnonsense\nCONFIG_NTP_SERVER=a\n"
        "CONFIG_SERVICE_WORKERS=%{::uptime}\nCONFIG_HORIZON_INSTALL=y # really\n"
    )
    done = run("--root", root, "--validate-answer-file", str(file))
    assert done.returncode == 2
    for part in (
        f"{file}:1: this line stands before [general]",
        f"{file}:3: CONFIG_DEBUG_MODE contradicts {file}:1",
        f"{file}:4: CONFIG_IRONIC_INSTALL=y is refused: bare metal",
        f"{file}:5: CONFIG_NEUTRON_L2_AGENT=linuxbridge: upstream removed linuxbridge",
        f"{file}:6: 'nonsense' is not followed by '='",
        f"{file}:7: CONFIG_NTP_SERVER is not a known key; did you mean CONFIG_NTP_SERVERS?",
        f"{file}:8: CONFIG_SERVICE_WORKERS=%{{::uptime}}: facter's uptime is not known here",
        f"{file}:9: CONFIG_HORIZON_INSTALL=y # really: a remark cannot stand behind a value",
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
