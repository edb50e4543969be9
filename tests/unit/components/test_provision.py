"""The room of first contents: what is made for which answers, without a cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onestack.answers.registry import registry
from onestack.cloudapi import image as image_api
from onestack.cloudapi import neutron as neutron_api
from onestack.components import ALL
from onestack.components.glance import Glance
from onestack.components.neutron import Neutron
from onestack.components.nova import Nova
from onestack.components.provision import Provision, contents, keys, networks, state
from onestack.diagnose import preflight
from onestack.images import guest
from onestack.model.context import Context
from onestack.model.findings import Severity
from onestack.network import demo
from tests.unit.components.rooms import answered, content, context, context_on, machine

ROOM = Provision()
DEMO = {"CONFIG_PROVISION_DEMO": "y"}
TEMPEST = {"CONFIG_PROVISION_TEMPEST": "y"}


def tasks(root: Path, **given: str) -> set[str]:
    rooms = (Glance(), Nova(), Neutron(), ROOM)
    return {task.name for task in ROOM.tasks(context_on(machine(), root, *rooms, **given))}


def test_what_is_made_for_which_answers(tmp_path: Path) -> None:
    assert tasks(tmp_path) == {"flavors"}
    assert tasks(tmp_path, CONFIG_ONESTACK_IMAGE="y") == {"flavors", "image"}
    assert tasks(tmp_path, **DEMO) == {"flavors", "image", "accounts", "networks"}
    assert tasks(tmp_path, **TEMPEST) == {"flavors", "image", "file", "networks"}
    uec = {f"CONFIG_PROVISION_UEC_IMAGE_{part}_URL": "/x" for part in keys.PARTS}
    assert tasks(tmp_path, **uec) == {"flavors", "parts"}


def test_flavors(tmp_path: Path) -> None:
    def names(present: set[str], **given: str) -> list[str]:
        return [f.name for f in contents.wanted_flavors(context(tmp_path, **given), present)]

    usual = [flavor.name for flavor in contents.FLAVORS]
    assert names(set()) == usual
    assert names({"mine"}) == []
    # What a service has made for its own guests, maybe a moment before, is nobody's choice.
    assert names({"db.small", "db.medium"}) == usual
    assert names({"db.small", "mine"}) == []
    assert names(set(), CONFIG_NOVA_MANAGE_FLAVORS="n") == []
    assert names(set(), **TEMPEST) == [*usual, "m1.micro"]
    own = {f"{keys.TEMPEST}_FLAVOR_NAME": "t", f"{keys.TEMPEST}_FLAVOR_RAM": "300"}
    more = {f"{keys.TEMPEST}_FLAVOR_VCPUS": "2", f"{keys.TEMPEST}_FLAVOR_DISK": "3"}
    found = contents.wanted_flavors(context(tmp_path, **TEMPEST, **own, **more), {"mine"})
    assert [(f.name, f.cpus, f.memory, f.disk) for f in found] == [
        ("t", 2, 300, 3),
        ("m1.micro", 1, 256, 1),
    ]


def test_the_users_own_environment(tmp_path: Path) -> None:
    ctx = context(tmp_path, ROOM, CONFIG_KEYSTONE_DEMO_PW="it's", **DEMO)
    text = content(ctx, ROOM, "demo-openrc")
    assert "export OS_USERNAME=demo\n" in text and "export OS_PROJECT_NAME=demo\n" in text
    assert """export OS_PASSWORD='it'"'"'s'\n""" in text
    (file,) = ROOM.files(ctx)
    assert file.mode == 0o600
    user = {f"{keys.TEMPEST}_USER": "tester"}
    assert keys.accounts(registry().answers({**TEMPEST, **user})) == ("tester",)
    assert keys.accounts(registry().answers({**TEMPEST, **user, **DEMO})) == ("demo",)


@pytest.mark.parametrize(
    ("given", "addresses", "gateway"),
    [
        ({}, [], "172.24.4.1"),
        (DEMO, ["172.24.4.1/24"], "172.24.4.1"),
        ({**DEMO, "CONFIG_PROVISION_OVS_BRIDGE": "n"}, [], "172.24.4.1"),
        (
            {**DEMO, "CONFIG_ONESTACK_EXTERNAL_ADDRESS": "172.24.4.9/24"},
            ["172.24.4.9/24"],
            "172.24.4.9",
        ),
        (
            {**TEMPEST, "CONFIG_PROVISION_TEMPEST_FLOATRANGE": "198.51.100.0/24"},
            ["198.51.100.1/24"],
            "198.51.100.1",
        ),
    ],
)
def test_the_public_network(given: dict[str, str], addresses: list[str], gateway: str) -> None:
    answers = registry().answers(given)
    assert demo.machine_addresses(answers) == addresses
    assert demo.gateway(answers) == gateway


def test_pools() -> None:
    for text in (
        '["start=192.0.2.5,end=192.0.2.9","start=192.0.2.20,end=192.0.2.29"]',
        "192.0.2.5-192.0.2.9,192.0.2.20-192.0.2.29",
    ):
        assert list(demo.pools(text)) == [
            demo.AllocationPool("192.0.2.5", "192.0.2.9"),
            demo.AllocationPool("192.0.2.20", "192.0.2.29"),
        ]
    assert list(demo.pools("[]")) == list(demo.pools("")) == []
    for text in ("[", "192.0.2.5", '["start=192.0.2.5"]', "__import__('os')", "[1]"):
        assert demo.wrong_pools(text)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"CONFIG_PROVISION_DEMO_ALLOCATION_POOLS": "192.0.2.5-192.0.2.9"}, "no part of"),
        ({"CONFIG_PROVISION_DEMO_ALLOCATION_POOLS": "172.24.4.9-172.24.4.2"}, "no part of"),
        ({"CONFIG_PROVISION_DEMO_ALLOCATION_POOLS": "172.24.4.1-172.24.4.9"}, "the gateway"),
        ({"CONFIG_PROVISION_DEMO_FLOATRANGE": "10.0.0.0/16"}, "overlaps"),
        ({"CONFIG_PROVISION_UEC_IMAGE_KERNEL_URL": "/x"}, "all three"),
        ({"CONFIG_NEUTRON_INSTALL": "n"}, "needs CONFIG_NEUTRON_INSTALL=y"),
        ({"CONFIG_KEYSTONE_ADMIN_USERNAME": "Demo"}, "is the name of demo's user too"),
        ({**TEMPEST, f"{keys.TEMPEST}_FLAVOR_ALT_NAME": "M1.nano"}, "must be two names"),
    ],
)
def test_contradictions(given: dict[str, str], says: str) -> None:
    (said,) = ROOM.validate(registry().answers({**DEMO, **given}))
    assert says in said


def test_an_administrator_of_the_name_of_tempests_user() -> None:
    given = {f"{keys.TEMPEST}_USER": "bob", "CONFIG_KEYSTONE_ADMIN_USERNAME": "Bob"}
    (said,) = ROOM.validate(registry().answers({**TEMPEST, **given}))
    assert said == "CONFIG_KEYSTONE_ADMIN_USERNAME=Bob is the name of tempest's user too"
    assert not list(ROOM.validate(registry().answers(given)))


def test_services_names_are_taken(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    assert {i.user for room in ALL for i in room.identity(ctx)} == registry().accounts
    for name in (*registry().accounts, "Nova", "admin", "demo"):
        assert answered(**{f"{keys.TEMPEST}_USER": name})[1]
    for name in (*registry().accounts, "Nova"):
        assert answered(CONFIG_KEYSTONE_ADMIN_USERNAME=name)[1]
    for name in ("tempest", "mariadb", "amqp"):
        assert not answered(**{f"{keys.TEMPEST}_USER": name})[1]


@pytest.mark.parametrize("key", ["IMAGE_URL", "UEC_IMAGE_DISK_URL"])
def test_a_file_is_needed_until_its_image_is_made(tmp_path: Path, key: str) -> None:
    file, other = tmp_path / "a.qcow2", tmp_path / "b.qcow2"
    file.touch()
    given = {f"CONFIG_PROVISION_UEC_IMAGE_{part}_URL": str(file) for part in keys.PARTS}
    given["CONFIG_PROVISION_IMAGE_URL"] = str(file)

    def ctx(path: Path) -> Context:
        changed = {**given, f"CONFIG_PROVISION_{key}": path.as_uri()}
        return context(tmp_path, Glance(), ROOM, CONFIG_ONESTACK_IMAGE="y", **changed)

    def found(path: Path) -> list[Severity]:
        assert preflight.downloads_of(ctx(path)) == []
        findings = preflight.component_checks(ctx(path))
        assert all(str(path) in finding.what for finding in findings)
        return [finding.severity for finding in findings]

    assert found(other) == [Severity.REFUSE]
    other.touch()
    assert found(other) == []
    for note in ROOM.files(ctx(other)):
        note.path.parent.mkdir(parents=True, exist_ok=True)
        note.path.write_text(note.content)
        assert note.mode == 0o600
    other.unlink()
    assert found(other) == [Severity.WARN]
    assert found(tmp_path / "c.qcow2") == [Severity.REFUSE]


@pytest.mark.parametrize(
    ("given", "key", "cure"),
    [
        ({}, "CONFIG_PROVISION_IMAGE_URL", "a small guest made here"),
        (
            {
                "CONFIG_PROVISION_IMAGE_URL": "",
                **{f"{keys.UEC}{part}_URL": "http://nowhere.invalid/a" for part in keys.PARTS[:1]},
                **{f"{keys.UEC}{part}_URL": "/etc/hosts" for part in keys.PARTS[1:]},
            },
            "CONFIG_PROVISION_UEC_IMAGE_KERNEL_URL",
            "CONFIG_PROVISION_UEC_IMAGE_DISK_URL empty",
        ),
    ],
)
def test_an_image_on_a_server_that_nobody_knows(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    key: str,
    cure: str,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    url = {**DEMO, "CONFIG_PROVISION_IMAGE_URL": "http://u:secret@nowhere.invalid/a.img"}
    ctx = context(tmp_path, Glance(), ROOM, **{**url, **given})
    (found,) = preflight.component_checks(ctx)
    assert found.severity is Severity.REFUSE and "secret" not in str(found)
    assert "nowhere.invalid does not resolve" in found.why and key in found.why
    assert cure in found.cure
    # What is in the cloud needs no server, and nor does what a proxy knows.
    for note in ROOM.files(ctx):
        note.path.parent.mkdir(parents=True, exist_ok=True)
        note.path.write_text(note.content)
    assert preflight.component_checks(ctx) == []
    other = context(tmp_path / "other", Glance(), ROOM, **{**url, **given})
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:3128")
    assert preflight.component_checks(other) == []


class Answer:
    def __init__(self, body: Any) -> None:
        self.body = body
        self.status_code, self.text = 200, ""

    def json(self) -> Any:
        return self.body


class Api:
    """A session that has nothing, and keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def get(self, url: str, params: dict[str, str] | None = None) -> Answer:
        return Answer({url.rpartition("/")[2]: []})

    def post(self, url: str, json: Any) -> Answer:
        self.told.append((url.rpartition("/")[2], json))
        return Answer({"id": "1"})

    def put(self, url: str, data: Any, headers: Any) -> None:
        self.told.append(("file", data.read()))

    def request(self, url: str, method: str, json: Any, raise_exc: bool) -> Answer:
        self.told.append((url.rpartition("/")[2], json))
        return Answer({})


def test_the_image_is_said_to_be_what_the_answers_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api()
    monkeypatch.setattr(image_api, "admin_session", lambda ctx: api)
    image = tmp_path / "a.raw"
    image.write_bytes(b"\0" * 4096)
    given = {
        "CONFIG_PROVISION_IMAGE_NAME": "mine",
        "CONFIG_PROVISION_IMAGE_URL": str(image),
        "CONFIG_PROVISION_IMAGE_FORMAT": "raw",
        "CONFIG_PROVISION_IMAGE_PROPERTIES": "os_distro=debian,hw_disk_bus=scsi",
    }
    for change in contents.ensure_image(context(tmp_path, **given)):
        change.do()
    assert api.told == [
        (
            "images",
            {
                "name": "mine",
                "description": contents.DESCRIPTION,
                "visibility": "public",
                "disk_format": "raw",
                "container_format": "bare",
                "os_distro": "debian",
                "hw_disk_bus": "scsi",
            },
        ),
        ("file", b"\0" * 4096),
    ]


def test_the_image_of_an_older_cloud_is_built_for_the_scenarios(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In glance is one of an older recipe, which is not made again for that."""
    monkeypatch.setattr(contents, "CACHE", tmp_path / "cache")
    ctx = context(tmp_path, **TEMPEST)

    def build(cache: Path) -> Path:
        cache.mkdir(parents=True)
        guest.place(cache).touch()
        return guest.place(cache)

    monkeypatch.setattr(guest, "cached_test_guest", build)
    (change,) = contents.ensure_file(ctx)
    change.do()
    path, _ = contents.image_file(ctx)
    assert path.exists() and list(contents.ensure_file(ctx)) == []
    # One of the user's own that is gone is told as that, and keeps nobody from going on.
    named = context(tmp_path, **TEMPEST, CONFIG_PROVISION_IMAGE_URL="/gone.img")
    assert list(contents.ensure_file(named)) == []


@pytest.mark.parametrize("bridge", ["br-ex", "provider"])
def test_where_the_public_network_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bridge: str
) -> None:
    api = Api()
    monkeypatch.setattr(neutron_api, "admin_session", lambda ctx: api)
    given = {
        **TEMPEST,
        "CONFIG_NEUTRON_L2_AGENT": "openvswitch",
        "CONFIG_NEUTRON_L3_EXT_BRIDGE": bridge,
        "CONFIG_NEUTRON_OVS_EXTERNAL_PHYSNET": "wan",
        "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": "wan:br-ex",
    }
    ctx = context_on(machine(), tmp_path, Neutron(), **given)
    next(iter(networks.ensure_networks(ctx))).do()
    ((kind, body),) = api.told
    network = body["network"]
    assert kind == "networks" and network["router:external"]
    if bridge == "provider":
        assert network["provider:network_type"] == "flat"
        assert network["provider:physical_network"] == "wan"
    else:
        assert network["provider:network_type"] == "local"


def test_whoever_asks_for_any_network_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A default way out and a default pool, unless the operator has chosen."""
    there: dict[str, list[dict[str, Any]]] = {}

    class Neutrons(Api):
        def get(self, url: str, params: dict[str, str] | None = None) -> Answer:
            kind = url.rpartition("/")[2]
            wanted = {k: v for k, v in (params or {}).items() if k in ("is_default", "name")}
            fit = [
                item
                for item in there.get(kind, [])
                if all(str(item.get(k)).lower() == v for k, v in wanted.items())
            ]
            return Answer({kind: fit})

    def said() -> list[str]:
        api = Neutrons()
        monkeypatch.setattr(neutron_api, "admin_session", lambda ctx: api)
        ctx = context_on(machine(), tmp_path, Neutron(), **TEMPEST)
        return [change.what for change in networks.ensure_networks(ctx)]

    pool = "make the subnet pool default-pool (10.213.0.0/16)"
    noted = f"write {tmp_path}/etc/provision-defaults"
    assert noted in said()
    assert "make the network public" in said() and pool in said()
    # made by an older program
    there["networks"] = [{"id": "p", "name": "public", "is_default": False}]
    assert "make public the default external network" in said()
    # Once it was, an operator's --no-default stays.
    note = state.place(context(tmp_path), networks.DEFAULTS)
    note.parent.mkdir()
    note.touch()
    assert "make public the default external network" not in said() and pool not in said()
    note.unlink()
    there["networks"].append({"id": "o", "name": "outside", "is_default": True})
    assert "make public the default external network" not in said()
    there["subnetpools"] = [{"id": "s", "name": "theirs", "is_default": True}]
    assert pool not in said()
