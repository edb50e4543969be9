"""What is removed of a project, or by names, and above all what is not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from keystoneauth1.exceptions import BadRequest, Forbidden, HttpError, NotFound

from onestack.cloudapi import emptying
from onestack.cloudapi.emptying import belonging, drained, kinds, network
from onestack.cloudapi.emptying.belonging import Named, Noted, OfProject, PutInto
from onestack.components.aodh import Aodh
from onestack.components.barbican import Barbican
from onestack.components.cinder import Cinder
from onestack.components.glance import Glance
from onestack.components.heat import Heat
from onestack.components.keystone import Keystone
from onestack.components.neutron import Neutron
from onestack.components.nova import Nova
from onestack.components.swift import Swift
from onestack.model.context import Context
from onestack.model.errors import OnestackError
from tests.unit.components.rooms import context_on, machine

OURS, THEIRS = "p1", "p2"
Item = dict[str, Any]


class Answer:
    def __init__(self, status: int, body: Any) -> None:
        self.status_code, self.body, self.text = status, body, json.dumps(body)

    def json(self) -> Any:
        return self.body


class Cloud:
    """APIs by path: what they list, and what they were told to remove.

    A service filters by nothing: that what it says is looked at is what is tested.
    ``refuses`` are paths whose removal is refused. ``fails`` are those that are answered badly.
    ``between`` is called before what begins after a marker is told.
    """

    def __init__(
        self,
        lists: dict[str, list[Item]],
        refuses: tuple[str, ...] = (),
        fails: dict[str, int] | None = None,
    ) -> None:
        self.lists, self.refuses, self.fails = lists, refuses, fails or {}
        # Which no cloud is without.
        for path in ("/ports", "/networks"):
            lists.setdefault(path, [])
        self.between: Callable[[], object] = lambda: None
        self.gone: type[HttpError] = NotFound
        self.page = 1000
        self.told: list[str] = []
        self.asked: list[tuple[str, Item]] = []
        self.versions: dict[str, str] = {}

    def get_user_id(self) -> str:
        return "admin"

    def get(self, url: str, params: Item | None = None, **more: Any) -> Answer:
        path = urlsplit(url).path
        self.asked.append((path, dict(params or {})))
        self.versions[path] = (more.get("headers") or {}).get("OpenStack-API-Version", "")
        if path.endswith("/roles"):
            return Answer(200, {"roles": [{"id": "member"}]})
        found = next((items for name, items in self.lists.items() if path.endswith(name)), None)
        if found is None:
            if more.get("raise_exc") is False:
                return Answer(404, None)
            raise NotFound(path)
        if status := self.fails.get(path):
            if more.get("raise_exc") is False:
                return Answer(status, {"message": "so it is"})
            raise {400: BadRequest, 404: NotFound}.get(status, Forbidden)(path)
        if "AUTH_" in path:
            wanted = bool((params or {}).get("versions"))
            return Answer(200, [item for item in found if wanted == ("version_id" in item)])
        begin = 0
        if marker := (params or {}).get("marker"):
            self.between()
            ids = [item["id"] for item in found]
            if marker not in ids:
                raise self.gone(f"{marker} could not be found")
            begin = ids.index(marker) + 1
        return Answer(200, {self._key(path): found[begin : begin + self.page]})

    @staticmethod
    def _key(path: str) -> str:
        return path.removesuffix("/detail").rpartition("/")[2].removeprefix("os-").replace("-", "_")

    def delete(self, url: str, **more: Any) -> Answer:
        path = urlsplit(url).path
        self.told.append(f"DELETE {path}{json.dumps(more['params']) if more.get('params') else ''}")
        if path in self.refuses:
            return Answer(409, {"message": "in use"})
        if "/objects/" in path or "AUTH_" in path:
            name = path.rpartition("/")[2]
            version = (more.get("params") or {}).get("version-id")
            for items in self.lists.values():
                items[:] = [
                    i for i in items if (i.get("name"), i.get("version_id")) != (name, version)
                ]
        identity = path.rpartition("/")[2]
        self.forget(identity)
        return Answer(204, None)

    def forget(self, identity: str) -> None:
        for items in self.lists.values():
            items[:] = [item for item in items if item.get("id") != identity]

    def post(self, url: str, json: Any = None, **_: Any) -> Answer:
        path = urlsplit(url).path
        self.told.append(f"POST {path} {next(iter(json))}")
        identity = path.split("/")[-2]
        for items in self.lists.values():
            items[:] = [item for item in items if item.get("id") != identity]
        return Answer(202, None)

    def put(self, url: str, json: Any = None, **_: Any) -> Answer:
        self.told.append(f"PUT {urlsplit(url).path}")
        return Answer(200, None)

    def patch(self, url: str, **_: Any) -> Answer:
        self.told.append(f"PATCH {urlsplit(url).path}")
        return Answer(200, None)

    @property
    def removed(self) -> list[str]:
        return [told for told in self.told if told.startswith(("DELETE", "POST"))]


Play = Callable[..., Context]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    def on(cloud: Cloud, *rooms: Any, **answers: str) -> Context:
        for module in (emptying, network):
            monkeypatch.setattr(module, "admin_session", lambda ctx: cloud)
        monkeypatch.setattr(emptying, "_own_session", lambda ctx, project: cloud)
        for module in (belonging, kinds, drained):
            monkeypatch.setattr(module, "PAUSE", 0.0, raising=False)
        return context_on(machine(), tmp_path, Keystone(), *rooms, **answers)

    return on


def of(owner: str, project: str, *ids: str, **more: Any) -> list[Item]:
    return [{"id": identity, "name": f"n-{identity}", owner: project, **more} for identity in ids]


def test_only_what_is_of_the_project_goes(play: Play) -> None:
    """Also where a service lists more than it was asked for."""
    cloud = Cloud(
        {
            "/servers/detail": of("tenant_id", OURS, "s1") + of("tenant_id", THEIRS, "s2"),
            "/os-server-groups": [],
            "/backups/detail": [],
            "/snapshots/detail": of("os-extended-snapshot-attributes:project_id", THEIRS, "b2"),
            "/volumes/detail": of("os-vol-tenant-attr:tenant_id", OURS, "v1")
            + of("os-vol-tenant-attr:tenant_id", THEIRS, "v2")
            + [{"id": "v3", "name": "nobody's"}],
            "/v2/images": of("owner", OURS, "i1") + of("owner", THEIRS, "i2"),
            "/metering/metering-labels": of("project_id", OURS, "m1")
            + of("project_id", THEIRS, "m2"),
            "/networks": of("project_id", OURS, "n1") + of("project_id", THEIRS, "n2"),
            "/ports": of("project_id", OURS, "q1", device_owner="")
            + of("project_id", OURS, "q2", device_owner="network:dhcp")
            + of("project_id", THEIRS, "q3", device_owner=""),
        }
    )
    ctx = play(cloud, Nova(), Cinder(), Glance(), Neutron())
    assert emptying.empty(ctx, OfProject(OURS)) == []
    assert [told.rpartition("/")[2] for told in cloud.removed] == [
        *("s1", "v1", "i1", "m1", "q1", "n1")
    ]
    servers = next(asked for path, asked in cloud.asked if path.endswith("/servers/detail"))
    assert servers == {"all_tenants": "1", "project_id": OURS}
    # Without it cinder does not say whose a backup is.
    assert cloud.versions["/v3/backups/detail"] == "volume 3.18"


def test_nothing_is_the_project_of_nobody(play: Play) -> None:
    cloud = Cloud({"/v2/images": of("owner", "", "i1"), "/networks": of("project_id", "", "n1")})
    assert emptying.empty(play(cloud, Glance(), Neutron()), OfProject("")) == []
    assert cloud.removed == []


def test_what_stays_is_told_and_the_rest_goes_on(play: Play) -> None:
    cloud = Cloud(
        {
            "/routers": of("project_id", OURS, "r1"),
            "/ports": [],
            "/networks": of("project_id", OURS, "n1"),
            "/security-groups": of("project_id", OURS, "g1"),
        },
        refuses=("/v2.0/networks/n1",),
    )
    (said,) = emptying.empty(play(cloud, Neutron()), OfProject(OURS))
    assert said.startswith("networks: 1 are still there") and "in use" in said
    assert "DELETE /v2.0/security-groups/g1" in cloud.removed


class WithFirewalls(Cloud):
    """Neutron makes a project's default group as soon as somebody asks what the project has."""

    def __init__(self) -> None:
        super().__init__(
            {f"/fwaas/firewall_{kind}": [] for kind in ("groups", "policies", "rules")}
        )
        self.give(OURS)

    def give(self, project: str) -> None:
        given: dict[str, Item] = {
            "groups": {"name": "default", "ingress_firewall_policy_id": "f2"},
            "policies": {"name": "default ingress", "firewall_rules": ["f3"]},
            "rules": {"name": "default ingress ipv4", "ip_version": 4},
        }
        for number, (kind, item) in enumerate(given.items(), start=1):
            listed = self.lists[f"/fwaas/firewall_{kind}"]
            if not any(each["project_id"] == project for each in listed):
                listed.append({"id": f"f{number}", "project_id": project, **item})

    def get(self, url: str, params: Item | None = None, **more: Any) -> Answer:
        if "/fwaas/" in url and (project := (params or {}).get("project_id")):
            self.give(project)
        return super().get(url, params, **more)

    def delete(self, url: str, **more: Any) -> Answer:
        rule = urlsplit(url).path.rpartition("/")[2] == "f3"
        if rule and self.lists["/fwaas/firewall_policies"]:
            return Answer(409, {"message": "the rule is being used"})
        if url.endswith("/f1"):
            self.forget("f2")
        return super().delete(url, **more)


def test_a_default_group_of_firewalls_goes_and_is_not_made_anew(play: Play) -> None:
    cloud = WithFirewalls()
    assert emptying.empty(play(cloud, Neutron()), OfProject(OURS)) == []
    assert [told.rpartition("/")[2] for told in cloud.removed] == ["f1", "f3"]


def test_what_neutron_gives_is_nothing_that_somebody_has_put_there(play: Play) -> None:
    cloud = WithFirewalls()
    inside = Noted(PutInto(OURS))
    assert emptying.empty(play(cloud, Neutron()), inside) == [] and inside.ids == set()
    own = {"id": "f4", "project_id": OURS, "name": "own", "ip_version": 4}
    cloud.lists["/fwaas/firewall_rules"].append(own)
    assert emptying.empty(play(cloud, Neutron()), inside) == [] and inside.ids == {"f4"}
    assert cloud.removed == []


def test_a_router_lets_go_first(play: Play) -> None:
    ports = of("project_id", OURS, "q1", device_owner="network:router_interface")
    router = of("project_id", OURS, "r1", routes=[{"destination": "a", "nexthop": "b"}])
    cloud = Cloud({"/routers": router, "/ports": ports})
    assert emptying.empty(play(cloud, Neutron()), OfProject(OURS)) == []
    assert cloud.told == [
        "PUT /v2.0/routers/r1",
        "PUT /v2.0/routers/r1/remove_router_interface",
        "DELETE /v2.0/routers/r1",
    ]


def test_a_volume_that_is_stuck_is_forced(play: Play) -> None:
    owner = "os-vol-tenant-attr:tenant_id"
    cloud = Cloud(
        {
            "/backups/detail": [],
            "/snapshots/detail": [],
            "/volumes/detail": of(owner, OURS, "v1", status="error_deleting"),
        },
        refuses=("/v3/volumes/v1",),
    )
    assert emptying.empty(play(cloud, Cinder()), OfProject(OURS)) == []
    told = "DELETE /v3/volumes/v1"
    # A second time, for another of the kind may have held it.
    assert cloud.removed == [told, told, "POST /v3/volumes/v1/action os-force_delete"]


def test_stacks_secrets_and_objects(play: Play) -> None:
    """Listed to the project's own token, so that nothing else can be among them."""
    secret = {"id": "x1", "secret_ref": "https://cloud:9311/v1/secrets/x1"}
    lists: dict[str, list[Item]] = {
        "/stacks": [{"id": "k1", "stack_name": "a b"}],
        "/v1/orders": [{"id": "o1", "order_ref": "https://cloud:9311/v1/orders/o1"}],
        "/v1/containers": [],
        "/secrets": [secret],
        "/AUTH_p1": [{"name": "box"}],
        "/AUTH_p1/box": [{"name": "one"}, {"name": "one", "version_id": "7"}],
    }
    cloud = Cloud(lists)
    on = ("CONFIG_HEAT_INSTALL", "CONFIG_SWIFT_INSTALL", "CONFIG_ONESTACK_BARBICAN_INSTALL")
    ctx = play(cloud, Heat(), Swift(), Barbican(), **dict.fromkeys(on, "y"))
    assert emptying.empty(ctx, OfProject(OURS)) == []
    assert cloud.removed == [
        "DELETE /v1/p1/stacks/a%20b/k1",
        "DELETE /v1/orders/o1",
        "DELETE /v1/secrets/x1",
        "DELETE /v1/AUTH_p1/box/one",
        'DELETE /v1/AUTH_p1/box/one{"version-id": "7"}',
        "DELETE /v1/AUTH_p1/box",
    ]


def test_alarms(play: Play) -> None:
    ours: Item = {"id": "a1", "alarm_id": "a1", "project_id": OURS}
    alarms = [ours, {"id": "a2", "alarm_id": "a2", "project_id": THEIRS}]
    cloud = Cloud({})
    ctx = play(cloud, Aodh(), CONFIG_AODH_INSTALL="y")
    get = cloud.get

    def answer(url: str, params: Item | None = None, **more: Any) -> Answer:
        return Answer(200, list(alarms)) if url.endswith("/alarms") else get(url, params, **more)

    cloud.get = answer  # type: ignore[method-assign]
    cloud.lists["/alarms"] = alarms
    assert emptying.empty(ctx, OfProject(OURS)) == []
    assert cloud.removed == ["DELETE /v2/alarms/a1"]
    cloud.refuses = ("/v2/alarms/a1",)
    alarms.append(ours)
    drained._LAGS, lags = 0.0, drained._LAGS
    try:
        assert emptying.empty(ctx, OfProject(OURS)) == ["alarms: 1 are still there"]
    finally:
        drained._LAGS = lags


def test_by_name_and_not_what_was_there_before(play: Play) -> None:
    pattern = re.compile(r"tempest-.+-\d+")
    images: list[Item] = [
        {"id": "i1", "name": "tempest-image-123", "owner": THEIRS},
        {"id": "i2", "name": "tempest-image-124", "owner": THEIRS},
        {"id": "i3", "name": "my-tempest-image-125", "owner": THEIRS},
        {"id": "i4", "name": None, "owner": THEIRS},
    ]
    cloud = Cloud({"/v2/images": images})
    ctx = play(cloud, Glance())
    noted = Noted(Named(pattern))
    assert emptying.empty(ctx, noted) == []
    assert noted.ids == {"i1", "i2"} and cloud.removed == []
    assert emptying.empty(ctx, Named(pattern, frozenset({"i1", "i3"}))) == []
    assert cloud.removed == ["DELETE /v2/images/i1"]


def test_a_project_stays_while_something_of_it_does(play: Play) -> None:
    cloud = Cloud({"/networks": of("project_id", OURS, "n1")}, refuses=("/v2.0/networks/n1",))
    ctx = play(cloud, Neutron())
    assert len(emptying.remove_project(ctx, OURS)) == 1
    assert "DELETE /v3/projects/p1" not in cloud.removed
    cloud.refuses = ()
    assert emptying.remove_project(ctx, OURS) == []
    assert cloud.removed[-1] == "DELETE /v3/projects/p1"


def test_a_user_goes_with_its_keys(play: Play) -> None:
    cloud = Cloud({"/os-keypairs": [{"keypair": {"name": "a b"}}]})
    monkey = play(cloud, Nova())
    cloud.get = lambda url, **_: Answer(200, {"keypairs": [{"keypair": {"name": "a b"}}]})  # type: ignore[method-assign]
    emptying.remove_user(monkey, "u1")
    assert cloud.removed == [
        'DELETE /v2.1/os-keypairs/a%20b{"user_id": "u1"}',
        "DELETE /v3/users/u1",
    ]


VOLUMES = "os-vol-tenant-attr:tenant_id"


def volumes(*ids: str, **more: Any) -> Cloud:
    lists: dict[str, list[Item]] = {"/backups/detail": [], "/snapshots/detail": []}
    return Cloud({**lists, "/volumes/detail": of(VOLUMES, OURS, *ids, status="available")}, **more)


@pytest.mark.parametrize("word", [NotFound, BadRequest])
def test_what_goes_while_it_is_listed_hides_nothing(play: Play, word: type[HttpError]) -> None:
    """One volume is refused, another ends between two pages: the first is not forgotten."""
    cloud = volumes("v1", "v2", refuses=("/v3/volumes/v1",))
    cloud.gone = word
    deleted = cloud.delete

    def delete(url: str, **more: Any) -> Answer:
        if not url.endswith("/v2"):
            return deleted(url, **more)
        # It takes a while: it is still there when the list is asked for.
        cloud.between = lambda: cloud.forget("v2")
        return Answer(202, None)

    cloud.delete = delete  # type: ignore[method-assign]
    cloud.post = lambda url, **_: Answer(409, None)  # type: ignore[method-assign]
    (said,) = emptying.remove_project(play(cloud, Cinder()), OURS)
    assert said.startswith("volumes: 1 of 2 are still there") and "v1" in said
    assert "DELETE /v3/projects/p1" not in cloud.told


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize(
    ("rooms", "on", "path"),
    [
        ((Cinder(),), "", "/v3/volumes/detail"),
        ((Nova(),), "", "/v2.1/os-server-groups"),
        ((Neutron(),), "", "/v2.0/networks"),
        ((Heat(),), "CONFIG_HEAT_INSTALL", "/v1/p1/stacks"),
        ((Barbican(),), "CONFIG_ONESTACK_BARBICAN_INSTALL", "/v1/secrets"),
    ],
)
def test_what_cannot_be_listed_may_be_there(
    play: Play, rooms: tuple[Any, ...], on: str, path: str, status: int
) -> None:
    lists: dict[str, list[Item]] = {
        name: []
        for name in (
            *("/servers/detail", "/os-server-groups", "/backups/detail", "/snapshots/detail"),
            *("/volumes/detail", "/stacks", "/v1/orders", "/v1/containers", "/v1/secrets"),
        )
    }
    ctx = play(cloud := Cloud(lists, fails={path: status}), *rooms, **({on: "y"} if on else {}))
    assert len(emptying.remove_project(ctx, OURS)) == 1
    assert cloud.removed == []
    cloud.fails = {}
    assert emptying.remove_project(ctx, OURS) == []
    assert cloud.removed == ["DELETE /v3/projects/p1"]


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
@pytest.mark.parametrize("path", ["/v1/AUTH_p1", "/v1/AUTH_p1/box"])
def test_objects_that_cannot_be_listed_may_be_there(play: Play, path: str, status: int) -> None:
    cloud = Cloud({"/AUTH_p1": [{"name": "box"}], "/AUTH_p1/box": [{"name": "one"}]})
    cloud.fails = {path: status}
    ctx = play(cloud, Swift(), CONFIG_SWIFT_INSTALL="y")
    (said,) = emptying.remove_project(ctx, OURS)
    assert said.startswith(f"objects: GET {path} answers {status}")
    assert cloud.removed == []


@pytest.mark.parametrize("status", [204, 404, 410])
def test_an_account_without_objects(play: Play, status: int) -> None:
    cloud = Cloud({"/AUTH_p1": []}, fails={"/v1/AUTH_p1": status})
    assert emptying.remove_project(play(cloud, Swift(), CONFIG_SWIFT_INSTALL="y"), OURS) == []


def test_groups_of_servers_and_keys_that_stay_are_told(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drained, "_LAGS", 0.0)
    group = "/v2.1/os-server-groups/g1"
    lists: dict[str, list[Item]] = {"/servers/detail": [], "/os-server-groups": [{"id": "g1"}]}
    cloud = Cloud(lists, refuses=(group,))
    ctx = play(cloud, Nova())
    assert emptying.empty(ctx, OfProject(OURS)) == ["groups of servers: 1 are still there"]
    cloud.get = lambda url, **_: Answer(200, {"keypairs": [{"keypair": {"name": "k"}}]})  # type: ignore[method-assign]

    def refused(url: str, **_: Any) -> Answer:
        raise Forbidden(url)

    cloud.delete = refused  # type: ignore[method-assign]
    with pytest.raises(Forbidden, match="os-keypairs/k"):
        emptying.remove_user(ctx, "u1")


def test_a_list_that_is_never_told_whole() -> None:
    cloud = volumes("v1", "v2")
    cloud.page = 1

    def between() -> None:
        cloud.lists["/volumes/detail"][:] = of(VOLUMES, OURS, f"v{len(cloud.asked)}")

    cloud.between = between
    with pytest.raises(OnestackError, match="volumes go faster"):
        kinds.pages(cloud, "u/volumes/detail", "volumes", {})  # type: ignore[arg-type]
    assert len(cloud.asked) == 2 * kinds.READINGS


def test_a_listing_comes_in_pages() -> None:
    class Paged:
        def get(self, url: str, params: Item, headers: Item) -> Answer:
            start = int(params.get("marker", 0))
            return Answer(200, {"things": [{"id": n} for n in range(start + 1, min(start + 3, 6))]})

    assert [i["id"] for i in kinds.pages(Paged(), "u", "things", {})] == [1, 2, 3, 4, 5]  # type: ignore[arg-type]

    class Deaf:
        def get(self, url: str, params: Item, headers: Item) -> Answer:
            return Answer(200, {"things": [{"id": 1}, {"id": 2}]})

    assert [i["id"] for i in kinds.pages(Deaf(), "u", "things", {})] == [1, 2]  # type: ignore[arg-type]
