"""What components declare follows from the facts alone: on each kept machine, with no program."""

from __future__ import annotations

import dataclasses
import io
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import requests  # noqa: F401  # Importing it opens a socket, before that is forbidden.

from onestack.answers import packstack_file
from onestack.answers.registry import registry
from onestack.answers.secrets import Secrets
from onestack.components import ALL
from onestack.deploy.roster import ports, roster_of
from onestack.host import facts
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from onestack.model.declared import ASPECTS, Declared
from onestack.model.errors import NotInstalled
from onestack.model.host import Host
from onestack.release.release import Release
from tests.support.machines import NAMES, machine
from tests.support.needs import needs_root

REPOSITORY = Path(__file__).resolve().parents[2]
ANSWERS = {"default": None, "everything": REPOSITORY / "examples" / "everything.answers"}
STARTS = ("execv", "execve", "execvp", "execvpe", "posix_spawn", "posix_spawnp", "fork", "system")
LOOKS = ("gather", "resolvers", "module_available", "may_listen", "group_of")
"""Of the facts' own looks at this machine: they were made before."""


MACHINES_OWN = ("/dev/", "/etc/", "/proc/", "/run/", "/sys/")


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    # Not pytest's own: a cloud's root must be short.
    with tempfile.TemporaryDirectory(prefix="machines-") as folder:
        yield Path(folder) / "cloud"


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be started, nor found out about the machine that the test runs on."""

    def refuse(*words: object, **_: object) -> NoReturn:
        pytest.fail(f"a declaration looked at the machine or started a program: {words}")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    for name in STARTS:
        monkeypatch.setattr(os, name, refuse)
    for name in LOOKS:
        monkeypatch.setattr(facts, name, refuse)
    for module, name in ((os, "stat"), (os, "listdir"), (os, "scandir"), (io, "open")):
        monkeypatch.setattr(module, name, _outside(getattr(module, name), refuse))
    for name in ("socket", "gethostname", "getaddrinfo", "getfqdn", "if_nametoindex"):
        monkeypatch.setattr(socket, name, refuse)


def _outside(look: Callable[..., Any], refuse: Callable[..., NoReturn]) -> Callable[..., Any]:
    """``look``, except at the machine's own places."""

    def looked(path: Any = ".", *words: Any, **more: Any) -> Any:
        if not isinstance(path, int) and os.fspath(path).startswith(MACHINES_OWN):
            refuse(path)
        return look(path, *words, **more)

    return looked


def context(root: Path, installed: Release, name: str, which: str) -> Context:
    file = ANSWERS[which]
    entries = packstack_file.read(file).entries if file else ()
    known = registry()
    answers = known.answers({known.targets.get(e.name, e.name): e.text for e in entries})
    host = machine(name)
    cloud = Cloud("onestack", root, "onestack" if name.startswith("namespace") else None)
    return Context(
        cloud=cloud,
        answers=answers,
        secrets=Secrets(root / "etc" / "secrets.json", answers, known.secrets, keep=False),
        host=Host.alone(cloud, host),
        release=installed,
        components=tuple(c for c in ALL if c.enabled(answers)),
        switched_off=tuple(c for c in ALL if not c.enabled(answers)),
    )


def plain(what: Any) -> Any:
    """Without what is to be done: that acts, later, and may look."""
    if dataclasses.is_dataclass(what) and not isinstance(what, type):
        return {f.name: plain(getattr(what, f.name)) for f in dataclasses.fields(what)}
    if isinstance(what, dict):
        return {key: plain(each) for key, each in what.items()}
    if isinstance(what, (list, tuple)):
        return [plain(each) for each in what]
    return "something to do" if callable(what) else what


def said(declared: Declared) -> dict[str, Any]:
    return {aspect: plain(getattr(declared, aspect)) for aspect in ASPECTS}


@needs_root
@pytest.mark.parametrize("which", ANSWERS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("still")
def test_the_whole_model_follows_from_facts(
    root: Path, installed: Release, name: str, which: str
) -> None:
    ctx = context(root, installed, name, which)

    def everything() -> tuple[Any, ...]:
        # Without what the last time has kept.
        anew = dataclasses.replace(ctx)
        return (
            {declared.name: said(declared) for declared in anew.model},
            [(d.name, d.packages, d.users) for d in anew.model.off],
            roster_of(anew).to_json(),
            [list(c.validate(anew.answers)) for c in ALL],
            [list(map(str, c.preflight_checks(anew))) for c in anew.components],
        )

    assert everything() == everything()


@needs_root
@pytest.mark.parametrize("name", ["namespace-not-yet", "several-nics"])
def test_a_tunnel_end_that_is_not_there_is_not_installed_yet(
    root: Path, installed: Release, name: str
) -> None:
    """So preflight still tells the ports, and a dry run says what it does not know."""
    ctx = context(root, installed, name, "default")
    answers = registry().answers(
        {"CONFIG_NEUTRON_L2_AGENT": "ovn", "CONFIG_NEUTRON_OVN_TUNNEL_IF": "public0"}
    )
    ctx = dataclasses.replace(ctx, answers=answers)
    with pytest.raises(NotInstalled, match="public0 cannot be this host's end of tunnels"):
        ctx.model.evaluate()
    assert 9696 in {port for _, port, _ in ports(ctx)}


def test_machines_differ_in_what_their_names_say() -> None:
    assert len(NAMES) >= 12
    base = dataclasses.asdict(machine())
    for name in NAMES:
        assert name == "debian-12" or dataclasses.asdict(machine(name)) != base, name
    assert machine("debian-12-kvm").kvm and not machine("debian-12").kvm
    assert machine("debian-12-openvswitch-module").ovs_kernel
    assert not machine("namespace-not-yet").cloud_devices
