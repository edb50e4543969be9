"""What is removed for good, of what others keep for a service or a part of one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keystoneauth1.exceptions import NotFound
from keystoneauth1.session import Session

from onestack.cloudapi import compute as compute_api
from onestack.cloudapi import image, keystone, service_images
from onestack.cloudapi import neutron as neutron_api
from onestack.components.cinder import Cinder
from onestack.components.glance import Glance
from onestack.components.keystone import Keystone
from onestack.components.mariadb import Mariadb
from onestack.components.neutron import Neutron
from onestack.components.nova import Nova
from onestack.components.octavia import Octavia
from onestack.components.octavia import leftovers as balancers
from onestack.components.provision import Provision, contents, leftovers, networks
from onestack.components.swift import Swift
from onestack.database.places import table_file
from onestack.database.server import Server
from onestack.database.upstream_tables import neutron as tables
from onestack.deploy import switched_off
from onestack.host.command import CommandResult
from onestack.model.change import Change
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.errors import OnestackError
from onestack.network.management import Management
from onestack.release.release import release
from tests.support.needs import needs_services
from tests.unit.components.rooms import context, context_on, machine

VERSIONS = "neutron_fwaas/db/migration/alembic_migrations/versions"


class Answer:
    def __init__(self, body: Any) -> None:
        self.body, self.status_code, self.text = body, 200, ""

    def json(self) -> Any:
        return self.body


class Cloud(Session):
    """APIs that have ``items``, by the last word of their URL."""

    loose = ("fields", "all_tenants")
    """What of a query is not looked at."""

    def __init__(self, **items: list[dict[str, Any]]) -> None:
        super().__init__()
        self.items = items
        self.told: list[str] = []
        self.known: keystone.KeystoneApi

    def asked(self, url: str, params: dict[str, Any]) -> Answer:
        kind = url.rpartition("/")[2].replace("-", "_")
        wanted = {k: v for k, v in params.items() if k not in self.loose}

        def fits(item: dict[str, Any]) -> bool:
            return all(
                item.get(k) in (v if isinstance(v, list) else [v]) for k, v in wanted.items()
            )

        return Answer({kind: [item for item in self.items.get(kind, []) if fits(item)]})

    def request(self, url: str, method: str, *further: Any, **named: Any) -> Any:
        if method == "GET":
            return self.asked(url, named.get("params", {}))
        path = re.sub(r"https?://[^/]+/(v\d[.\d]*/)?", "", url)
        self.told.append(f"{method} {path}")
        if method == "DELETE":
            kind, identity = path.split("/")
            listed = self.items[kind.replace("-", "_")]
            listed[:] = [item for item in listed if item["id"] != identity]
        return Answer({})


def apply(changes: Iterator[Change]) -> list[str]:
    whats = []
    for change in changes:
        whats.append(change.what)
        change.do()
    return whats


# -- balancers --------------------------------------------------------------


def test_balancers_are_removed_from_ovn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, ran = ["one", "two"], []

    def run(argv: list[str], **_: Any) -> CommandResult:
        ran.append(argv[2:])
        return CommandResult((), 0, "\n".join(rows) if "find" in argv else "", "", 0.0)

    monkeypatch.setattr(balancers, "run", run)
    ctx = context(tmp_path)
    (change,) = balancers.remove_balancers(ctx)
    change.do()
    assert ran[-1] == [word for row in rows for word in ("--", "destroy", "Load_Balancer", row)]
    rows.clear()
    assert not list(balancers.remove_balancers(ctx))


def test_ports_that_balancers_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners = ("ovn-lb:vip", "ovn-lb-hm:distributed", "compute:nova", "")
    ports = [{"id": str(i), "device_owner": owner} for i, owner in enumerate(owners)]
    cloud = Cloud(ports=ports)
    monkeypatch.setattr(neutron_api, "admin_session", lambda ctx: cloud)
    assert apply(balancers.remove_ports(context(tmp_path))) == ["remove 2 ports of load balancers"]
    assert cloud.told == ["DELETE ports/0", "DELETE ports/1"]
    assert not list(balancers.remove_ports(context(tmp_path)))


ID = "0e8a4f1c-0d5b-4c8f-9f3a-4f6f1a2b3c4d"


def test_amphorae_and_what_they_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known by names and owners; what is the users' stays."""
    cloud = Cloud(
        projects=[{"id": "p", "name": "service"}],
        servers=[{"id": "s", "name": f"amphora-{ID}", "project_id": "p"}],
        flavors=[{"id": "f", "name": "octavia-amphora"}, {"id": "g", "name": "m1.nano"}],
        ports=[
            {"id": "1", "name": f"octavia-lb-vrrp-{ID}", "project_id": "p", "device_owner": ""},
            {"id": "2", "name": f"octavia-lb-{ID}", "project_id": "u", "device_owner": "Octavia"},
            {"id": "3", "name": f"octavia-lb-vrrp-{ID}", "project_id": "u", "device_owner": ""},
            {"id": "4", "name": "web", "project_id": "u", "device_owner": "compute:nova"},
            {"id": "8", "name": f"octavia-lb-member-{ID}", "project_id": "p", "device_owner": ""},
            {"id": "9", "name": f"octavia-lb-member-{ID}", "project_id": "u", "device_owner": ""},
        ],
        security_groups=[
            {"id": "5", "name": f"lb-{ID}", "project_id": "p"},
            {"id": "6", "name": f"lb-{ID}", "project_id": "u"},
            {"id": "7", "name": "default", "project_id": "p"},
        ],
        images=[],
    )
    for module in (neutron_api, compute_api, image, service_images):
        monkeypatch.setattr(module, "admin_session", lambda ctx: cloud, raising=False)
    monkeypatch.setattr(balancers, "service_project", lambda ctx: "p")
    monkeypatch.setattr(service_images, "service_project", lambda ctx: "p")
    monkeypatch.setattr(Management, "purge", lambda self: iter(()))
    monkeypatch.setattr(Cloud, "loose", (*Cloud.loose, "is_public", "name"))
    ctx = context(tmp_path, Keystone(), Nova(), Neutron(), Glance())
    assert apply(balancers.remove_amphorae(ctx)) == [
        "remove 1 amphorae",
        "remove the flavor octavia-amphora",
        "remove 3 ports of amphorae",
        "remove 1 security groups of load balancers",
    ]
    assert [told.rpartition(" ")[2] for told in cloud.told] == [
        *("servers/s", "flavors/f", "ports/1", "ports/8", "ports/2", "security-groups/5"),
    ]
    assert not list(balancers.remove_amphorae(ctx))


def test_amphorae_stay_while_the_service_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = Cloud(loadbalancers=[{"id": "1", "provider": "amphora"}])
    monkeypatch.setattr(balancers, "admin_session", lambda ctx: cloud)
    ctx = context(tmp_path, Octavia(), CONFIG_LBAAS_INSTALL="y")
    with pytest.raises(OnestackError) as refused:
        list(balancers.remove_amphorae(ctx))
    assert "1 load balancers are amphorae" in refused.value.why


@needs_services
def test_the_owners_are_upstreams() -> None:
    """As the release's driver writes them."""
    text = (
        release().services.site_packages / "ovn_octavia_provider/common/constants.py"
    ).read_text()
    for owner in balancers.OWNERS:
        assert f"'{owner}'" in text
    assert f"LB_EXT_IDS_VIP_PORT_ID_KEY = '{balancers._MARK.strip(chr(34))}'" in text


@needs_services
def test_the_names_of_amphorae_ports_are_upstreams() -> None:
    """All that a release's controller gives to ports of amphorae."""
    controller = release().services.site_packages / "octavia"
    prefixes = {
        prefix
        for file in (controller / "common/constants.py", *controller.glob("controller/**/*.py"))
        for prefix in re.findall(r"'(octavia-lb-[a-z]+-)", file.read_text())
    }
    assert prefixes == {"octavia-lb-vrrp-", "octavia-lb-member-"}
    for prefix in prefixes:
        assert balancers.PORT.fullmatch(f"{prefix}{ID}")


def test_nothing_is_asked_of_what_is_off(tmp_path: Path) -> None:
    ctx = dataclasses.replace(context(tmp_path), switched_off=(Octavia(),))
    assert not list(Octavia().purge(ctx))


# -- firewall groups --------------------------------------------------------


@needs_services
def test_the_tables_are_all_that_upstream_makes() -> None:
    folder = release().services.site_packages / VERSIONS
    found = {
        name
        for file in folder.rglob("*.py")
        for name in re.findall(r"create_table\(\s*['\"](\w+)", file.read_text())
    }
    assert found == set(tables.FIREWALLS)


def test_firewalls_are_a_feature(tmp_path: Path) -> None:
    def left(**given: str) -> list[str]:
        ctx = context_on(machine(), tmp_path, Neutron(), Mariadb(), **given)
        return [f"{each.name} {each.title}" for each in switched_off.left(ctx)]

    assert left() == []
    sign = table_file(context(tmp_path).cloud, tables.FIREWALL_SIGN)
    sign.parent.mkdir(parents=True)
    sign.touch()
    assert left() == ["neutron:fwaas Firewall groups"]
    assert left(CONFIG_NEUTRON_FWAAS="y") == []


# -- backups ----------------------------------------------------------------


def test_backups_are_of_one_kind(tmp_path: Path) -> None:
    """The other's are forgotten at a purge; all of them where there are to be none."""

    def off(*rooms: Component, **given: str) -> list[str]:
        model = context(tmp_path, Cinder(), *rooms, **given).model["cinder"]
        return [feature.name for feature in model.features_off if "backup" in feature.name]

    assert off() == ["cinder:backup", "cinder:backup-files"]
    assert off(CONFIG_ONESTACK_CINDER_BACKUP="y") == ["cinder:backup"]
    assert off(Swift()) == ["cinder:backup-files"]
    assert off(Swift(), CONFIG_ONESTACK_CINDER_BACKUP="y") == ["cinder:backup-files"]


def test_what_a_purge_forgets_of_backups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = 1
    monkeypatch.setattr("onestack.database.server.server_of", lambda ctx: None)
    table = "onestack.database.upstream_tables.cinder"
    monkeypatch.setattr(f"{table}.backups", lambda server, driver: 2 if "swift" in driver else 0)
    monkeypatch.setattr(f"{table}.backup_services", lambda server: services)

    def forgets(*rooms: Component, **given: str) -> list[str]:
        model = context(tmp_path, Cinder(), *rooms, **given).model["cinder"]
        return [change.what for feature in model.features_off for change in feature.purge()]

    gone = "forget 2 backups of volumes, which were in the object store"
    assert forgets(CONFIG_ONESTACK_CINDER_BACKUP="y") == [gone]
    assert forgets(Swift()) == []
    assert forgets()[0] == f"{gone}, and their service"


# -- first contents ---------------------------------------------------------


DEMO = {"id": "d", "name": "demo", "description": networks.PROJECT_DESCRIPTION}
ADMIN = {"id": "a", "name": "admin", "description": ""}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """As the demo makes it, with a floating IP and a security group of the user's."""
    made = Cloud(
        projects=[DEMO, ADMIN],
        users=[{"id": "u", "name": "demo"}, {"id": "x", "name": "admin"}],
        networks=[
            {"id": "pub", "name": "public", "project_id": "a", "description": contents.DESCRIPTION},
            {"id": "pri", "name": "private", "project_id": "d", "description": ""},
        ],
        routers=[
            {
                "id": "r",
                "name": "router1",
                "project_id": "d",
                "external_gateway_info": {"network_id": "pub"},
            }
        ],
        ports=[
            {
                "id": "p",
                "name": "",
                "project_id": "d",
                "network_id": "pri",
                "device_id": "r",
                "device_owner": "network:router_interface",
            },
            {
                "id": "g",
                "name": "",
                "project_id": "",
                "network_id": "pub",
                "device_id": "r",
                "device_owner": "network:router_gateway",
            },
            {
                # OVN's, of each network with a subnet
                "id": "m",
                "name": "",
                "project_id": "a",
                "network_id": "pub",
                "device_id": "ovnmeta-pub",
                "device_owner": "network:distributed",
            },
        ],
        floatingips=[
            {
                "id": "f",
                "floating_ip_address": "172.24.4.9",
                "project_id": "d",
                "floating_network_id": "pub",
            }
        ],
        security_groups=[{"id": "s", "name": "default", "project_id": "d"}],
        images=[{"id": "i", "name": "cirros", "description": contents.DESCRIPTION}],
        servers=[],
        volumes=[],
    )
    known = keystone.KeystoneApi(made, "http://keystone")
    known.projects = {p["name"]: p for p in made.items["projects"]}
    known.users = {u["name"]: u for u in made.items["users"]}
    known.grants = {("u", "d", "member"), ("x", "a", "admin")}
    made.known = known
    for module in (leftovers, image, neutron_api):
        monkeypatch.setattr(module, "admin_session", lambda ctx: made)
    monkeypatch.setattr(leftovers, "keystone_of", lambda ctx: known)
    return made


def rooms(tmp_path: Path, **given: str) -> Context:
    made = (Keystone(), Glance(), Nova(), Neutron(), Cinder(), Provision())
    return context_on(machine(), tmp_path, *made, **given)


def parts(ctx: Context) -> dict[str, Iterator[Change]]:
    off = ctx.model["provision"].features_off
    return {declared.name.partition(":")[2]: declared.purge() for declared in off}


def noted(tmp_path: Path, **given: str) -> Context:
    """The files of a cloud that had these answers; the context of one that has none of them."""
    for file in Provision().files(rooms(tmp_path, **given)):
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_text(file.content)
    return rooms(tmp_path)


def purged(ctx: Context) -> list[str]:
    """All of it, in an order that the steps' needs allow."""
    return [what for changes in parts(ctx).values() for what in apply(changes)]


def test_the_demo_goes(tmp_path: Path, cloud: Cloud) -> None:
    ctx = noted(tmp_path, CONFIG_PROVISION_DEMO="y")
    etc = ctx.cloud.etc
    assert [each.title for each in switched_off.left(ctx)] == [
        "The demo",
        "The public network",
        "The image",
    ]
    assert purged(ctx) == [
        "remove the floatingip 172.24.4.9",
        "remove the router router1",
        "remove the network private",
        "remove the security-group default",
        "remove the user demo",
        "remove the project demo",
        f"remove {etc / 'demo-openrc'}",
        "remove the network public",
        f"remove {etc / 'provision-network'}",
        "remove the image cirros",
        f"remove {etc / 'provision-image'}",
    ]
    interface, router = (
        cloud.told.index(w) for w in ("PUT routers/r/remove_router_interface", "DELETE routers/r")
    )
    assert interface < router < cloud.told.index("DELETE networks/pri")
    assert cloud.items["projects"] == [ADMIN]
    assert not purged(ctx) and not switched_off.left(ctx)


def test_each_thing_is_removed_by_one_step(tmp_path: Path, cloud: Cloud) -> None:
    """Steps run at once, and each looks before any has removed something."""
    ctx = rooms(tmp_path)
    whats = [change.what for changes in parts(ctx).values() for change in changes]
    assert len(whats) == len(set(whats)) and "remove the image cirros" in whats
    # also in this look at all of it, where the demo's router is there yet
    assert "remove the network public" in whats
    order = {feature.name: feature.after for feature in Provision().features}
    assert order["network"] == ("demo", "tempest")


def test_an_image_that_is_gone_already(
    tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str) -> None:
        raise NotFound

    monkeypatch.setattr(cloud, "delete", refuse)
    assert apply(parts(rooms(tmp_path))["image"]) == ["remove the image cirros"]


@pytest.mark.parametrize(
    ("given", "titles"),
    [
        ({"CONFIG_ONESTACK_IMAGE": "y"}, ["The image"]),
        ({"CONFIG_PROVISION_TEMPEST": "y"}, ["The public network", "The image"]),
    ],
)
def test_what_goes_is_named(
    tmp_path: Path, cloud: Cloud, given: dict[str, str], titles: list[str]
) -> None:
    ctx = noted(tmp_path, **given)
    assert [each.title for each in switched_off.left(ctx)] == titles
    purged(ctx)
    assert not switched_off.left(ctx)


def test_tempests_account_is_named(tmp_path: Path, cloud: Cloud) -> None:
    user = {"CONFIG_PROVISION_TEMPEST_USER": "tester"}
    noted(tmp_path, CONFIG_PROVISION_TEMPEST="y", **user)
    ctx = rooms(tmp_path, CONFIG_ONESTACK_IMAGE="y", **user)
    assert [each.title for each in switched_off.left(ctx)] == [
        "Tempest's account",
        "The public network",
    ]


def test_network_and_image_go_after_the_projects(tmp_path: Path, cloud: Cloud) -> None:
    ctx = rooms(tmp_path)
    steps = switched_off.purge_steps(ctx, Server(tmp_path), ("ready",))
    needs = {step.name: step.needs for step in steps if step.name.startswith("purge:provision")}
    before = ("purge:provision:demo", "purge:provision:tempest")
    assert needs["purge:provision:network"] == ("ready", *before)
    assert needs["purge:provision:image"] == ("ready", *before)
    assert set(before) < set(needs)


def test_a_strangers_project_of_that_name(tmp_path: Path, cloud: Cloud) -> None:
    """Its router is on the network, which stays; and so does the note."""
    cloud.known.projects["demo"] = DEMO | {"description": "mine"}
    ctx = noted(tmp_path, CONFIG_PROVISION_DEMO="y")
    whats = purged(ctx)
    assert "remove the project demo" not in whats and "remove the network public" not in whats
    assert [each.title for each in switched_off.left(ctx)] == ["The public network"]


def test_what_is_somebody_elses_stays(tmp_path: Path, cloud: Cloud) -> None:
    """The same names, without the descriptions; and a public network that others use."""
    cloud.items["floatingips"].append(
        {
            "id": "o",
            "floating_ip_address": "172.24.4.8",
            "project_id": "a",
            "floating_network_id": "pub",
        }
    )
    del cloud.items["images"][0]["description"]
    whats = purged(rooms(tmp_path))
    assert "remove the project demo" in whats
    assert not {"remove the network public", "remove the image cirros"} & set(whats)
    cloud.items["floatingips"].clear()
    cloud.items["networks"][0]["description"] = "mine"
    assert not purged(rooms(tmp_path))


def test_a_user_that_has_come_to_be_more_stays(tmp_path: Path, cloud: Cloud) -> None:
    cloud.known.grants.add(("u", "a", "reader"))
    whats = apply(parts(rooms(tmp_path))["demo"])
    assert "remove the project demo" in whats and "remove the user demo" not in whats


def test_people_in_the_demo_are_not_robbed(tmp_path: Path, cloud: Cloud) -> None:
    cloud.items["servers"] = [{"id": "1", "project_id": "d"}]
    with pytest.raises(OnestackError) as refused:
        list(parts(rooms(tmp_path))["demo"])
    assert "demo" in refused.value.what and "1 servers" in refused.value.why
    assert cloud.told == []


def test_what_is_wanted_stays(tmp_path: Path, cloud: Cloud) -> None:
    assert "demo" not in parts(rooms(tmp_path, CONFIG_PROVISION_DEMO="y"))
    tempest = rooms(tmp_path, CONFIG_PROVISION_TEMPEST="y")
    whats = purged(tempest)
    assert "remove the project demo" in whats
    assert "remove the network public" not in whats and "remove the image cirros" not in whats
    image = rooms(tmp_path, CONFIG_ONESTACK_IMAGE="y")
    assert "remove the network public" in purged(image)
    assert cloud.items["images"]
