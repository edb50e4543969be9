"""`onestack net show`: what is typed, what is printed, and how it ends."""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from onestack.cli import main, net
from onestack.cli.options import KEPT, keep, resolve_answers
from onestack.components.openvswitch import nics
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from onestack.model.errors import BadAnswers, NotRunning, OnestackError
from onestack.model.findings import refuse, warn
from onestack.network.picture import gathered
from onestack.network.picture.gathered import Gathered
from onestack.network.picture.model import Nic
from onestack.supervise import client
from onestack.supervise.protocol import ProcessStatus
from onestack.supervise.states import State
from tests.unit.network.picture import guides

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    # short, for a root
    with tempfile.TemporaryDirectory(prefix="onestack-") as folder:
        made = Cloud.named("c", Path(folder))
        made.etc.mkdir(parents=True)
        answer(made)
        yield made


def answer(cloud: Cloud, **given: str) -> None:
    """As `up` has left it; this host is called as in the guide's recordings."""
    answers = {"CONFIG_NEUTRON_L2_AGENT": "openvswitch", **given}
    words = [f"{key}={value}" for key, value in answers.items()]
    asked = argparse.Namespace(set=words, answer_file=None, defaults=None)
    (cloud.etc / KEPT).write_text(keep(cloud, resolve_answers(cloud, asked)))
    record = {"format": 1, "name": cloud.name, "netns": cloud.netns, "release": "2026.2"}
    hosts = [{"name": guides.HOST, "roles": ["controller", "compute", "gateway"]}]
    (cloud.etc / "cloud.json").write_text(json.dumps({**record, "hosts": hosts}))


class Supervisor:
    """One whose processes are in these states."""

    states: ClassVar[dict[str, State]] = {}
    up = True

    def __init__(self, cloud: Cloud) -> None:
        pass

    def running(self) -> bool:
        return self.up

    def status(self) -> list[ProcessStatus]:
        return [
            ProcessStatus(
                name,
                "nova" if "nova" in name else "neutron",
                state,
                None,
                0.0,
                "exited with code 1",
                0,
                False,
            )
            for name, state in self.states.items()
        ]


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> type[Supervisor]:
    class Mine(Supervisor):
        pass

    monkeypatch.setattr(client, "Client", Mine)
    return Mine


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is gathered; changed by tests. Bridges of this cloud have its name."""
    found: dict[str, Any] = {"gathered": named(guides.gathered("openvswitch"))}

    def gather(ctx: Context) -> Gathered:
        if isinstance(found["gathered"], OnestackError):
            raise found["gathered"]
        assert isinstance(found["gathered"], Gathered)
        return found["gathered"]

    monkeypatch.setattr(gathered, "gather", gather)
    return found


def named(found: Gathered) -> Gathered:
    """The same switch as that of the cloud ``c``, whose bridges are ``br-int-c`` and so on."""
    assert found.switch
    bridges = {f"{n}-c": replace(b, name=f"{n}-c") for n, b in found.switch.bridges.items()}
    interfaces = [
        replace(each, bridge=f"{each.bridge}-c", name=own(each.name))
        for each in found.switch.interfaces
    ]
    return replace(found, switch=replace(found.switch, bridges=bridges, interfaces=interfaces))


def own(name: str) -> str:
    return f"{name}-c" if re.fullmatch("br-(int|ex|tun)", name) else name


def show(cloud: Cloud, *words: str) -> int:
    _, args = main.parse(["net", "show", "--name", "c", "--root", str(cloud.root), *words])
    return net.run(args)


def test_all_is_well(
    cloud: Cloud,
    running: type[Supervisor],
    told: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert show(cloud) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("c: Open vSwitch and neutron's agents, switched in ")
    assert "br-ex-c  bridge to the outside, physical network extnet\n" in shown
    assert "qg-244e25b0-ea in br-ex-c" in shown and "tag 2 in br-int-c" in shown
    assert shown.endswith("All that was looked at is as it should be.\n")


def test_something_is_not(
    cloud: Cloud,
    running: type[Supervisor],
    told: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    told["gathered"] = replace(told["gathered"], namespaces=frozenset())
    running.states = {"neutron-l3-agent": State.BACKOFF, "neutron-dhcp-agent": State.READY}
    running.states |= {"nova-compute": State.FATAL}
    assert show(cloud) == 1
    shown = capsys.readouterr().out
    assert "nova-compute" not in shown
    assert "      neutron-l3-agent: exited with code 1\n" in shown
    assert "neutron-dhcp-agent does that, and is ready" in shown
    running.states = {}
    # One that is well in itself ends with 0.
    told["gathered"] = replace(
        told["gathered"], namespaces=frozenset({f"qrouter-{guides.ROUTER}", f"qdhcp-{guides.INT}"})
    )
    assert (show(cloud, "net-int"), show(cloud, "router1"), show(cloud, "net-ext")) == (0, 0, 1)


def test_this_machines_own_port(
    cloud: Cloud, running: type[Supervisor], told: dict[str, Any]
) -> None:
    """It is missed where somebody is to keep it: not once the service is switched off."""
    own = guides.port(
        "m1", guides.INT, "onestack:management", guides.HOST, "198.18.8.1", name="octavia-mgmt"
    )
    told["gathered"] = replace(told["gathered"], ports=[*told["gathered"].ports, own])
    assert show(cloud) == 0
    running.states = {"octavia-management": State.READY}
    assert show(cloud) == 1


def test_one_router_as_json(
    cloud: Cloud,
    running: type[Supervisor],
    told: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert show(cloud, "router1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in found["routers"]] == ["router1"]
    assert [each["name"] for each in found["networks"]] == ["net-int"]
    assert show(cloud, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["networks"]) == 2


def test_one_that_is_not_there(
    cloud: Cloud, running: type[Supervisor], told: dict[str, Any]
) -> None:
    with pytest.raises(BadAnswers, match="'net-in'"):
        show(cloud, "net-in")


def test_a_cloud_that_is_down(
    cloud: Cloud, running: type[Supervisor], told: dict[str, Any]
) -> None:
    running.up = False
    with pytest.raises(OnestackError, match="the cloud 'c' is down") as down:
        show(cloud)
    assert down.value.exit_code == 1 and down.value.cure == "onestack up"


def test_neutron_that_does_not_answer(
    cloud: Cloud, running: type[Supervisor], told: dict[str, Any]
) -> None:
    told["gathered"] = NotRunning("nobody answers at 127.0.0.1:9696", "refused", "see status")
    with pytest.raises(NotRunning):
        show(cloud)


def test_a_supervisor_of_another_version(
    cloud: Cloud,
    running: type[Supervisor],
    told: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def other(_: Supervisor) -> list[ProcessStatus]:
        raise client.OtherVersion

    monkeypatch.setattr(running, "status", other)
    assert show(cloud) == 0


def test_no_cloud_and_a_cloud_without_networks(cloud: Cloud, running: type[Supervisor]) -> None:
    answer(cloud, CONFIG_NEUTRON_INSTALL="n", CONFIG_NOVA_INSTALL="n")
    with pytest.raises(OnestackError, match="has no networks"):
        show(cloud)
    (cloud.etc / "cloud.json").unlink()
    (cloud.etc / KEPT).unlink()
    cloud.etc.rmdir()
    with pytest.raises(OnestackError, match="there is no cloud 'c'"):
        show(cloud)


@pytest.mark.parametrize("words", [[], ["show", "a", "b"], ["shwo"]])
def test_bad_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.parse(["net", *words])
    assert ended.value.code == 2


def test_nics_of_the_machine(
    cloud: Cloud,
    running: type[Supervisor],
    told: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer(cloud, CONFIG_NEUTRON_OVS_BRIDGE_IFACES="br-ex:eno1")
    place = nics.Place(
        *("eno1", "br-ex-c", "br-eno1", "in place"),
        *(("10.50.14.50/24",), ("10.50.14.1",), "networkd", ""),
    )
    said = [refuse("eno1 is to be in br-ex-c, and is not", "why", "cure"), warn("only a warning")]
    monkeypatch.setattr(nics, "seen", lambda _: ([place], said))
    assert show(cloud, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    (bridge,) = (each for each in found["bridges"] if each["name"] == "br-ex-c")
    known = {each["name"]: each for each in bridge["nics"]}
    wanted = Nic("eno1", "br-eno1", known["eno1"]["port"], ("10.50.14.50/24",), ("10.50.14.1",))
    assert known["eno1"] == json.loads(json.dumps(asdict(wanted)))
    assert re.fullmatch("to-.+", wanted.port)
    assert [each["what"] for each in found["findings"]] == [said[0].what]
    assert found["findings"][0]["about"] == "br-ex-c"
    # That is nothing wrong with a router.
    assert show(cloud, "router1") == 0


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "│  ├─ ö…"), ("latin-1", "|  |- ö."), ("ascii", "|  |- ?.")]
)
def test_terminals_without_lines(encoding: str, shown: str) -> None:
    assert net.encodable("│  ├─ ö…", encoding) == shown


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for each in value.values() for key in keys(each)}
    if isinstance(value, list):
        return {key for each in value for key in keys(each)}
    return set()


def test_the_page_tells_of_each_key_of_the_json() -> None:
    page = (DOCS / "net.md").read_text()
    documented = set(re.findall(r"`([a-z_]+)`", page.partition("## For scripts")[2]))
    options = {"router", "server_id", "lease_time", "mtu", "dns_server"}
    for layout in ("openvswitch", "ovn"):
        missing = keys(guides.plain(guides.picture(layout))) - options - documented
        assert not missing


@pytest.mark.parametrize("layout", ["openvswitch", "ovn"])
def test_the_page_shows_what_is_printed(layout: str) -> None:
    page = (DOCS / "net.md").read_text()
    shown = (Path(guides.__file__).with_name("expected") / f"{layout}.txt").read_text()
    assert shown in page
