"""A cloud made by somebody with a umask of 077 and a proxy, and with a packet filter beside it.

Packages and release must be here already, and the guest's image comes before; the proxy is one
that nobody answers at.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.clouds import LAUNCHER, CloudUnderTest, run, wait_until

pytestmark = pytest.mark.timeout(1800)

NAME = os.environ.get("ONESTACK_TEST_NAME", "beside")
ANSWERS = (
    "CONFIG_NEUTRON_L2_AGENT=openvswitch",
    "CONFIG_ONESTACK_IMAGE=y",
    "CONFIG_ONESTACK_EXTERNAL_ADDRESS=10.50.14.1/24",
)
PROXIES = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
FILTER = (
    "nft add table inet own; "
    "nft add chain inet own f '{ type filter hook forward priority 5; policy drop; }'"
)
CHAIN = "f of the table inet own"


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudUnderTest]:
    # Its packages would be asked for by the proxy.
    run([str(LAUNCHER), "image", "build-test-guest"], timeout=900)
    made = CloudUnderTest(NAME, answers=ANSWERS, variables=PROXIES)
    try:
        yield made
    finally:
        made.destroy()


def inside(cloud: CloudUnderTest, command: str) -> subprocess.CompletedProcess[str]:
    """In the cloud's network, of which the filter is."""
    return run(["ip", "netns", "exec", cloud.prefix, "sh", "-ec", command])


def told(cloud: CloudUnderTest) -> list[str]:
    """What would open the chain, as doctor says it."""
    found = json.loads(cloud.onestack("doctor", "--json", expect=None).stdout)
    every = [*found["remarks"], *found["machine"]]
    return [each["cure"] for each in every if CHAIN in each["why"]]


def test_with_another_umask_and_a_proxy(cloud: CloudUnderTest) -> None:
    words = [str(LAUNCHER), "up", "--name", cloud.name, *cloud.up_words()]
    typed = f"umask 077; exec {shlex.join(words)}"
    run(["sh", "-c", typed], env=dict(os.environ) | PROXIES, timeout=900)
    assert {process["state"] for process in cloud.status()} == {"READY"}
    # the clients ask no proxy either, nor does the administrator's own environment
    assert "active" in cloud.type("openstack image list -f value")
    rc = cloud.root / "etc" / "admin-openrc"
    url = 'curl -sf --max-time 20 --cacert "$OS_CACERT" "$OS_AUTH_URL"'
    assert '"version"' in cloud.type(f"set -e; . {rc}; {url}")
    again = run([*words], env=dict(os.environ) | PROXIES, timeout=900)
    assert ": 0 changes in" in again.stdout


def test_on_a_renamed_machine(cloud: CloudUnderTest) -> None:
    """The name is another one for those that start it, as it would be for all after a boot."""

    def hosts() -> set[str]:
        services = cloud.type("openstack compute service list -f value -c Host")
        return {*services.split(), *cloud.type("openstack hypervisor list -f value").split()[1:2]}

    before = hosts()
    cloud.onestack("down")
    words = shlex.join([str(LAUNCHER), "up", "--name", cloud.name, *cloud.up_words()])
    unknown = "hostname nobody-knows-this"
    refused = run(["unshare", "--uts", "sh", "-ec", f"{unknown}; exec {words}"], expect=3)
    assert "echo '127.0.1.1 nobody-knows-this' >> /etc/hosts" in refused.stderr
    run(["unshare", "--uts", "sh", "-ec", f"hostname localhost; exec {words}"], timeout=900)
    assert {process["state"] for process in cloud.status()} == {"READY"}
    assert hosts() == before and "localhost" not in before


def test_a_filter_that_cuts_guests_off(cloud: CloudUnderTest) -> None:
    """What is said is so for a guest, and what is typed helps it."""
    cloud.type(
        "openstack network create lan; openstack subnet create lan --network lan"
        " --subnet-range 10.61.7.0/24"
    )
    cloud.type(
        "openstack security group create open; openstack security group rule create"
        " --protocol icmp open"
    )
    cloud.type(
        "openstack server create --image cirros --flavor m1.nano --network lan"
        " --security-group open one"
    )
    lan = cloud.type("openstack network show lan -f value -c id").strip()
    address = wait_until(
        "the guest's address",
        lambda: cloud.type(
            "openstack port list --server one -f value -c 'Fixed IP Addresses'"
            " | grep -oE '10[.]61[.]7[.][0-9]+'; true"
        ).strip(),
        120,
    )
    ping = f"ip netns exec qdhcp-{lan} ping -c1 -W2 {address}"

    def answers() -> bool:
        return cloud.inside(ping, expect=None).returncode == 0

    wait_until("the guest answers", answers, 400, 3)
    assert told(cloud) == []
    inside(cloud, FILTER)
    # one for guests behind their bridges, one for what the machine forwards for them
    cures = told(cloud)
    assert len(cures) == 2 and not answers()
    for cure in cures:
        run(["sh", "-ec", cure.partition(" (")[0]])
    assert told(cloud) == []
    wait_until("the guest answers again", answers, 30)
