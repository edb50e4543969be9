"""The person's guide, row by row, on a cloud of each network layout.

Commands are typed as in the notes of 2016, through the unmodified clients;
each class is one sitting at the machine, its tests run in order.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clouds import (
    REPOSITORY,
    CloudUnderTest,
    rows,
    run,
    table,
    wait_until,
)

GUIDE = REPOSITORY / "examples" / "guide.answers"
SSH = (
    "ssh -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
    "-o ConnectTimeout=5 -o LogLevel=ERROR cirros@{address} '{command}'"
)


class Sitting:
    """The cloud and the ids found on the way."""

    def __init__(self, cloud: CloudUnderTest, backend: str, work: Path) -> None:
        self.cloud = cloud
        self.backend = backend
        self.key = work / "key"
        self.ids: dict[str, str] = {}

    def ssh(self, address: str, command: str, timeout: float = 60) -> str:
        line = SSH.format(key=self.key, address=address, command=command)
        return self.cloud.type(line, timeout=timeout)

    def dhcp_has(self, net: str, pattern: str) -> bool:
        """Whether the network's DHCP server has such an address."""
        shown = self.cloud.type(f"ip netns exec qdhcp-{self.ids[net]} ifconfig")
        return bool(re.search(rf"inet {pattern}", shown))

    def active(self, name: str) -> bool:
        status = self.cloud.type(f"openstack server show {name} -f value -c status")
        return status.strip() == "ACTIVE"

    def pings(self, name: str) -> bool:
        """Whether the server answers at its floating address."""
        return self.cloud.inside(f"ping -c1 -W2 {self.ids[name]}", expect=None).returncode == 0

    def lets_in(self, name: str) -> bool:
        return self.ssh(self.ids[name], "true") == ""

    def has_disk(self, name: str) -> bool:
        return "vdb" in self.ssh(self.ids[name], "cat /proc/partitions")


@pytest.fixture(scope="module", params=["openvswitch", "ovn"])
def sitting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sitting]:
    backend = request.param
    cloud = CloudUnderTest(
        name={"openvswitch": "ovs", "ovn": "ovn"}[backend],
        answer_file=GUIDE,
        answers=(f"CONFIG_NEUTRON_L2_AGENT={backend}", "CONFIG_ONESTACK_IMAGE=y"),
    )
    with cloud.living():
        yield Sitting(cloud, backend, tmp_path_factory.mktemp(backend))


class TestGuide:
    def test_row_5_external_network(self, sitting: Sitting) -> None:
        text = sitting.cloud.type(
            "neutron net-create net-ext --provider:network_type=local "
            "--router:external=true --shared"
        )
        made = table(text)
        assert made["name"] == "net-ext"
        assert made["provider:network_type"] == "local"
        assert made["router:external"] == "True"
        assert made["shared"] == "True"
        assert made["status"] == "ACTIVE"
        sitting.ids["net-ext"] = made["id"]
        # Seen once: it was made twice. The logs say what happened in between.
        listed = sitting.cloud.type("openstack network list --name net-ext --long -f json")
        assert [one["ID"] for one in json.loads(listed)] == [made["id"]], (
            listed + sitting.cloud.log_ends("neutron-api", "mariadb")
        )

    def test_row_6_external_subnet(self, sitting: Sitting) -> None:
        made = table(
            sitting.cloud.type(
                "neutron subnet-create net-ext 10.50.14.0/24 --name=sub-ext "
                "--allocation_pool start=10.50.14.51,end=10.50.14.57"
            )
        )
        assert made["cidr"] == "10.50.14.0/24"
        assert made["gateway_ip"] == "10.50.14.1"
        assert json.loads(made["allocation_pools"]) == {
            "start": "10.50.14.51",
            "end": "10.50.14.57",
        }
        sitting.ids["sub-ext"] = made["id"]

    def test_row_7_internal_network(self, sitting: Sitting) -> None:
        net = table(
            sitting.cloud.type("neutron net-create net-int --provider:network_type=local --shared")
        )
        sub = table(
            sitting.cloud.type(
                "neutron subnet-create net-int 192.168.10.0/24 --name=sub-int "
                "--allocation_pool start=192.168.10.10,end=192.168.10.50"
            )
        )
        assert sub["gateway_ip"] == "192.168.10.1"
        sitting.ids |= {"net-int": net["id"], "sub-int": sub["id"]}

    def test_row_8_router(self, sitting: Sitting) -> None:
        ids, cloud = sitting.ids, sitting.cloud
        router = table(cloud.type("neutron router-create router1"))
        assert router["status"] == "ACTIVE"
        ids["router1"] = router["id"]
        assert "Set gateway" in cloud.type(
            f"neutron router-gateway-set {router['id']} {ids['net-ext']}"
        )
        assert "Added interface" in cloud.type(
            f"neutron router-interface-add {router['id']} {ids['sub-int']}"
        )
        ports = re.sub(r"[\s|]+", "", cloud.type(f"neutron router-port-list {router['id']}"))
        assert f'"subnet_id":"{ids["sub-int"]}","ip_address":"192.168.10.1"' in ports
        assert re.search(rf'"subnet_id":"{ids["sub-ext"]}","ip_address":"10\.50\.14\.\d+"', ports)

    def test_row_9_namespaces(self, sitting: Sitting) -> None:
        ids, cloud = sitting.ids, sitting.cloud
        if sitting.backend == "openvswitch":
            wanted = {
                f"qdhcp-{ids['net-ext']}",
                f"qdhcp-{ids['net-int']}",
                f"qrouter-{ids['router1']}",
            }
            wait_until("the namespaces", lambda: wanted <= set(cloud.type("ip netns").split()), 60)
            for net, pattern in (
                ("net-ext", r"10\.50\.14\.\d+"),
                ("net-int", r"192\.168\.10\.\d+"),
            ):
                served = functools.partial(sitting.dhcp_has, net, pattern)
                wait_until(f"the DHCP server's address on {net}", served, 60)
        else:
            wiring = cloud.type("ovn-nbctl show")
            assert f"neutron-{ids['net-int']}" in wiring
            assert f"neutron-{ids['router1']}" in wiring

    def test_row_12_wiring(self, sitting: Sitting) -> None:
        cloud = sitting.cloud
        if sitting.backend == "ovn":
            wiring = cloud.type("ovs-vsctl show")
            assert "Bridge br-int" in wiring and "Bridge br-ex" in wiring
            return

        def bridges() -> dict[str, str]:
            parts = re.split(r"\n    Bridge ", cloud.type("ovs-vsctl show"))
            return {part.split()[0].strip('"'): part for part in parts[1:]}

        def complete() -> bool:
            found = bridges()
            return bool(
                {"br-int", "br-tun", "br-ex"} <= found.keys()
                and re.search(r"Port \"?qg-", found["br-ex"])
                and re.search(r"Port \"?qr-", found["br-int"])
                and len(re.findall(r"Port \"?tap", found["br-int"])) >= 2
                and re.search(r"patch-tun", found["br-int"])
                and re.search(r"patch-int", found["br-tun"])
            )

        wait_until("the wiring of the notes", complete, 60)

    def test_row_13_router_addresses(self, sitting: Sitting) -> None:
        if sitting.backend == "ovn":
            addresses = sitting.cloud.type(f"ovn-nbctl show neutron-{sitting.ids['router1']}")
            assert "192.168.10.1/24" in addresses and re.search(r"10\.50\.14\.\d+/24", addresses)
            return
        command = f"ip netns exec qrouter-{sitting.ids['router1']} ifconfig"
        wait_until(
            "the router's legs",
            lambda: (
                {"qg-", "qr-"} <= set(re.findall(r"^q[gr]-", sitting.cloud.type(command), re.M))
            ),
            60,
        )
        text = sitting.cloud.type(command)
        assert re.search(r"qg-[0-9a-f-]+:.*?inet 10\.50\.14\.\d+", text, re.DOTALL)
        assert re.search(r"qr-[0-9a-f-]+:.*?inet 192\.168\.10\.1 ", text, re.DOTALL)

    def test_row_14_volume_too_large(self, sitting: Sitting) -> None:
        cloud = sitting.cloud
        made = table(cloud.type("cinder create --display-name test-volume 50"))
        assert made["status"] == "creating" and made["size"] == "50"
        listed = wait_until(
            "the volume's error",
            lambda: [
                row
                for row in rows(cloud.type("cinder list"))
                if row["ID"] == made["id"] and row["Status"] == "error"
            ],
            60,
        )
        assert listed
        messages = cloud.type("cinder --os-volume-api-version 3.50 message-list")
        assert made["id"] in messages
        doctor = cloud.onestack("doctor", expect=None).stdout
        assert "pool has no room" in doctor and "pool grow" in doctor
        cloud.type(f"cinder delete {made['id']}")

    def test_row_16_instance(self, sitting: Sitting) -> None:
        """Boot from an image, reach it by floating IP with ssh."""
        cloud, ids = sitting.cloud, sitting.ids
        images = cloud.type("glance image-list")
        assert "cirros" in images
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(sitting.key)])
        cloud.type(f"nova keypair-add --pub-key {sitting.key}.pub key1")
        cloud.type("openstack security group create web -f value -c id")
        cloud.type("openstack security group rule create web --protocol tcp --dst-port 22")
        cloud.type("openstack security group rule create web --protocol icmp")
        data = sitting.key.parent / "user-data"
        data.write_text("#!/bin/sh\necho from-user-data > /tmp/user-data-ran\n")
        for name in ("one", "two"):
            cloud.type(
                f"nova boot --flavor m1.nano --image cirros --key-name key1 --security-groups web "
                f"--user-data {data} --nic net-id={ids['net-int']} {name}",
                timeout=120,
            )
        for name in ("one", "two"):
            wait_until(f"the server {name}", functools.partial(sitting.active, name), 180, 3)
            address = cloud.type(
                "openstack floating ip create net-ext -f value -c floating_ip_address"
            ).strip()
            cloud.type(f"openstack server add floating ip {name} {address}")
            ids[name] = address
        for name in ("one", "two"):
            wait_until(f"a ping from {name}", functools.partial(sitting.pings, name), 240, 2)
            wait_until(f"ssh to {name}", functools.partial(sitting.lets_in, name), 240, 3)

    def test_metadata_and_user_data(self, sitting: Sitting) -> None:
        """The guest itself fetched its name, key and user-data from 169.254.169.254."""
        one = sitting.ids["one"]
        assert sitting.ssh(one, "cat /tmp/user-data-ran").strip() == "from-user-data"
        metadata = sitting.ssh(
            one, "wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json"
        )
        assert json.loads(metadata)["name"] == "one"
        assert "192.168.10." in sitting.ssh(one, "ip addr show eth0")

    def test_security_group_holds(self, sitting: Sitting) -> None:
        """Port 22 is open; another, with a listener behind it, is not."""
        one, cloud = sitting.ids["one"], sitting.cloud
        sitting.ssh(one, "(nc -ll -p 8080 -e echo hello </dev/null >/dev/null 2>&1 &)")
        probe = f"bash -c 'exec 3<>/dev/tcp/{one}/8080' 2>&1"
        refused = cloud.inside(f"timeout 4 {probe}", expect=None)
        assert refused.returncode != 0
        cloud.type("openstack security group rule create web --protocol tcp --dst-port 8080")
        wait_until(
            "the opened port",
            lambda: cloud.inside(f"timeout 4 {probe}", expect=None).returncode == 0,
            30,
        )

    def test_volume_between_two_servers(self, sitting: Sitting) -> None:
        cloud, ids = sitting.cloud, sitting.ids
        volume = table(cloud.type("cinder create --display-name data 1"))["id"]

        def state(wanted: str) -> None:
            wait_until(
                f"the volume {wanted}",
                lambda: (
                    cloud.type(f"openstack volume show {volume} -f value -c status").strip()
                    == wanted
                ),
                120,
            )

        state("available")
        for name, command in (
            (
                "one",
                "sudo mkfs.ext4 -q /dev/vdb && sudo mkdir -p /mnt/v && sudo mount /dev/vdb /mnt/v"
                " && echo kept | sudo tee /mnt/v/file && sync && sudo umount /mnt/v",
            ),
            (
                "two",
                "sudo mkdir -p /mnt/v && sudo mount /dev/vdb /mnt/v && cat /mnt/v/file"
                " && sudo umount /mnt/v",
            ),
        ):
            server = cloud.type(f"openstack server show {name} -f value -c id").strip()
            cloud.type(f"nova volume-attach {server} {volume}")
            state("in-use")
            wait_until(f"the disk in {name}", functools.partial(sitting.has_disk, name), 60)
            assert "kept" in sitting.ssh(ids[name], command, timeout=120)
            cloud.type(f"nova volume-detach {server} {volume}")
            state("available")

    def test_consoles(self, sitting: Sitting) -> None:
        cloud = sitting.cloud
        assert "login" in cloud.type("openstack console log show one")
        url = cloud.type("openstack console url show one -f value -c url").strip()
        assert url.startswith("https://")
        ca = cloud.root / "etc" / "tls" / "ca.pem"
        page = cloud.type(f"curl -sS --cacert {ca} '{url}'")
        assert "noVNC" in page

    def test_snapshot_of_a_server(self, sitting: Sitting) -> None:
        cloud = sitting.cloud
        cloud.type("openstack server image create --name one-copy one")
        wait_until(
            "the snapshot",
            lambda: (
                cloud.type("openstack image show one-copy -f value -c status").strip() == "active"
            ),
            180,
            3,
        )

    def test_row_11_restart_neutron(self, sitting: Sitting) -> None:
        """A restart of neutron's processes leaves running servers their network."""
        cloud, one = sitting.cloud, sitting.ids["one"]
        cloud.onestack("restart", "neutron", timeout=180)
        lost = cloud.inside(f"ping -i 0.2 -c 50 -W1 {one}", expect=None, timeout=90).stdout
        received = re.search(r"(\d+) received", lost)
        assert received and int(received[1]) >= 45, lost
        assert sitting.ssh(one, "hostname").strip() == "one"
        states = {p["name"]: p["state"] for p in cloud.status() if p["component"] == "neutron"}
        assert states and set(states.values()) == {"READY"}, states

    def test_volumes_of_all_kinds(self, sitting: Sitting) -> None:
        """Extend, snapshot, clone, from image, to image, boot from volume."""
        cloud = sitting.cloud

        def available(kind: str, name: str, wanted: str = "available") -> None:
            wait_until(
                f"{kind} {name}",
                lambda: (
                    cloud.type(f"openstack {kind} show {name} -f value -c status").strip() == wanted
                ),
                180,
                2,
            )

        cloud.type("openstack volume create --size 1 base")
        available("volume", "base")
        cloud.type("openstack volume set --size 2 base")
        wait_until(
            "the larger size",
            lambda: cloud.type("openstack volume show base -f value -c size").strip() == "2",
            60,
        )
        available("volume", "base")
        cloud.type("openstack volume snapshot create --volume base base-snap")
        available("volume snapshot", "base-snap")
        cloud.type("openstack volume create --snapshot base-snap --size 2 from-snap")
        available("volume", "from-snap")
        cloud.type("openstack volume create --source base --size 2 clone")
        available("volume", "clone")
        cloud.type("openstack volume create --image cirros --size 1 --bootable boot")
        available("volume", "boot")
        cloud.type("openstack image create --volume clone clone-image")
        available("image", "clone-image", "active")
        cloud.type(
            "openstack server create --flavor m1.nano --volume boot "
            f"--network {sitting.ids['net-int']} three"
        )
        available("server", "three", "ACTIVE")
        wait_until(
            "three's console",
            lambda: "login" in cloud.type("openstack console log show three"),
            240,
            3,
        )

    def test_logs_are_clean(self, sitting: Sitting) -> None:
        from tests.deploy.known_errors import unexpected

        assert unexpected(sitting.cloud.error_lines()) == []

    def test_no_secret_in_any_log(self, sitting: Sitting) -> None:
        values = {v for v in sitting.cloud.secrets().values() if len(v) >= 12}
        for path in (sitting.cloud.root / "log").iterdir():
            text = path.read_text(errors="replace")
            found = [
                name for name, v in sitting.cloud.secrets().items() if v in values and v in text
            ]
            assert not found, f"{path.name} contains the secrets {found}"
