"""Commands in network namespaces, as root: which are run for neutron, and which are not."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.components.neutron import Neutron, namespaces
from onestack.kernel import proc
from onestack.model.root_command import Refused, chosen
from tests.unit.components.rooms import context
from tests.unit.supervise.bench import SOURCE, Bench, needs_root

ID = "0f2a1b3c-1111-2222-3333-444455556666"
TAG = f"PROCESS_TAG=dnsmasq-{ID}"
COMMAND = namespaces.command(Path("/notes"))


def refusal(command: str) -> str:
    try:
        chosen(command.split(), (COMMAND,))
    except Refused as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize(
    "command",
    [
        f"ip netns exec qdhcp-{ID} env {TAG} dnsmasq --no-hosts",
        f"ip netns exec qrouter-{ID} env PROCESS_TAG=haproxy-{ID} haproxy -f x",
        f"ip netns exec ovnmeta-{ID} haproxy -f x",
        f"ip netns exec snat-{ID} radvd -C x",
        f"ip netns exec fip-{ID} keepalived",
    ],
)
def test_what_upstream_starts_is_allowed(command: str) -> None:
    assert refusal(command) == ""


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("dnsmasq", "where ip is allowed"),
        ("", "where ip is allowed"),
        ("ip netns exec", "nothing follows where (qdhcp"),
        ("ip netns exec mine sh", "'mine' stands there where (qdhcp"),
        (f"ip netns exec qdhcp-{ID}/../x dnsmasq", "where (qdhcp"),
        (f"ip netns exec qdhcp-{ID} sh -c id", "'sh' stands there where dnsmasq|haproxy"),
        (f"ip netns exec qdhcp-{ID} env LD_PRELOAD=x dnsmasq", "LD_PRELOAD' may not be set"),
        (f"ip netns exec qdhcp-{ID} env {TAG} /tmp/dnsmasq", "where dnsmasq|haproxy"),
        (f"ip netns exec qdhcp-{ID} env {TAG} env {TAG} dnsmasq", "where dnsmasq|haproxy"),
        (f"ip netns exec qdhcp-{ID} env", "nothing follows where dnsmasq"),
        (f"ip netns exec qdhcp-{ID}", "nothing follows where dnsmasq"),
    ],
)
def test_nothing_else_is(command: str, why: str) -> None:
    assert why in refusal(command)


def test_it_is_neutrons_user_who_may_ask(tmp_path: Path) -> None:
    room = Neutron()
    ctx = context(tmp_path, room)
    notes = tmp_path / "data" / "neutron-namespaces"
    assert room.root_commands(ctx) == {"onestack-neutron": (namespaces.command(notes),)}
    # Its helper is the only program between neutron and the command.
    text = next(f.content for f in room.files(ctx) if f.path.name == "neutron.conf")
    helper = ctx.release.program / "onestack" / "runtime" / "root-helper"
    assert f"root_helper = {helper}\n" in text


@pytest.fixture
def cloud() -> Iterator[Bench]:
    root = Path(tempfile.mkdtemp(prefix="toys-"))
    root.chmod(0o755)
    (root / "notes").mkdir()
    toys = Bench(root)
    toys.launch(root_commands={"nobody": (namespaces.command(root / "notes"),)})
    yield toys
    toys.end()


def ask(cloud: Bench, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SOURCE / "onestack" / "runtime" / "root-helper", *command],
        env={proc.ROOT_VARIABLE: str(cloud.root), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        user="nobody",
        group=pwd.getpwnam("nobody").pw_gid,
        extra_groups=(),
        timeout=30,
        check=False,
    )


@needs_root
def test_a_command_runs_in_its_namespace(cloud: Bench) -> None:
    name = f"qdhcp-{uuid.uuid4()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        done = ask(cloud, "ip", "netns", "exec", name, "dnsmasq", "--test", "--conf-file=/dev/null")
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
    assert (done.returncode, done.stderr.strip()) == (0, "dnsmasq: syntax check OK.")
    assert [file.name for file in (cloud.root / "notes").iterdir()] == [name]


@needs_root
def test_a_failing_command_gives_its_code_and_words(cloud: Bench) -> None:
    done = ask(cloud, "ip", "netns", "exec", f"qdhcp-{ID}", "dnsmasq")
    assert done.returncode not in (0, 126)
    assert "Cannot open network namespace" in done.stderr
