"""Services are switched on, used a little, and switched off for good: nothing is left of them.

All on one cloud, which is described before and after: what is in keystone, in
MariaDB, in OVN, and below the root. What is on goes on; it is told by the
processes' ids.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.known_errors import unexpected
from tests.deploy.test_changes import NEUTRON, changed, pids, settings
from tests.support.clouds import LAUNCHER, CloudUnderTest, run, wait_until

pytestmark = pytest.mark.timeout(1800)

NAME = os.environ.get("ONESTACK_TEST_NAME", "purge")
STACK = """heat_template_version: 2018-08-31
resources:
  signal:
    type: OS::Heat::WaitConditionHandle
"""
FIRST = ("CONFIG_HEAT_INSTALL", "CONFIG_LBAAS_INSTALL")
SECOND = (
    *("CONFIG_CEILOMETER_INSTALL", "CONFIG_AODH_INSTALL", "CONFIG_SWIFT_INSTALL"),
    *("CONFIG_NEUTRON_FWAAS", "CONFIG_PROVISION_DEMO"),
)
GOES_ON = ("mariadb", "rabbitmq", "memcached", "keystone-api", "ovn-", "ovs", "libvirtd")
"""What none of them concerns (beginnings of names)."""

TABLES = {
    "keystone": (
        *("user", "local_user", "role", "project", "service", "endpoint", "credential"),
        *("assignment", "access_token", "`group`"),
    ),
    "neutron": (
        *("networks", "subnets", "ports", "routers", "floatingips", "securitygroups"),
        *("standardattributes", "quotas"),
    ),
    "cinder": ("backups WHERE deleted = 0", "services WHERE deleted = 0"),
    "glance": ("images WHERE deleted = 0",),
}
"""Whose rows are counted."""
OVN = (
    *("Logical_Switch", "Logical_Switch_Port", "Logical_Router", "Load_Balancer", "ACL"),
    *("Load_Balancer_Health_Check", "Port_Group", "NAT", "DHCP_Options", "Address_Set"),
)


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudUnderTest]:
    cloud = CloudUnderTest(NAME, answers=("CONFIG_NEUTRON_L2_AGENT=ovn",))
    with cloud.living():
        cloud.type(
            "set -e; openstack network show net -c id && exit; openstack network create net; "
            "openstack subnet create sub --network net --subnet-range 192.168.77.0/24; "
            "openstack router create way; openstack router add subnet way sub; "
            # a monitor's address is made for a member that has a port
            "openstack port create --network net --fixed-ip ip-address=192.168.77.77 member"
        )
        yield cloud


def described(cloud: CloudUnderTest) -> dict[str, list[str]]:
    """All that a service could leave behind."""
    root = cloud.root
    places = [*root.glob("*"), *root.glob("data/*"), *root.glob("run/*"), *root.glob("etc/**/*")]
    places = [p for p in places if p.suffix != ".lock" and p.parent.name != "namespaces"]
    found: dict[str, list[str]] = {
        "places": sorted(str(path.relative_to(root)) for path in places),
        "databases": cloud.sql("SHOW DATABASES"),
        "database users": cloud.sql("SELECT User FROM mysql.user ORDER BY 1"),
        "tables": cloud.sql("SHOW TABLES FROM neutron"),
        "system users": sorted(
            line.split(":")[0]
            for line in run(["getent", "passwd"]).stdout.splitlines()
            if line.startswith(f"{cloud.prefix}-")
        ),
        "trusts": cloud.sql("SELECT COUNT(*) FROM keystone.trust WHERE deleted_at IS NULL"),
        "ovn": cloud.type(
            "; ".join(f"echo {t} $(ovn-nbctl --bare --columns=_uuid list {t} | wc -w)" for t in OVN)
        ).splitlines(),
        "monitors": cloud.type("ovn-sbctl --bare --columns=ip list service_monitor").split(),
    }
    for database, tables in TABLES.items():
        for table in tables:
            found[f"{database}.{table}"] = cloud.sql(f"SELECT COUNT(*) FROM {database}.{table}")
    return found


def assert_same(before: dict[str, list[str]], after: dict[str, list[str]]) -> None:
    differ = {
        name: sorted(set(before[name]) ^ set(after[name]))
        for name in before
        if before[name] != after[name]
    }
    assert not differ, "\n".join(f"{name}: {what}" for name, what in differ.items())


def switched(names: tuple[str, ...], how: str) -> list[str]:
    return settings(**dict.fromkeys(names, how))


def active(cloud: CloudUnderTest, balancer: str) -> None:
    show = f"openstack loadbalancer show {balancer} -f value -c provisioning_status"
    wait_until("the balancer", lambda: cloud.type(show).strip() == "ACTIVE", 90, 0.2)


class TestHeatAndBalancers:
    before: dict[str, list[str]]

    def test_switched_on(self, cloud: CloudUnderTest) -> None:
        type(self).before = described(cloud)
        restarted, came, went = changed(cloud, *switched(FIRST, "y"))
        assert (restarted, came, went) == ({"haproxy"}, {"heat", "octavia-api"}, set())

    def test_used(self, cloud: CloudUnderTest, tmp_path: Path) -> None:
        template = tmp_path / "stack.yaml"
        template.write_text(STACK)
        cloud.type(f"openstack stack create --wait -t {template} one")
        cloud.type("openstack loadbalancer create --name web --vip-subnet sub")
        active(cloud, "web")
        for words in (
            "listener create web --name www --protocol TCP --protocol-port 80",
            "pool create --name servers --listener www --protocol TCP "
            "--lb-algorithm SOURCE_IP_PORT",
            "member create servers --address 192.168.77.77 --protocol-port 80 --subnet-id sub",
            "healthmonitor create servers --type TCP --delay 5 --timeout 5 --max-retries 2",
        ):
            cloud.type(f"openstack loadbalancer {words}")
            active(cloud, "web")
        assert "ovn-lb-" in cloud.type("openstack port list -f value -c Name")

    def test_password_of_heats_domain(self, cloud: CloudUnderTest, tmp_path: Path) -> None:
        """It reaches keystone and heat, and nothing else is restarted."""
        new = {"CONFIG_HEAT_DOMAIN_PASSWORD": "whoever-makes-users-for-stacks"}
        old = cloud.secrets()["CONFIG_HEAT_DOMAIN_PASSWORD"]
        assert changed(cloud, *settings(**new)) == ({"heat"}, set(), set())
        template = tmp_path / "stack.yaml"
        template.write_text(STACK)
        cloud.type(f"openstack stack create --wait -t {template} two")
        token = (
            "env -u OS_PROJECT_NAME -u OS_PROJECT_DOMAIN_NAME openstack --os-username heat_admin "
            "--os-user-domain-name heat --os-domain-name heat --os-password {} token issue"
        )
        assert cloud.type(token.format(new["CONFIG_HEAT_DOMAIN_PASSWORD"]))
        cloud.inside(token.format(old), expect=1)

    def test_key_of_heats_database(self, cloud: CloudUnderTest) -> None:
        """Stacks could not be read with another: nothing is touched."""
        before = pids(cloud)
        refused = cloud.onestack("up", *settings(CONFIG_HEAT_AUTH_ENC_KEY="k" * 32), expect=3)
        assert "CONFIG_HEAT_AUTH_ENC_KEY" in refused.stderr and "old value" in refused.stderr
        assert pids(cloud) == before
        assert ": 0 changes in" in cloud.onestack("up").stdout

    def test_switched_off(self, cloud: CloudUnderTest) -> None:
        """Data stays, and OVN goes on balancing."""
        restarted, came, went = changed(cloud, *switched(FIRST, "n"))
        assert (restarted, came, went) == ({"haproxy"}, set(), {"heat", "octavia-api"})
        assert "192.168.77.77:80" in cloud.type("ovn-nbctl lb-list")

    def test_for_good(self, cloud: CloudUnderTest) -> None:
        would = cloud.onestack("up", "--dry-run", "--purge").stdout
        for words in (
            "remove the domain heat",
            "remove 1 load balancers from OVN",
            "remove 2 ports of load balancers",
            "drop the database octavia",
        ):
            assert words in would
        assert changed(cloud, "--purge", "--yes") == (set(), set(), set())
        assert_same(self.before, described(cloud))
        again = cloud.onestack("up", "--purge", "--yes").stdout
        assert ": 0 changes in" in again and "Kept:" not in again


class TestAnImage:
    """Nothing else was asked for, and the file that it was made from is gone."""

    before: dict[str, list[str]]

    def test_needs_its_file_once(self, cloud: CloudUnderTest, tmp_path: Path) -> None:
        type(self).before = described(cloud)
        file = tmp_path / "mine.qcow2"
        run([str(LAUNCHER), "image", "build-test-guest", "--output", str(file)])
        image = {"CONFIG_ONESTACK_IMAGE": "y", "CONFIG_PROVISION_IMAGE_URL": str(file)}
        cloud.onestack("up", *settings(**image))
        assert "cirros" in cloud.type("openstack image list -f value -c Name")
        file.unlink()
        again = cloud.onestack("up")
        assert ": 0 changes in" in again.stdout and f"there is no image at {file}" in again.stderr
        assert str(file) in cloud.onestack("doctor", expect=None).stdout
        image["CONFIG_PROVISION_IMAGE_URL"] += "2"
        refused = cloud.onestack("up", *settings(**image), expect=3)
        assert f"there is no image at {file}2" in refused.stderr

    def test_is_named_before_it_goes(self, cloud: CloudUnderTest) -> None:
        off = settings(CONFIG_ONESTACK_IMAGE="n", CONFIG_PROVISION_IMAGE_URL="")
        asked = cloud.onestack("up", "--purge", *off, expect=2)
        assert "what is left of The image was not removed" in asked.stderr
        assert "cirros" in cloud.type("openstack image list -f value -c Name")
        assert "Kept:         what belongs to The image" in cloud.onestack("up", *off).stdout
        assert changed(cloud, "--purge", "--yes") == (set(), set(), set())
        assert_same(self.before, described(cloud))
        again = cloud.onestack("up", "--purge", "--yes").stdout
        assert ": 0 changes in" in again and "Kept:" not in again


class TestParts:
    """Also of services that stay: firewalls of neutron's, backups of cinder's, the demo."""

    before: dict[str, list[str]]

    def test_switched_on(self, cloud: CloudUnderTest) -> None:
        cloud.type("openstack volume create --size 1 vol")
        type(self).before = described(cloud)
        restarted, came, went = changed(cloud, *switched(SECOND, "y"))
        assert not [name for name in restarted if name.startswith(GOES_ON)]
        assert came > {"gnocchi", "ceilometer", "aodh", "swift-proxy", "cinder-backup"}
        assert went == set()

    def test_used(self, cloud: CloudUnderTest) -> None:
        port = "$(openstack port list --router way --network net -f value -c ID)"
        cloud.type(
            "set -e; openstack firewall group policy create in; "
            "openstack firewall group policy create out; "
            "openstack firewall group create --ingress-firewall-policy in "
            f"--egress-firewall-policy out --port {port} wall; "
            "openstack alarm create --name loud --type event --event-type compute.instance.* "
            "--alarm-action trust+https://nobody.example.com; "
            "openstack metric create --archive-policy-name low counted"
        )
        cloud.type("openstack volume backup create --name saved vol")
        status = "openstack volume backup show saved -f value -c status"
        wait_until("the backup", lambda: cloud.type(status).strip() == "available", 120)
        cloud.type(
            f". {cloud.root}/etc/demo-openrc; openstack floating ip create public; "
            "openstack security group create own"
        )

    def test_people_in_the_demo(self, cloud: CloudUnderTest) -> None:
        """What they keep there is not taken from them."""
        cloud.type(f". {cloud.root}/etc/demo-openrc; openstack volume create --size 1 theirs")
        words = ("--purge", "--yes", *switched(("CONFIG_PROVISION_DEMO",), "n"))
        said = cloud.onestack("up", *words, expect=1)
        assert "1 volumes" in said.stderr + said.stdout
        assert "demo" in cloud.type("openstack project list -f value -c Name").split()
        assert "cirros" in cloud.type("openstack image list -f value -c Name")
        cloud.type(
            "openstack volume delete $(openstack volume list --all -f value -c ID -c Name |"
            " awk '/theirs/ {print $1}')"
        )
        gone = "openstack volume list --all -f value -c Name"
        wait_until("the volume's end", lambda: "theirs" not in cloud.type(gone), 60)

    def test_switched_off_for_good(self, cloud: CloudUnderTest) -> None:
        off = switched(SECOND, "n")
        asked = cloud.onestack("up", "--purge", *off, expect=2)
        for what in ("Firewall groups", "The demo", "The image", "Object store", "Metrics"):
            assert what in asked.stderr
        restarted, came, went = changed(cloud, "--purge", "--yes", *off)
        assert not [name for name in restarted if name.startswith(GOES_ON)]
        assert restarted >= NEUTRON and not came and "cinder-backup" in went
        assert_same(self.before, described(cloud))
        again = cloud.onestack("up", "--purge", "--yes").stdout
        assert ": 0 changes in" in again and "Kept:" not in again

    def test_quota_is_free_again(self, cloud: CloudUnderTest) -> None:
        rows = cloud.sql(
            "SELECT SUM(in_use) FROM cinder.quota_usages WHERE resource LIKE 'backup%'",
        )
        assert rows == ["0"]

    def test_no_errors_in_the_logs(self, cloud: CloudUnderTest) -> None:
        assert unexpected(cloud.error_lines()) == []
