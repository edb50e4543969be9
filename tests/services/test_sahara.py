"""Data processing with upstream's plugin `fake`: clusters of the test guest, whole but for Hadoop.

Stacks, trusts, ssh, scaling and ends are real; the client is upstream's, unmodified.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clouds import CloudUnderTest, wait_until
from tests.support.clusters import Clusters

pytestmark = pytest.mark.timeout(3600)
NAME = os.environ.get("ONESTACK_TEST_NAME", "hadoop")
ANSWERS = (
    "CONFIG_SAHARA_INSTALL=y",
    # which is on all the same
    "CONFIG_HEAT_INSTALL=n",
    "CONFIG_ONESTACK_SAHARA_FAKE=y",
    "CONFIG_ONESTACK_IMAGE=y",
    "CONFIG_ONESTACK_EXTERNAL_ADDRESS=10.50.14.1/24",
    "CONFIG_CINDER_VOLUMES_SIZE=4G",
)
NETWORKS = (
    "set -e; "
    "openstack network create dp-ext --external --provider-network-type local; "
    "openstack subnet create dp-ext-sub --network dp-ext --subnet-range 10.50.14.0/24 "
    "--allocation-pool start=10.50.14.71,end=10.50.14.89 --no-dhcp; "
    "openstack network create dp-net; "
    "openstack subnet create dp-sub --network dp-net --subnet-range 192.168.71.0/24; "
    "openstack router create dp-router --external-gateway dp-ext; "
    "openstack router add subnet dp-router dp-sub"
)
DONE = ("Active", "Error")


@pytest.fixture(scope="module")
def clusters() -> Iterator[Clusters]:
    layout = os.environ.get("ONESTACK_TEST_LAYOUT", "ovn")
    cloud = CloudUnderTest(NAME, answers=(f"CONFIG_NEUTRON_L2_AGENT={layout}", *ANSWERS))
    with cloud.living(timeout=1800):
        cloud.type(NETWORKS)
        cloud.type(
            "set -e; openstack project create dp-project; "
            "openstack user create dp-member --password of-a-test; "
            "openstack user create dp-reader --password of-a-test; "
            "openstack role add --project dp-project --user dp-member member; "
            "openstack role add --project dp-project --user dp-reader reader"
        )
        yield Clusters(cloud)


def test_a_second_up_changes_nothing(clusters: Clusters) -> None:
    assert ": 0 changes in" in clusters.cloud.up(timeout=1800).stdout


def test_what_there_is(clusters: Clusters) -> None:
    found = {each["Name"]: each["Versions"] for each in clusters.ask("plugin list")}
    assert found["spark3"] == "3.5"
    assert set(found) == {"spark3", "spark", "vanilla", "storm", "ambari", "cdh", "mapr", "fake"}
    types = {each["Type"] for each in clusters.json("catalog list")}
    assert {"data-processing", "orchestration"} <= types
    # Clients of today go on as they are.
    assert "cirros" in clusters.cloud.type("openstack image list -f value -c Name")
    assert clusters.json("dataprocessing job type list")


def test_it_is_nobody_and_alone(clusters: Clusters) -> None:
    cloud = clusters.cloud
    (own,) = [each for each in cloud.status() if each["name"] == "sahara"]
    status = Path(f"/proc/{own['pid']}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    assert "Uid:\t0\t" not in status


def as_user(clusters: Clusters, name: str, command: str) -> str:
    done = clusters.cloud.inside(
        f"OS_USERNAME={name} OS_PASSWORD=of-a-test OS_PROJECT_NAME=dp-project "
        f"openstack dataprocessing {command}",
        expect=None,
    )
    return done.stdout.strip() if done.returncode == 0 else f"refused: {done.stderr}"


def test_a_reader_may_not_write(clusters: Clusters) -> None:
    make = "data source create --type hdfs --url /in dp-in -f json"
    assert as_user(clusters, "dp-reader", "data source list -f json") == "[]"
    assert "refused" in as_user(clusters, "dp-reader", make)
    assert json.loads(as_user(clusters, "dp-member", make))["Name"] == "dp-in"
    seen = json.loads(as_user(clusters, "dp-reader", "data source list -f json"))
    assert [each["Name"] for each in seen] == ["dp-in"]
    assert "refused" in as_user(clusters, "dp-reader", "data source delete dp-in")
    assert "removed" in as_user(clusters, "dp-member", "data source delete dp-in")
    # Nobody else's project.
    assert clusters.ask("data source list") == []


def test_what_lies_nowhere_is_refused(clusters: Clusters) -> None:
    """The object store is off."""
    said = clusters.refused(
        "dataprocessing data source create --type swift --url swift://c.sahara/o dp-no"
    )
    assert "'swift' is not one of" in said


def test_what_clusters_are_made_of(clusters: Clusters) -> None:
    clusters.offer("dp-ext")
    (found,) = clusters.ask("image list")
    assert found["Name"] == "cirros" and "fake" in found["Tags"]
    shown = clusters.json("image show cirros")
    assert shown["properties"]["_sahara_username"] == "cirros"


def test_two_clusters_come_at_once(clusters: Clusters) -> None:
    for name in ("dp-one", "dp-other"):
        clusters.create(name)
    for name in ("dp-one", "dp-other"):
        clusters.active(name)
    parts = ("dp-master-0", "dp-worker-0")
    assert clusters.servers() == [f"dp-{c}-{part}" for c in ("one", "other") for part in parts]
    stacks = clusters.json("stack list")
    assert [stack["Stack Status"] for stack in stacks] == ["CREATE_COMPLETE"] * 2
    # Sahara was let in by a key of the cluster's, and did what it does there.
    assert "dp-one" in clusters.cloud.type("openstack security group list -f value -c Name")
    clusters.cloud.type("openstack dataprocessing cluster delete dp-other --wait", timeout=300)
    assert clusters.servers() == [f"dp-one-{part}" for part in parts]


def test_a_quota_that_is_too_small(clusters: Clusters) -> None:
    """It is said, and the cluster says so, can be deleted, and has left nothing."""
    cloud = clusters.cloud
    cloud.type("openstack quota set --instances 3 admin")
    said = clusters.refused(f"dataprocessing {clusters.creation('dp-big')}")
    assert "Quota exceeded for instance" in said
    assert clusters.status("dp-big") == "Error"
    assert "Quota exceeded" in clusters.why("dp-big")
    assert "dp-big" in cloud.onestack("doctor", expect=None).stdout
    cloud.type("openstack quota set --instances 10 admin")
    cloud.type("openstack dataprocessing cluster delete dp-big --wait", timeout=120)
    assert len(clusters.servers()) == 2


def test_passwords_are_changed(clusters: Clusters) -> None:
    cloud = clusters.cloud
    cloud.answers += ("CONFIG_SAHARA_KS_PW=of-a-test-1", "CONFIG_SAHARA_DB_PW=of-a-test-2")
    assert ": 0 changes in" not in cloud.up(timeout=1800).stdout
    assert clusters.status("dp-one") == "Active"
    assert ": 0 changes in" in cloud.up(timeout=1800).stdout


def test_it_is_scaled_and_back(clusters: Clusters) -> None:
    for count in (2, 1):
        clusters.cloud.type(
            f"openstack dataprocessing cluster scale dp-one --instances dp-worker:{count}"
        )
        # Before that has an answer, the cluster is none that is Active.
        clusters.active("dp-one")
        workers = [name for name in clusters.servers() if "worker" in name]
        assert len(workers) == count, clusters.why("dp-one")
    (stack,) = clusters.json("stack list")
    assert stack["Stack Status"] == "UPDATE_COMPLETE"


def test_a_job_is_run(clusters: Clusters) -> None:
    """Of `fake` every job succeeds at once; what leads there is sahara's own."""
    cloud = clusters.cloud
    cloud.type("echo 'print(1)' >/tmp/dp-pi.py")
    clusters.ask("job binary create --name dp-pi.py --data /tmp/dp-pi.py")
    clusters.ask("job template create --name dp-job --type Shell --mains dp-pi.py")
    said = cloud.type("openstack dataprocessing job execute --job-template dp-job --cluster dp-one")
    job = re.findall(r'Job "([^"]+)" has been started', said)[0]
    wait_until(
        "the job",
        lambda: clusters.ask(f"job show {job}")["Status"] == "SUCCEEDED",
        120,
        5,
    )


def test_what_was_interrupted_is_settled(clusters: Clusters) -> None:
    cloud = clusters.cloud
    clusters.cut.add(clusters.create("dp-two"))
    wait_until("its machines", lambda: len(clusters.servers()) > 2, 300, 2)
    (own,) = [each for each in cloud.status() if each["name"] == "sahara"]
    os.kill(own["pid"], signal.SIGKILL)
    wait_until("sahara", lambda: clusters.ask("plugin list"), 180, 3)
    wait_until("an end", lambda: clusters.status("dp-two") in DONE, 300, 3)
    assert clusters.status("dp-two") == "Error"
    assert "ended in the middle" in clusters.why("dp-two")
    # Its machines are gone with its stack; the other's are as they were.
    wait_until("its machines' end", lambda: len(clusters.servers()) == 2, 120, 3)
    assert clusters.status("dp-one") == "Active"
    said = cloud.onestack("doctor", expect=None).stdout
    assert "dp-two" in said and "cluster delete" in said
    cloud.type("openstack dataprocessing cluster delete dp-two --wait", timeout=300)


def test_a_whole_cluster_that_was_interrupted_is_active(clusters: Clusters) -> None:
    """In Error there would be no way back to what is on it."""
    cloud = clusters.cloud
    scale = "openstack dataprocessing cluster scale dp-one --instances dp-worker:{}"
    cloud.type(scale.format(2))
    wait_until("its machine", lambda: len(clusters.servers()) == 3, 300, 2)
    (own,) = [each for each in cloud.status() if each["name"] == "sahara"]
    os.kill(own["pid"], signal.SIGKILL)
    wait_until("sahara", lambda: clusters.ask("plugin list"), 180, 3)
    wait_until("an end", lambda: clusters.status("dp-one") in DONE, 300, 3)
    assert clusters.status("dp-one") == "Active"
    assert "scale it again" in clusters.why("dp-one")
    for count in (2, 1):
        cloud.type(scale.format(count))
        clusters.active("dp-one")
        workers = [name for name in clusters.servers() if "worker" in name]
        assert len(workers) == count, clusters.why("dp-one")


def test_it_goes_with_all_that_it_had(clusters: Clusters) -> None:
    cloud = clusters.cloud
    cloud.type("openstack dataprocessing cluster delete dp-one --wait", timeout=300)
    assert clusters.servers() == [] == clusters.json("stack list")
    assert "dp-one" not in cloud.type("openstack port list -f value -c Name")
    assert "dp-one" not in cloud.type("openstack security group list -f value -c Name")
    assert clusters.json("floating ip list") == []
    trusts = cloud.type("openstack trust list -f value")
    assert trusts.strip() == ""


def test_nothing_else_went_wrong(clusters: Clusters) -> None:
    assert clusters.wrong() == []


def switched(cloud: CloudUnderTest, **answers: str) -> None:
    """These, instead of what was said of them."""
    kept = (each for each in cloud.answers if each.partition("=")[0] not in answers)
    cloud.answers = (*kept, *(f"{name}={value}" for name, value in answers.items()))


def purged(cloud: CloudUnderTest, **more: Any) -> str:
    words = ("up", *cloud.up_words(), "--purge", "--yes")
    done = cloud.onestack(*words, timeout=1800, **more)
    return done.stdout + done.stderr


def test_heat_is_not_taken_from_others(clusters: Clusters) -> None:
    """It is on for data processing alone, and somebody has a stack of his own."""
    cloud = clusters.cloud
    # Braces first would be JSON for the client.
    template = "heat_template_version: 2021-04-16\\nresources: {r: {type: OS::Heat::RandomString}}"
    cloud.type(f"printf '{template}' >/tmp/dp-own.yaml")
    cloud.type("openstack stack create --wait -t /tmp/dp-own.yaml dp-own", timeout=300)
    switched(cloud, CONFIG_SAHARA_INSTALL="n")
    said = purged(cloud, expect=None)
    assert "dp-own" in said and "CONFIG_HEAT_INSTALL=y" in said
    switched(cloud, CONFIG_HEAT_INSTALL="y")
    purged(cloud)
    assert [stack["Stack Name"] for stack in clusters.json("stack list")] == ["dp-own"]
    types = {each["Type"] for each in clusters.json("catalog list")}
    assert "orchestration" in types and "data-processing" not in types
    cloud.type("openstack stack delete --yes --wait dp-own", timeout=300)


def test_switched_off_for_good_nothing_is_left(clusters: Clusters) -> None:
    """Heat goes along, and knows best what clusters have: one of these is being made."""
    cloud = clusters.cloud
    switched(cloud, CONFIG_SAHARA_INSTALL="y", CONFIG_HEAT_INSTALL="n")
    cloud.up(timeout=1800)
    clusters.offer("dp-ext")
    clusters.create("dp-three")
    clusters.active("dp-three")
    pool = cloud.type("openstack network show dp-ext -f value -c id").strip()
    clusters.ask(
        "node group template create --name dp-store --plugin fake --plugin-version 0.1 "
        f"--processes datanode --flavor m1.nano --floating-ip-pool {pool} "
        "--auto-security-group --volumes-per-node 2 --volumes-size 1"
    )
    clusters.ask("cluster template create --name dp-stored --node-groups dp-master:1 dp-store:1")
    clusters.ask(
        "cluster create --name dp-four --cluster-template dp-stored --image cirros "
        "--neutron-network dp-net"
    )
    wait_until("its volumes", lambda: len(clusters.json("volume list")) == 2, 300, 1)
    switched(cloud, CONFIG_SAHARA_INSTALL="n")
    purged(cloud)
    assert clusters.servers() == [] == clusters.json("volume list")
    for kind in ("port", "security group"):
        assert "dp-" not in cloud.type(f"openstack {kind} list -f value -c Name")
    assert clusters.json("floating ip list") == []
    assert cloud.type("openstack trust list -f value").strip() == ""
    types = {each["Type"] for each in clusters.json("catalog list")}
    assert not types & {"data-processing", "orchestration"}
    assert "sahara" not in cloud.type("openstack user list -f value -c Name").split()
    assert "sahara" not in cloud.type("openstack domain list -f value -c Name").split()
    assert "_sahara" not in cloud.type("openstack image show cirros")
    assert not (cloud.root / "etc" / "sahara").exists()
