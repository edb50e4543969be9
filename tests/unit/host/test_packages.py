"""One apt transaction, with dpkg and apt replaced: what is done, in which order, and undone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from onestack.host import dpkg, packages
from onestack.host.command import CommandResult
from onestack.host.ledger import Ledger
from onestack.model.errors import OnestackError


class Apt:
    """A machine's packages: answers what `packages` runs."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.installed: dict[str, str] = {"bash": "5"}
        self.ran: list[str] = []
        self.answers: dict[str, list[tuple[int, str, str]]] = {}
        self.policy: list[bool] = []
        self.lists = tmp_path / "lists"
        self.lists.mkdir()
        (self.lists / "mirror_Packages").write_text("")
        self.ledger = Ledger(tmp_path / "etc" / "ledger.json")
        monkeypatch.setattr(packages, "POLICY", tmp_path / "policy-rc.d")
        monkeypatch.setattr(packages, "SAVED", tmp_path / "policy-rc.d.onestack-saved")
        monkeypatch.setattr(packages, "LISTS", self.lists)
        monkeypatch.setattr(packages, "CACHE", tmp_path)
        monkeypatch.setattr(packages, "_apt", self.apt)
        monkeypatch.setattr(dpkg, "wait_for_lock", lambda **_: None)
        monkeypatch.setattr(dpkg, "unfinished", lambda: False)
        monkeypatch.setattr(dpkg, "lock_holder", lambda: None)
        monkeypatch.setattr(
            dpkg,
            "installed",
            lambda names: {n: self.installed[n] for n in names if n in self.installed},
        )

    def apt(self, argv: list[str], seconds: float, check: bool = True) -> CommandResult:
        words = [w for w in argv if not w.startswith("-") or w in ("-s", "-a", "--configure")]
        text = " ".join(words)
        self.ran.append(text)
        self.policy.append(packages.ours(packages.POLICY))
        kind = "simulate" if "-s" in words else words[1] if words[0] == "apt-get" else words[0]
        if self.answers.get(kind):
            code, out, err = self.answers[kind].pop(0)
        else:
            code, err = 0, ""
            out = (
                "".join(f"Inst {w} (1)\n" for w in words[words.index("install") + 1 :])
                if (kind == "simulate")
                else ""
            )
        if kind == "install" and code == 0:
            for word in words[words.index("install") + 1 :]:
                self.installed[word] = "1"
        return CommandResult(tuple(argv), code, out, err, 0.0)

    def run(self, *names: str) -> list[str]:
        made = []
        for change in packages.ensure_packages(names, self.ledger, systemd=False):
            change.do()
            made.append(change.what)
        return made


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    return Apt(tmp_path, monkeypatch)


def test_one_transaction_of_what_is_missing(apt: Apt) -> None:
    assert apt.run("b", "a", "bash", "a") == ["install 2 packages: a b"]
    assert apt.ran == ["apt-get -s install a b", "apt-get install a b"]
    assert apt.policy == [True, True]
    assert not packages.POLICY.exists()
    kinds = {e.kind: e.data for e in apt.ledger.entries()}
    assert kinds["packages"] == {"names": ["a", "b"]}
    assert "policy-rc.d" not in kinds
    assert apt.run("a", "b") == []


def test_lists_are_fetched_only_when_needed(apt: Apt) -> None:
    next(apt.lists.iterdir()).unlink()
    apt.run("a")
    assert apt.ran[0] == "apt-get update"
    apt.ran.clear()
    (apt.lists / "mirror_Packages").write_text("")
    apt.answers["simulate"] = [(100, "", "E: Unable to locate package b")]
    apt.run("b")
    assert apt.ran == [
        "apt-get -s install b",
        "apt-get update",
        "apt-get -s install b",
        "apt-get install b",
    ]


def test_lists_that_are_too_old(apt: Apt) -> None:
    apt.answers["install"] = [(100, "", "E: Failed to fetch http://m/a.deb  404  Not Found")]
    apt.run("a")
    assert apt.ran[-2:] == ["apt-get update", "apt-get install a"]


def test_an_install_that_died_half_way_is_finished_first(
    apt: Apt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dpkg, "unfinished", lambda: True)
    apt.run("a")
    assert apt.ran[0] == "dpkg --configure -a"


@pytest.mark.parametrize(
    ("said", "cause", "cure"),
    [
        ("E: Failed to fetch x  Could not resolve 'mirror'", "is not reached", "apt-get update"),
        ("dpkg: error: No space left on device", "the disk is full", "df -h"),
        ("E: Unable to correct problems, you have held broken packages.", "hold", "showhold"),
        ("E: Sub-process /usr/bin/dpkg returned an error code (1)", "dpkg failed", "dpkg.log"),
        ("E: Could not get lock /var/lib/dpkg/lock", "another program", "wait"),
        ("E: something new", "exit code 100", "again"),
    ],
)
def test_failures_are_explained(apt: Apt, said: str, cause: str, cure: str) -> None:
    apt.answers["install"] = [(100, "", said)]
    with pytest.raises(OnestackError) as caught:
        apt.run("a")
    assert cause in caught.value.why
    assert said in caught.value.why
    assert cure in caught.value.cure
    assert not packages.POLICY.exists()


def test_another_policy_is_put_back(apt: Apt) -> None:
    packages.POLICY.write_text("#!/bin/sh\nexit 0\n")
    apt.run("a")
    assert packages.POLICY.read_text() == "#!/bin/sh\nexit 0\n"
    assert not packages.SAVED.exists()


def test_a_policy_left_by_a_kill_is_known_and_removed(apt: Apt) -> None:
    apt.installed["a"] = "1"
    packages.SAVED.write_text("theirs")
    packages.POLICY.write_text(packages.POLICY_TEXT)
    (what,) = apt.run("a")
    assert "left by an interrupted install" in what
    assert packages.POLICY.read_text() == "theirs"
    assert apt.run("a") == []


def test_units_that_packages_enable_are_disabled(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(argv: list[str], **_: object) -> CommandResult:
        ran.append(argv)
        out = {
            "dpkg": "/lib/systemd/system/a.service\n/usr/lib/systemd/system/b.timer\n/usr/bin/a\n",
            "systemctl": "enabled\n" if "a.service" in argv else "static\n",
        }[argv[0]]
        return CommandResult(tuple(argv), 0, out, "", 0.0)

    monkeypatch.setattr(packages, "run", run)
    for change in packages.ensure_packages(["a"], apt.ledger, systemd=True):
        change.do()
    assert ["systemctl", "disable", "a.service"] in ran
    assert all("b.timer" not in argv for argv in ran if "disable" in argv)
    assert "package-units" not in {e.kind for e in apt.ledger.entries()}
    assert list(packages.ensure_packages(["a"], apt.ledger, systemd=True)) == []


HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(30)
"""


def test_who_holds_dpkgs_lock(tmp_path: Path) -> None:
    assert dpkg.lock_holder(tmp_path) is None
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock-frontend")], stdout=subprocess.PIPE
    )
    told: list[str] = []
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert dpkg.lock_holder(tmp_path) == process.pid
        with pytest.raises(OnestackError) as caught:
            dpkg.wait_for_lock(0.3, tmp_path, told.append)
    finally:
        process.kill()
        process.wait()
    assert f"process {process.pid} (" in caught.value.why
    assert len(told) == 1 and str(process.pid) in told[0]
    dpkg.wait_for_lock(5, tmp_path)


def test_installed_asks_dpkg_itself() -> None:
    found = dpkg.installed(["dpkg", "no-such-package-at-all"])
    assert list(found) == ["dpkg"]
    assert dpkg.installed([]) == {}


def test_installed_packages_as_dpkgs_own_files_say(tmp_path: Path) -> None:
    def entry(name: str, state: str, version: str) -> str:
        return f"Package: {name}\nStatus: {state}\nVersion: {version}\nDescription: x\n y\n"

    (tmp_path / "updates").mkdir()
    assert dpkg.installed(admin=tmp_path) == {}
    kept = [
        entry("a", "install ok installed", "1:2.0-1"),
        entry("b", "deinstall ok config-files", "1.0"),
        entry("c", "install ok half-configured", "1.0"),
        entry("d", "install ok installed", "3.0"),
    ]
    (tmp_path / "status").write_text("\n".join(kept))
    assert dpkg.installed(admin=tmp_path) == {"a": "1:2.0-1", "d": "3.0"}
    # What an interrupted dpkg has not merged yet.
    (tmp_path / "updates" / "0000").write_text(entry("d", "install ok unpacked", "3.1"))
    (tmp_path / "updates" / "0001").write_text(entry("c", "install ok installed", "1.1"))
    (tmp_path / "updates" / "tmp.i").write_text("unfinished")
    assert dpkg.installed(admin=tmp_path) == {"a": "1:2.0-1", "c": "1.1"}
    assert dpkg.installed(["a", "b"], tmp_path) == {"a": "1:2.0-1"}
