"""Each function on upstream's tables, on a real server with the tables of the locked release."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import onestack.database.upstream_tables as package
from onestack.database.passing import passing
from onestack.database.server import Server
from onestack.database.upstream_tables import (
    cinder,
    glance,
    gnocchi,
    heat,
    keystone,
    neutron,
    nova,
    octavia,
    sahara,
    trove,
)
from onestack.model.errors import OnestackError
from onestack.model.process import SERVICES
from onestack.release.release import Release
from tests.support.mariadb import installed as needs_mariadb
from tests.support.mariadb import running
from tests.support.needs import needs_root

pytestmark = [needs_mariadb, needs_root]
DECLARED = {
    "declared_tables.py": SERVICES,
    "migrated_tables.py": SERVICES,
    "sahara_tables.py": "sahara",
}
"""Programs that print tables, each with the environment that has them."""


@pytest.fixture(scope="module")
def declared(installed: Release) -> dict[str, dict[str, str]]:
    """Database to table to the statement that makes it."""
    found: dict[str, dict[str, str]] = {}
    for name, where in DECLARED.items():
        environment = installed.environment(where)
        for change in environment.ensure():
            change.do()
        program = Path(__file__).with_name(name)
        ran = subprocess.run(
            [environment.python, program], check=True, capture_output=True, text=True
        )
        found |= json.loads(ran.stdout)
    return found


@pytest.fixture(scope="module")
def server(
    declared: dict[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """With those tables that some function names."""
    folder = tmp_path_factory.mktemp("mariadb")
    sources = (path.read_text() for path in Path(package.__file__).parent.glob("*.py"))
    words = {word for source in sources for word in re.findall(r"\w+", source)}
    folder.parent.chmod(0o755)
    with running(folder):
        made = Server(folder / "mariadb.sock")
        for database, tables in declared.items():
            made.create(database)
            for table in tables.keys() & words:
                made.query(tables[table], (), database)
        yield made


def put(server: Server, database: str, table: str, **row: Any) -> None:
    """A row with these values, and any others where the table asks for one."""
    columns = server.query(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = %s"
        " AND table_name = %s AND is_nullable = 'NO' AND column_default IS NULL AND extra = ''",
        (database, table),
    )
    for name, kind in columns:
        row.setdefault(str(name), "x" if "char" in str(kind) or "text" in str(kind) else 0)
    names, places = ", ".join(f"`{n}`" for n in row), ", ".join(["%s"] * len(row))
    server.query(f"INSERT INTO `{table}` ({names}) VALUES ({places})", (*row.values(),), database)


def test_keystones_users(server: Server) -> None:
    for name, extra in (("admin", '{"email": "a@b.c"}'), ("bare", None), ("empty", "{}")):
        put(server, "keystone", "user", id=name, extra=extra, domain_id="default")
        put(server, "keystone", "local_user", user_id=name, name=name, domain_id="default")
    put(server, "keystone", "user", id="other", extra="{}", domain_id="ldap")
    put(server, "keystone", "local_user", user_id="other", name="other", domain_id="ldap")
    assert keystone.local_user(server, "admin") == keystone.UserRow("admin", "a@b.c")
    assert keystone.local_user(server, "bare") == keystone.UserRow("bare", "")
    assert keystone.local_user(server, "empty") == keystone.UserRow("empty", "")
    assert keystone.local_user(server, "other") is None


def test_keystones_catalog(server: Server) -> None:
    assert keystone.identity_endpoints(server) == 0
    for kind in ("identity", "compute"):
        put(server, "keystone", "service", id=kind, type=kind, extra="{}")
        for interface in ("public", "internal"):
            one = {"interface": interface, "service_id": kind, "url": "x", "extra": "{}"}
            put(server, "keystone", "endpoint", id=f"{kind}-{interface}", **one)
    assert keystone.identity_endpoints(server) == 2


def test_keystones_domains(server: Server) -> None:
    put(server, "keystone", "project", id="1", name="ldap", domain_id="r", is_domain=1)
    put(server, "keystone", "project", id="2", name="demo", domain_id="r", is_domain=0)
    assert keystone.has_domain(server, "ldap")
    assert not keystone.has_domain(server, "demo")


def test_novas_cells(server: Server) -> None:
    assert nova.cells(server) == set() == nova.mapped_hosts(server)
    for _ in range(2):
        nova.map_cell(server, "0" * 36, "cell0", "none:///", "mysql://")
    nova.map_cell(server, "1" * 36, "cell1", "rabbit://", "mysql://")
    assert nova.cells(server) == {"cell0", "cell1"}
    for _ in range(2):
        nova.map_host(server, "here", "cell1")
    assert nova.mapped_hosts(server) == {"here"}


def test_novas_computes(server: Server) -> None:
    rows = (("a", "nova-compute", 0), ("b", "nova-compute", 0), ("c", "nova-scheduler", 0))
    for number, (host, binary, deleted) in enumerate((*rows, ("d", "nova-compute", 9)), 50):
        service = {"id": number, "host": host, "topic": "compute", "deleted": deleted}
        put(server, "nova", "services", **service, binary=binary, uuid=str(number))
    for number, (host, deleted) in enumerate((("a", 0), ("a", 0), ("b", 7), ("d", 0)), 50):
        one = {"id": number, "uuid": f"computes-{number}", "host": host}
        put(server, "nova", "instances", **one, deleted=deleted)
    assert nova.computes(server) == {"a": 2, "b": 0}


def test_novas_servers(server: Server) -> None:
    server.query("SET GLOBAL time_zone = '+00:00'")
    for name, state, gone in (("a", "active", 0), ("b", "stopped", 0), ("c", "active", 3)):
        put(server, "nova", "instances", uuid=name, vm_state=state, deleted=gone)
    assert nova.running_longer_than(server, 5) == 0
    server.query(
        "UPDATE instances SET launched_at = UTC_TIMESTAMP() - INTERVAL 60 SECOND", (), "nova"
    )
    assert nova.running_longer_than(server, 5) == 1
    assert nova.running_longer_than(server, 90) == 0


def test_gnocchis_last_measure(server: Server) -> None:
    assert gnocchi.seconds_since_last(server, "cpu") is None
    put(server, "gnocchi", "metric", id="a" * 16, name="cpu")
    server.query(
        "UPDATE metric SET last_measure_timestamp = UTC_TIMESTAMP() - INTERVAL 60 SECOND",
        (),
        "gnocchi",
    )
    since = gnocchi.seconds_since_last(server, "cpu")
    assert since is not None and 60 <= since < 90
    assert gnocchi.seconds_since_last(server, "memory") is None


def test_cinders_backups(server: Server) -> None:
    swift, posix = "cinder.backup.drivers.swift.SwiftBackupDriver", "of.ours"
    assert cinder.backups(server, swift) == 0 == cinder.backup_services(server)
    put(server, "cinder", "backups", id="1", deleted=0, service=swift)
    put(server, "cinder", "backups", id="2", deleted=1, service=swift)
    for number in (3, 4):
        put(server, "cinder", "backups", id=str(number), deleted=0, service=posix)
    for number, name, gone in ((1, "backup", 0), (2, "volume", 0), (3, "backup", 1)):
        put(server, "cinder", "services", id=number, binary=f"cinder-{name}", deleted=gone)
    assert cinder.backups(server, swift) == 1 == cinder.backup_services(server)
    assert cinder.backups(server, posix) == 2


def test_neutrons_firewalls(server: Server, declared: dict[str, dict[str, str]]) -> None:
    """Interrupted, what is left is found and goes the next time; neutron's own rows stay."""
    alembic = f"CREATE TABLE {neutron.FIREWALL_VERSION} (version_num VARCHAR(32) PRIMARY KEY)"
    server.query(alembic, (), "neutron")
    for kind in ("firewall_groups_v2", "networks"):
        put(server, "neutron", "standardattributes", resource_type=kind)
    for resource in ("firewall_rule", "network"):
        put(server, "neutron", "quotas", id=resource, project_id="p", resource=resource)
    put(server, "neutron", "firewall_rules_v2", id="1", standard_attr_id=1)
    before = server.tables("neutron")
    there = neutron.firewall_tables(server)
    assert set(there) == {neutron.FIREWALL_VERSION, *neutron.FIREWALLS}
    assert there[0] == neutron.FIREWALL_VERSION and there[-1] == neutron.FIREWALL_SIGN.name
    neutron.drop_firewall_tables(server, there)
    assert server.tables("neutron") == before - set(there)
    kept = server.query("SELECT resource_type FROM standardattributes", (), "neutron")
    assert kept == [("networks",)]
    assert server.query("SELECT resource FROM quotas", (), "neutron") == [("network",)]
    assert neutron.firewall_tables(server) == []


def test_troves_datastores(server: Server) -> None:
    """One that is registered halfway cannot be chosen, nor one that is booted by tags."""
    put(server, "trove", "datastores", id="1", name="mariadb", default_version_id="v1")
    put(server, "trove", "datastores", id="2", name="postgresql")
    row = {"manager": "m", "version": "10.11", "active": 1, "image_tags": ""}
    for number, datastore, image, more in (
        ("v1", "1", "image", {}),
        ("v2", "1", "image", {"active": 0}),
        ("v3", "1", "image", {"image_tags": "tag"}),
        ("v4", "2", "image", {}),
    ):
        values = {**row, **more}
        put(
            server,
            "trove",
            "datastore_versions",
            id=number,
            datastore_id=datastore,
            image_id=image,
            **values,
        )
    assert trove.registered(server) == {("mariadb", "10.11", "m", "image")}


def test_troves_instances(server: Server) -> None:
    for number, task, status, gone in (
        ("1", "No tasks for the instance.", "healthy", 0),
        ("2", "Build error: guestagent timeout.", "guestagent error", 0),
        ("3", "The instance is building.", "new", 0),
        ("4", "No tasks for the instance.", "deleted", 1),
    ):
        put(
            server,
            "trove",
            "instances",
            id=number,
            name=f"db{number}",
            compute_instance_id="nova" if number == "1" else None,
            task_description=task,
            deleted=gone,
        )
        put(
            server,
            "trove",
            "service_statuses",
            id=number,
            instance_id=number,
            status_id=1,
            status_description=status,
        )
    for table, column in (("instances", "created"), ("service_statuses", "updated_at")):
        server.query(
            f"UPDATE {table} SET {column} = UTC_TIMESTAMP() - INTERVAL 60 SECOND", (), "trove"
        )
    found = {row.name: row for row in trove.instances(server)}
    assert set(found) == {"db1", "db2", "db3"}
    assert [found[name].server for name in sorted(found)] == ["nova", "", ""]
    assert [bool(found[name].error) for name in sorted(found)] == [False, True, False]
    assert [found[name].status for name in sorted(found)] == ["healthy", "guestagent error", "new"]
    assert all(60 <= row.age < 90 and 60 <= row.silent < 90 for row in found.values())


def test_what_trove_has_on_its_way(server: Server) -> None:
    server.query("SET GLOBAL time_zone = '+00:00'")
    for number, (task, gone) in enumerate(((1, 0), (4, 0), (5, 0), (2, 1), (0x5B, 0))):
        of = {"id": f"w{number}", "name": f"way{number}", "updated": "2026-01-01 00:00:00"}
        put(server, "trove", "instances", task_id=task, deleted=gone, **of)
    for state, gone in (("COMPLETED", 0), ("SAVING", 0), ("BUILDING", 1)):
        put(server, "trove", "backups", id=state, name="b", state=state, deleted=gone)
    found = {thing.identity: thing for thing in trove.in_passing(server)}
    assert found.keys() == {"w1", "SAVING"}
    assert found["w1"].kind == "database instance" and found["w1"].name == "way1"
    assert found["w1"].state == "RESIZING" and found["w1"].since > 3600
    assert found["SAVING"].kind == "database backup"


def test_heats_tagged_stacks(server: Server) -> None:
    for number, owner, gone in (("1", None, None), ("2", "1", None), ("3", None, "2026-01-01")):
        more = {"owner_id": owner, "deleted_at": gone, "action": "CREATE", "status": "COMPLETE"}
        put(server, "heat", "stack", id=number, name=f"s{number}", **more)
        put(server, "heat", "stack_tag", stack_id=number, tag="mine")
    put(server, "heat", "stack", id="4", name="s4", action="CREATE", status="COMPLETE")
    put(server, "heat", "stack_tag", stack_id="4", tag="other")
    assert heat.tagged(server, "mine") == [heat.StackRow("1", "s1", "CREATE COMPLETE")]
    assert heat.untagged(server, "mine") == [heat.StackRow("4", "s4", "CREATE COMPLETE")]
    assert server.tables("heat") >= heat.TABLES


def test_what_heats_stacks_hold(server: Server) -> None:
    for number, kind in ((1, "OS::Nova::Server"), (2, "OS::Neutron::Port")):
        template = json.dumps({"resources": {"one": {"type": kind}}})
        put(server, "heat", "raw_template", id=number, template=template)
    roots = {"h1": None, "h2": "h1", "h3": None}
    for name, owner in roots.items():
        put(server, "heat", "stack", id=name, name=name, owner_id=owner, raw_template_id=1)
    for name in ("h1", "h2"):
        put(server, "heat", "stack_tag", stack_id=name, tag="held")
    for stack, root, identity, template_id in (
        ("h1", "h1", "a", None),
        ("h2", "h1", "b", 2),
        ("h2", "h1", None, 2),
        ("h3", "h3", "c", 1),
    ):
        more = {"nova_instance": identity, "current_template_id": template_id, "uuid": identity}
        put(server, "heat", "resource", name="one", stack_id=stack, root_stack_id=root, **more)
    found = heat.held(server, "held")
    assert found == {"OS::Nova::Server": {"a"}, "OS::Neutron::Port": {"b"}}


def test_saharas_clusters(server: Server) -> None:
    for number, status, told in (("1", "Active", None), ("2", "Waiting", ""), ("3", "Error", "no")):
        put(
            server,
            "sahara",
            "clusters",
            id=number,
            name=f"c{number}",
            status=status,
            status_description=told,
            tenant_id=f"p{number}",
        )
    server.query(
        "UPDATE clusters SET created_at = UTC_TIMESTAMP() - INTERVAL 60 SECOND", (), "sahara"
    )
    found = {row.identity: row for row in sahara.clusters(server)}
    assert [found[n].status for n in sorted(found)] == ["Active", "Waiting", "Error"]
    assert [found[n].description for n in sorted(found)] == ["", "", "no"]
    assert all(60 <= row.silent < 90 for row in found.values())
    assert [found[n].project for n in sorted(found)] == ["p1", "p2", "p3"]


def test_saharas_machines(server: Server) -> None:
    """By which way each is reached, and whether it has been."""
    for name, cluster, pool, gateway in (
        ("door", "m1", "net", 1),
        ("inner", "m1", None, 0),
        # As a template of before there were gateways has it.
        ("plain", "m2", "net", None),
    ):
        how = {"floating_ip_pool": pool, "is_proxy_gateway": gateway}
        put(server, "sahara", "node_groups", id=name, cluster_id=cluster, name=name, **how)
    for group, address in (("door", "192.0.2.9"), ("inner", "10.0.0.2"), ("plain", None)):
        row: dict[str, Any] = {"instance_name": f"c-{group}", "instance_id": f"s-{group}"}
        row |= {"management_ip": address, "internal_ip": address and "10.0.0.2"}
        put(server, "sahara", "instances", id=group, node_group_id=group, **row)
    for step, which, well in (
        ("Assign IPs", "inner", 1),
        (sahara.LOGGED_IN, "door", 1),
        (sahara.LOGGED_IN, "plain", 0),
    ):
        number = f"{step[0]}-{which}"
        put(server, "sahara", "cluster_provision_steps", id=number, step_name=step)
        event = {"instance_id": f"s-{which}", "successful": well, "step_id": number}
        put(server, "sahara", "cluster_events", id=number, **event)
    assert sahara.machines(server, "m1") == [
        sahara.MachineRow(
            *("c-door", "s-door", "192.0.2.9", "10.0.0.2", "net"),
            is_gateway=True,
            is_behind=False,
            has_come=True,
        ),
        sahara.MachineRow(
            *("c-inner", "s-inner", "10.0.0.2", "10.0.0.2", ""),
            is_gateway=False,
            is_behind=True,
            has_come=False,
        ),
    ]
    assert sahara.machines(server, "m2") == [
        sahara.MachineRow(
            *("c-plain", "s-plain", "", "", "net"),
            is_gateway=False,
            is_behind=False,
            has_come=False,
        )
    ]
    assert sahara.machines(server, "m3") == []


def test_signs_are_tables(declared: dict[str, dict[str, str]]) -> None:
    for table in (heat.STACKS, neutron.NETWORKS, neutron.FIREWALL_SIGN):
        assert table.name in declared[table.database], table


def test_neutrons_limits(server: Server) -> None:
    assert neutron.bandwidth_limits(server) == 0
    put(server, "neutron", "qos_bandwidth_limit_rules", id="1", direction="egress")
    assert neutron.bandwidth_limits(server) == 1


def test_what_is_on_its_way_to_another_state(server: Server) -> None:
    earlier = "2026-01-01 00:00:00"
    server.query("SET GLOBAL time_zone = '+00:00'")
    for number, (vm, task, gone) in enumerate(
        (
            ("active", None, 0),
            ("building", None, 0),
            ("active", "deleting", 0),
            ("x", "y", 9),
            ("building", "spawning", 0),
            ("shelved_offloaded", "spawning", 0),
            ("shelved_offloaded", "deleting", 0),
        )
    ):
        of = {"uuid": f"p{number}", "display_name": f"s{number}", "updated_at": earlier}
        put(server, "nova", "instances", vm_state=vm, task_state=task, deleted=gone, **of)
    found = {thing.identity: thing for thing in nova.in_passing(server)}
    assert {i: found[i].state for i in found} == {
        "p1": "building",
        "p2": "deleting",
        "p4": "spawning",
        "p5": "unshelving",
        "p6": "deleting",
    }
    assert found["p1"].name == "s1" and found["p1"].since > 3600
    for number, state in enumerate(("available", "deleting", "error_deleting", "in-use")):
        put(server, "cinder", "volumes", id=f"v{number}", status=state, deleted=0)
    put(server, "cinder", "snapshots", id="s", status="creating", deleted=0)
    put(server, "cinder", "backups", id="b", status="restoring", deleted=0)
    states = {(thing.kind, thing.state) for thing in cinder.in_passing(server)}
    assert states == {
        ("volume", "deleting"),
        ("volume snapshot", "creating"),
        ("volume backup", "restoring"),
    }
    for number, status in enumerate(("COMPLETE", "IN_PROGRESS")):
        put(server, "heat", "stack", id=f"s{number}", name="n", action="CREATE", status=status)
    put(server, "heat", "stack", id="inner", action="CREATE", status="IN_PROGRESS", owner_id="s1")
    (stack,) = heat.in_passing(server)
    assert (stack.identity, stack.state) == ("s1", "CREATE_IN_PROGRESS")
    for name, state in (("a", "ACTIVE"), ("p", "PENDING_UPDATE")):
        put(server, "octavia", "load_balancer", id=name, name=name, provisioning_status=state)
    assert [thing.identity for thing in octavia.in_passing(server)] == ["p"]
    for name, state in (("q", "queued"), ("s", "saving"), ("a", "active")):
        put(server, "glance", "images", id=name, name=name, status=state, deleted=0)
    assert [thing.identity for thing in glance.in_passing(server)] == ["s"]


def test_a_database_that_is_not_there_has_nothing_on_its_way(server: Server) -> None:
    assert passing(server, "nowhere", "things", "thing", "state", "TRUE") == []


def test_a_column_that_is_no_more_is_an_error(server: Server) -> None:
    """Why these tests are worth something."""
    server.query("ALTER TABLE backups CHANGE deleted gone BOOL", (), "cinder")
    with pytest.raises(OnestackError, match="refused"):
        cinder.backups(server, "swift")


def test_octavias_amphorae(server: Server) -> None:
    assert octavia.amphorae(server) == ()
    put(server, "octavia", "amphora", id="a", load_balancer_id="b", status="BOOTING")
    put(server, "octavia", "amphora", id="gone", load_balancer_id="b", status="DELETED")
    an_hour = "UTC_TIMESTAMP() - INTERVAL 1 HOUR"
    server.query(f"UPDATE amphora SET created_at = {an_hour}", (), "octavia")
    (row,) = octavia.amphorae(server)
    assert (row.identity, row.balancer, row.status) == ("a", "b", "BOOTING")
    assert (row.server, row.address, row.silent) == ("", "", None)
    assert 3600 <= row.age < 3630
    put(server, "octavia", "amphora_health", amphora_id="a")
    server.query(f"UPDATE amphora_health SET last_update = {an_hour}", (), "octavia")
    server.query("UPDATE amphora SET compute_id = 's', lb_network_ip = '192.0.2.1'", (), "octavia")
    (row,) = octavia.amphorae(server)
    assert (row.server, row.address) == ("s", "192.0.2.1")
    assert row.silent is not None and 3600 <= row.silent < 3630


def test_neutrons_untagged_networks(server: Server) -> None:
    for number, (name, kind, physical) in enumerate(
        (
            ("a-old", "local", None),
            ("b-led", "local", "extnet"),
            ("c-flat", "flat", "other"),
            ("d-inner", "local", None),
            ("e-vlan", "vlan", "extnet"),
        )
    ):
        own = {"id": name, "name": f"net-{name}", "standard_attr_id": number}
        put(server, "neutron", "networks", **own)
        put(
            server,
            "neutron",
            "networksegments",
            id=f"s-{name}",
            network_id=name,
            network_type=kind,
            physical_network=physical,
            standard_attr_id=number,
        )
        if name != "d-inner":
            put(server, "neutron", "externalnetworks", network_id=name)
    for number, (network, owner) in enumerate(
        (
            ("a-old", "compute:nova"),
            ("a-old", "network:dhcp"),
            ("a-old", "network:router_gateway"),
            ("b-led", "network:floatingip"),
            ("d-inner", ""),
        )
    ):
        put(
            server,
            "neutron",
            "ports",
            id=f"port-{number}",
            network_id=network,
            device_owner=owner,
            mac_address=f"fa:16:3e:00:00:0{number}",
            standard_attr_id=100 + number,
        )

    def row(name: str, kind: str, physical: str, *more: Any) -> neutron.Untagged:
        return neutron.Untagged(f"s-{name}", name, f"net-{name}", kind, physical, *more)

    old = row("a-old", "local", "", True, 1, 2)
    others = [
        row("b-led", "local", "extnet", True, 0, 0),
        row("c-flat", "flat", "other", True, 0, 0),
        row("d-inner", "local", "", False, 0, 1),
    ]
    assert neutron.untagged_networks(server) == [old, *others]
    neutron.lead(server, "a-old", "extnet")
    assert neutron.untagged_networks(server)[0] == old._replace(physical="extnet")
    neutron.lead(server, "a-old", "")
    assert neutron.untagged_networks(server) == [old, *others]
