"""The person's guide, row by row, on a cloud of each network layout.

Commands are typed as in the notes of 2016, through the unmodified clients;
each class is one sitting at the machine, its tests run in order. The layout of the
notes, openvswitch, is made by the notes' own answer file, and what that switches on is used.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from tests.deploy.known_errors import unexpected
from tests.guide.sitting import BALANCER, OFFICE, AsInTheNotes, Sitting, remarked
from tests.support import notes
from tests.support.browser import browser
from tests.support.clouds import LAUNCHER, REPOSITORY, CloudUnderTest, rows, run, table, wait_until
from tests.support.clusters import Clusters

# The first `up` builds the images of balancers' and databases' machines.
pytestmark = pytest.mark.timeout(2400)
GUIDE = REPOSITORY / "examples" / "guide.answers"
STACK = Path(__file__).with_name("stack.yaml")
CHOSEN = {
    *("block-storage", "compute", "identity", "image", "network", "object-store", "placement"),
    *("orchestration", "cloudformation", "data-processing", "load-balancer", "database"),
    *("metric", "alarming"),
}
"""Types of what the notes' file switches on."""
PANELS = (
    *("stacks", "load_balancer", "firewalls_v2", "containers", "data_processing/clusters"),
    *("data_processing/data_plugins", "data_processing/jobs"),
)
"""What their services bring to the dashboard."""
ENDS = ("available", "error")
of_the_notes = pytest.mark.parametrize("sitting", ["openvswitch"], indirect=True)


def cloud_of(backend: str) -> CloudUnderTest:
    name = os.environ.get("ONESTACK_TEST_NAME", "")
    if backend == "openvswitch":
        return AsInTheNotes(f"{name}ovs", answer_file=notes.FILE)
    answers = (f"CONFIG_NEUTRON_L2_AGENT={backend}", "CONFIG_ONESTACK_IMAGE=y")
    return CloudUnderTest(f"{name}{backend}", answer_file=GUIDE, answers=answers)


@pytest.fixture(scope="module", params=["openvswitch", "ovn"])
def sitting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sitting]:
    cloud = cloud_of(request.param)
    with cloud.living(timeout=1800):
        yield Sitting(cloud, request.param, tmp_path_factory.mktemp(request.param))


@of_the_notes
class TestAnswers:
    def test_rows_2_and_3_answer_file(self, sitting: Sitting) -> None:
        """The file that made this cloud is what packstack writes, edited as in the notes."""
        assert notes.text() == notes.FILE.read_text()

    def test_row_4_the_cloud(self, sitting: Sitting) -> None:
        cloud = sitting.cloud
        assert {service["Type"] for service in sitting.json("catalog list")} >= CHOSEN
        assert {process["state"] for process in cloud.status()} == {"READY"}
        assert ": 0 changes in" in cloud.up().stdout
        # Its exit code says that nothing is wrong; one thing is lost until row 10.
        assert remarked(sitting.said_by_doctor()) == [
            "warn: data processing may not reach the machines of a cluster"
        ]


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
                device = rf"DHCP +{pattern} at tap[0-9a-f-]{{11}}, qdhcp-{ids[net]}\n"
                assert re.search(device, sitting.wiring(net))
            assert f"router1  router, qrouter-{ids['router1']}\n" in sitting.wiring("router1")
        else:
            wiring = cloud.type("ovn-nbctl show")
            assert f"neutron-{ids['net-int']}" in wiring
            assert f"neutron-{ids['router1']}" in wiring
            shown = sitting.wiring("router1")
            assert f"router1  router, neutron-{ids['router1']}\n" in shown
            assert f"switch    neutron-{ids['net-int']}\n" in shown
            assert re.search(r"DHCP +by OVN as [0-9.]+ on sub-int, router 192\.168\.10\.1,", shown)
            assert re.search(rf"metadata +192\.168\.10\.10, ovnmeta-{ids['net-int']}", shown)

    def test_row_10_a_card_in_the_bridge(self, sitting: Sitting) -> None:
        """``eno1`` becomes a port of br-ex, which takes its address."""
        cloud = sitting.cloud
        if sitting.backend == "ovn":
            # Here the machine itself is the external network's gateway: an answer says so.
            assert "inet 10.50.14.1/24" in cloud.type("ip address show dev br-ex")
            return
        cloud.type(OFFICE)
        cloud.type("ovs-vsctl add-port br-ex eno1")
        cloud.type("ip address flush dev eno1")
        cloud.type("ip address add 10.50.14.50/24 dev br-ex")
        router = f"ip netns exec qrouter-{sitting.ids['router1']}"
        for who in ("", router):
            ping = f"{who} ping -c 3 -W 2 10.50.14.1"
            # The router's leg comes when the agent gets to it.
            wait_until(f"an answer to {ping}", functools.partial(cloud.type, ping), 60)

    def test_row_12_wiring(self, sitting: Sitting) -> None:
        cloud = sitting.cloud
        if sitting.backend == "ovn":
            wiring = cloud.type("ovs-vsctl show")
            assert "Bridge br-int" in wiring and "Bridge br-ex" in wiring
            self._all_of_it_has_names(sitting)
            return

        def bridges() -> dict[str, str]:
            parts = re.split(r"\n    Bridge ", cloud.type("ovs-vsctl show"))
            return {part.split()[0].strip('"'): part for part in parts[1:]}

        def complete() -> bool:
            found = bridges()
            return bool(
                {"br-int", "br-tun", "br-ex"} <= found.keys()
                and re.search(r"Port \"?qg-", found["br-ex"])
                and re.search(r"Port \"?eno1", found["br-ex"])
                and re.search(r"Port \"?qr-", found["br-int"])
                and len(re.findall(r"Port \"?tap", found["br-int"])) >= 2
                and re.search(r"patch-tun", found["br-int"])
                and re.search(r"patch-int", found["br-tun"])
            )

        wait_until("the wiring of the notes", complete, 60)
        self._all_of_it_has_names(sitting)

    def _all_of_it_has_names(self, sitting: Sitting) -> None:
        """Each bridge, port and namespace that the notes look at is in `onestack net show`."""
        cloud, shown = sitting.cloud, sitting.wiring()
        bridges = cloud.type("ovs-vsctl list-br").split()
        ports = cloud.type(f"for b in {' '.join(bridges)}; do ovs-vsctl list-ports $b; done")
        # The office's of row 10 is not the cloud's.
        spaces = re.findall(r"^q\w+-\S+", cloud.type("ip netns"), re.MULTILINE)
        words = set(re.findall(r"[\w-]+", shown))
        assert {*bridges, *ports.split(), *spaces} <= words
        assert {"net-ext", "net-int", "sub-ext", "sub-int", "router1"} <= words

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
        cloud.type("cinder delete test-volume")
        wait_until("its end", lambda: "test-volume" not in cloud.type("cinder list"), 60)

    def test_row_15_enlarge_the_pool(self, sitting: Sitting) -> None:
        """What did not fit before does then."""
        cloud = sitting.cloud
        for more, size in (("+5G", "25G"), ("55G", "55G")):
            run([str(LAUNCHER), "pool", "grow", more, "--name", cloud.name])
            shown = run([str(LAUNCHER), "pool", "show", "--name", cloud.name]).stdout
            assert re.search(rf"^size +{size}$", shown, re.MULTILINE)

        def made() -> bool:
            cloud.type("cinder create --display-name test-volume 50")
            status = functools.partial(sitting.value, "volume show test-volume", "status")
            wait_until("an end", lambda: status() in ENDS, 60)
            fits = status() == "available"
            cloud.type("cinder delete test-volume")
            wait_until("its end", lambda: "test-volume" not in cloud.type("cinder list"), 60)
            return fits

        # The scheduler hears of the new size with the service's next report.
        wait_until("a volume of 50 GB", made, 180)

    def test_row_16_instance(self, sitting: Sitting) -> None:
        """Boot from an image, reach it by floating IP with ssh."""
        cloud, ids = sitting.cloud, sitting.ids
        if sitting.backend == "openvswitch":
            guest = sitting.work / "guest.qcow2"
            run([str(LAUNCHER), "image", "build-test-guest", "--output", str(guest)])
            cloud.type(
                "glance image-create --name cirros --disk-format qcow2 --container-format bare "
                f"--visibility public --file {guest}"
            )
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

    def test_row_12_instances_in_the_wiring(self, sitting: Sitting) -> None:
        """By their names, with both addresses and the device that they have in br-int."""
        shown = sitting.wiring("net-int")
        ports = sitting.cloud.type("ovs-vsctl list-ports br-int").split()
        for name in ("one", "two"):
            row = rf"─ {name} +server +192\.168\.10\.\d+ +{sitting.ids[name]} +(\S+)\n"
            (device,) = re.findall(row, shown)
            assert device in ports and re.match("(qvo|tap)", device)
        if sitting.backend == "ovn":
            assert f"ovnmeta-{sitting.ids['net-int']}\n" in shown

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
        with ThreadPoolExecutor() as pool:
            ping = f"ping -i 0.2 -w 60 {one}"
            meanwhile = pool.submit(cloud.inside, ping, expect=None, timeout=120)
            # One process, and all of them.
            for what in ("neutron-workers", "neutron"):
                cloud.onestack("restart", what, timeout=180)
        lost = meanwhile.result().stdout
        counted = re.search(r"(\d+) packets transmitted, (\d+) received", lost)
        assert counted and 0.9 * int(counted[1]) <= int(counted[2]) > 100, lost
        assert sitting.ssh(one, "hostname").strip() == "one"
        states = {p["name"]: p["state"] for p in cloud.status() if p["component"] == "neutron"}
        assert states and set(states.values()) == {"READY"}, states

    @of_the_notes
    def test_volumes_of_all_kinds(self, sitting: Sitting) -> None:
        """Extend, snapshot, clone, from image, to image, boot from volume: in one layout."""
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
        assert unexpected(sitting.cloud.error_lines()) == []

    def test_no_secret_in_any_log(self, sitting: Sitting) -> None:
        told_in_logs = sitting.told_in_logs()
        assert not told_in_logs


@of_the_notes
class TestWhatTheNotesSwitchOn:
    """Each service once, on the networks and with the servers of the guide."""

    def test_a_balancer_is_asked_for(self, sitting: Sitting) -> None:
        """Its machine boots while the others are used."""
        made = sitting.json(f"loadbalancer create --name {BALANCER} --vip-subnet-id sub-int")
        assert made["provider"] == "amphora" and made["provisioning_status"] == "PENDING_CREATE"

    def test_row_17_the_dashboard_over_https(self, sitting: Sitting) -> None:
        """In a browser that trusts the cloud's authority alone, with the notes' password."""
        endpoint = sitting.value("endpoint list --interface public --service keystone", "URL")
        public = re.findall(r"https://(.+):\d+", endpoint)[0]
        with browser(sitting.cloud) as seat:
            seat.open(f"http://{public}/")
            seat.type("#id_username", "admin")
            seat.type("#id_password", notes.EDITS["CONFIG_KEYSTONE_ADMIN_PW"])
            seat.click("#loginBtn")
            seat.says("Limit Summary")
            assert seat.driver.current_url.startswith(f"https://{public}/dashboard/")
            for panel in PANELS:
                assert f"/dashboard/project/{panel}" in seat.driver.page_source, panel
            pages = f"https://{public}/dashboard/project"
            for panel in PANELS:
                seat.open(f"{pages}/{panel}")
                seat.find("#content_body")
                assert "Error" not in seat.driver.title, panel
                assert not seat.driver.find_elements(By.CSS_SELECTOR, ".alert-danger"), panel
            form = "data_processing/clusters/configure-nodegroup-template"
            seat.open(f"{pages}/{form}?plugin_name=spark3&hadoop_version=3.5")
            seat.find("#id_nodegroup_name")
            assert 'value="HDFS:namenode"' in seat.driver.page_source
            seat.open(f"{pages}/instances/")
            seat.says("three")
            one = sitting.value("server show one", "id")
            seat.open(f"{pages}/instances/{one}/?tab=instance_details__console")
            frame = seat.find("#console_embed")
            assert str(frame.get_attribute("src")).startswith(f"https://{public}:6080/")
            seat.driver.switch_to.frame(frame)
            seat.says("Connected")

    def test_an_object(self, sitting: Sitting) -> None:
        cloud, work = sitting.cloud, sitting.work
        (work / "object").write_text("kept\n" * 1000)
        cloud.type(f"swift upload notes {work}/object --object-name object")
        assert cloud.type("swift list notes").split() == ["object"]
        cloud.type(f"swift download notes object -o {work}/back")
        assert (work / "back").read_text() == (work / "object").read_text()

    def test_a_volume_is_backed_up(self, sitting: Sitting) -> None:
        """To the object store."""
        sitting.cloud.type("openstack volume backup create --name saved from-snap")
        sitting.becomes("available", "volume backup show saved")
        assert "volumebackups" in sitting.cloud.type("swift list").split()

    def test_a_stack(self, sitting: Sitting) -> None:
        cloud = sitting.cloud
        cloud.type(f"openstack stack create -t {STACK} --wait notes", timeout=300)
        assert "CREATE_COMPLETE" in cloud.type("heat stack-list")
        address = sitting.value("stack output show notes address", "output_value")
        assert address.startswith("192.168.20.")
        cloud.type("openstack stack delete --yes --wait notes", timeout=300)
        assert "notes" not in cloud.type("heat stack-list")

    def test_a_firewall(self, sitting: Sitting) -> None:
        """At the router, in front of net-int: only TCP comes in while it stands."""
        cloud = sitting.cloud
        port = sitting.value(f"port list --router router1 --network {sitting.ids['net-int']}", "ID")
        cloud.type(
            "set -e; openstack firewall group rule create --protocol tcp --action allow fw-tcp; "
            "openstack firewall group rule create --action allow fw-all; "
            "openstack firewall group policy create --firewall-rule fw-tcp fw-in; "
            "openstack firewall group policy create --firewall-rule fw-all fw-out; "
            "openstack firewall group create --ingress-firewall-policy fw-in "
            f"--egress-firewall-policy fw-out --port {port} fw"
        )
        wait_until("no ping", lambda: not sitting.pings("one"), 90)
        assert sitting.lets_in("one")
        cloud.type("openstack firewall group unset --all-port fw")
        wait_until("a ping", functools.partial(sitting.pings, "one"), 90)
        cloud.type("openstack firewall group delete fw", timeout=120)

    def test_databases(self, sitting: Sitting) -> None:
        """Without one: its guest boots for longer than a change may take."""
        cloud = sitting.cloud
        listed = cloud.type("trove datastore-list")
        assert "mariadb" in listed and "postgresql" in listed
        assert "db.small" in cloud.type("openstack database flavor list")
        datastore = "--datastore mariadb --datastore-version 10.11"
        made = sitting.json(
            f"database configuration create c '{{\"max_connections\": 60}}' {datastore}"
        )
        cloud.type(f"openstack database configuration delete {made['id']}")
        refused = cloud.inside(
            f"openstack database instance create no --flavor db.small --size 1 {datastore}",
            expect=None,
        )
        assert refused.returncode != 0 and "--nic" in refused.stdout + refused.stderr

    def test_an_alarm(self, sitting: Sitting) -> None:
        """It goes off when its server is deleted."""
        server = sitting.value("server show three", "id")
        alarm = sitting.json(
            "alarm create --name gone --type event --event-type compute.instance.delete.end "
            f"--query 'traits.instance_id=string::{server}' --alarm-action log://"
        )["alarm_id"]
        assert sitting.value(f"alarm show {alarm}", "state") == "insufficient data"
        sitting.cloud.type("openstack server delete --wait three", timeout=120)
        sitting.becomes("alarm", f"alarm show {alarm}", "state")

    def test_a_cluster(self, sitting: Sitting) -> None:
        """Of upstream's plugin without software, which one more answer offers."""
        cloud = sitting.cloud
        cloud.answers += ("--onestack-sahara-fake=y",)
        cloud.up()
        clusters = Clusters(cloud)
        clusters.offer("net-ext")
        clusters.create("dp-one", "net-int")
        clusters.active("dp-one")
        assert {"dp-one-dp-master-0", "dp-one-dp-worker-0"} <= set(clusters.servers())
        cloud.type("openstack dataprocessing cluster delete dp-one --wait", timeout=300)
        assert clusters.json("stack list") == []

    def test_the_balancer(self, sitting: Sitting) -> None:
        """It takes who asks it to the server behind it."""
        sitting.balanced(1200)
        address = sitting.value("server show one", "addresses")
        inside = re.findall(r"192\.168\.10\.\d+", address)[0]
        for line in (
            f"openstack loadbalancer listener create {BALANCER} --name ssh --protocol TCP "
            "--protocol-port 2222",
            "openstack loadbalancer pool create --name servers --listener ssh --protocol TCP "
            "--lb-algorithm ROUND_ROBIN",
            f"openstack loadbalancer member create servers --address {inside} --protocol-port 22 "
            "--subnet-id sub-int",
        ):
            sitting.cloud.type(line, timeout=180)
            sitting.balanced(300)
        port = sitting.value(f"loadbalancer show {BALANCER}", "vip_port_id")
        shown = sitting.value(f"floating ip create --port {port} net-ext", "floating_ip_address")
        said = wait_until(
            "the server behind the balancer",
            lambda: sitting.ssh(shown, "hostname", port=2222).strip(),
            120,
            3,
        )
        assert said == "one"
        sitting.cloud.type(f"openstack loadbalancer delete --cascade {BALANCER}", timeout=120)
        wait_until("its end", lambda: sitting.json("loadbalancer list") == [], 180, 3)

    def test_nothing_went_wrong(self, sitting: Sitting) -> None:
        """All that `doctor` finds is the volume that was too large."""
        assert unexpected(sitting.cloud.error_lines()) == []
        assert not sitting.told_in_logs()
        found = sitting.said_by_doctor(expect=1)
        assert remarked(found) == []
        causes = [error["likely"] for error in found["errors"] if error["likely"]]
        assert len(causes) == 1 and "pool has no room" in causes[0], causes
        assert found["processes"] == [] == found["drift"]
        assert found["pool_problem"] in (None, "")
