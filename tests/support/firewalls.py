"""Firewall groups tried out: two networks behind one router, a guest in each."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy import known_errors
from tests.support.clouds import CloudUnderTest, run, table, wait_until

SSH = (
    "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "
    "-o BatchMode=yes -o ConnectTimeout=8"
)
ADDRESSES = {"a": "10.61.1.10", "b": "10.61.2.10"}
OPEN, SHUT, SSH_ONLY = {"ping", "22", "8080"}, set[str](), {"22"}
PATIENCE = 90


@dataclass
class Networks:
    """``stateful``: whether answers pass where the question did."""

    cloud: CloudUnderTest
    work: Path
    stateful: bool
    ports: dict[str, str] = field(default_factory=dict)
    spaces: dict[str, str] = field(default_factory=dict)

    def openstack(self, words: str) -> str:
        return self.cloud.type(f"openstack {words}", timeout=180)

    # -- the networks -------------------------------------------------------

    def make(self) -> None:
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.work / "key")])
        self.openstack(f"keypair create --public-key {self.work}/key.pub fw")
        self.openstack("security group create fw")
        for protocol in ("icmp", "tcp"):
            self.openstack(f"security group rule create --protocol {protocol} fw")
        self.openstack("router create fw")
        for name, address in ADDRESSES.items():
            subnet = address.rpartition(".")[0] + ".0/24"
            created = table(self.openstack(f"network create fw{name}"))
            self.openstack(f"subnet create --network fw{name} --subnet-range {subnet} fw{name}")
            self.openstack(f"router add subnet fw fw{name}")
            found = self.openstack(f"port list --router fw --network fw{name} -f value -c ID")
            self.ports[name] = found.strip()
            self.openstack(
                f"port create --network fw{name} --security-group fw"
                f" --fixed-ip ip-address={address} fw{name}"
            )
            self.openstack(
                "server create --image cirros --flavor m1.nano --key-name fw"
                f" --port fw{name} fw{name}"
            )
            self.spaces[name] = created["id"]

    def remove(self) -> None:
        """Whatever is there of it."""

        def try_to(words: str) -> None:
            self.cloud.inside(f"openstack {words}", expect=None, timeout=180)

        for group in ("fw1", "fw2"):
            try_to(f"firewall group unset --all-port {group}")
            try_to(f"firewall group delete {group}")
        try_to("firewall group policy delete fw-in fw-out fw-ping")
        try_to("firewall group rule delete fw-ssh fw-answers fw-no fw-ping")
        for name in ADDRESSES:
            try_to(f"server delete --wait fw{name}")
            try_to(f"port delete fw{name}")
            try_to(f"router remove subnet fw fw{name}")
        try_to("router delete fw")
        try_to("network delete fwa fwb")
        try_to("security group delete fw")
        try_to("keypair delete fw")

    # -- the guests ---------------------------------------------------------

    def inside(self, name: str, command: str) -> str:
        """In a guest, from a namespace in its own network: past the router."""
        kind = "qdhcp" if self.stateful else "ovnmeta"
        return self.cloud.type(
            f"ip netns exec {kind}-{self.spaces[name]}"
            f" ssh -i {self.work}/key {SSH} cirros@{ADDRESSES[name]} '{command}'"
        )

    def await_guests(self) -> None:
        for name in ADDRESSES:
            wait_until(f"guest {name}", functools.partial(self.inside, name, "echo up"), 400, 3)
        self.inside("b", "(nc -ll -p 8080 -e echo hello </dev/null >/dev/null 2>&1 &)")

    def passes(self, source: str = "a", target: str = "b") -> set[str]:
        """What of ping, ssh and a server on port 8080 gets from one guest to the other."""
        to = ADDRESSES[target]
        command = (
            f"ping -c 1 -W 2 {to} >/dev/null && echo ping;"
            f" nc -w 3 {to} 22 </dev/null | grep -q SSH && echo 22;"
            f" nc -w 3 {to} 8080 </dev/null | grep -q hello && echo 8080; true"
        )
        return set(self.inside(source, command).split())

    def await_passing(self, what: set[str], source: str = "a", target: str = "b") -> None:
        wait_until(
            f"{sorted(what) or 'nothing'} from {source} to {target}",
            lambda: self.passes(source, target) == what,
            PATIENCE,
        )

    # -- firewall groups ----------------------------------------------------

    def rule(self, name: str, words: str) -> None:
        self.openstack(f"firewall group rule create {words} {name}")

    def await_status(self, group: str, status: str) -> None:
        wait_until(
            f"{group} is {status}",
            lambda: (
                self.openstack(f"firewall group show {group} -f value -c Status").strip() == status
            ),
            PATIENCE,
        )

    def guard(self) -> None:
        """A group on the port of network b lets ssh in, and nothing else: neither in nor out."""
        self.rule("fw-ssh", "--protocol tcp --destination-port 22 --action allow")
        self.openstack("firewall group policy create --firewall-rule fw-ssh fw-in")
        answers = ""
        if not self.stateful:
            self.rule("fw-answers", "--protocol tcp --source-port 22 --action allow")
            answers = "--firewall-rule fw-answers"
        self.openstack(f"firewall group policy create {answers} fw-out")
        self.openstack(
            "firewall group create --ingress-firewall-policy fw-in"
            f" --egress-firewall-policy fw-out --port {self.ports['b']} fw1"
        )
        self.await_status("fw1", "ACTIVE")

    def unexpected(self) -> list[str]:
        """Lines at ERROR in neutron's logs that nobody has explained."""
        lines = known_errors.unexpected(self.cloud.error_lines())
        return [line for line in lines if line.startswith("neutron")]


def tried(networks: Networks) -> None:
    """All that a firewall group is asked to do."""
    openstack, passing = networks.openstack, networks.await_passing
    passing(OPEN)
    networks.guard()
    passing(SSH_ONLY)
    passing(SHUT, "b", "a")

    # the first rule that matches decides; moved behind the other, it is not asked
    networks.rule("fw-no", "--protocol tcp --destination-port 22 --action deny")
    openstack("firewall group policy add rule --insert-before fw-ssh fw-in fw-no")
    passing(SHUT)
    openstack("firewall group policy remove rule fw-in fw-no")
    openstack("firewall group policy add rule --insert-after fw-ssh fw-in fw-no")
    passing(SSH_ONLY)

    # a rule that changes; a refusal is told, where a denial is silence
    openstack("firewall group rule set --action reject --destination-port 8080 fw-no")
    wait_until("port 8080 is refused", lambda: refused(networks, 8080), PATIENCE)
    assert not refused(networks, 8081)
    openstack("firewall group rule set --source-ip-address 10.61.1.99 fw-ssh")
    passing(SHUT)
    openstack("firewall group rule set --source-ip-address 10.61.1.0/24 fw-ssh")
    passing(SSH_ONLY)

    # a group that is off lets nothing through
    openstack("firewall group set --disable fw1")
    networks.await_status("fw1", "DOWN")
    passing(SHUT)
    openstack("firewall group set --enable fw1")
    networks.await_status("fw1", "ACTIVE")
    passing(SSH_ONLY)

    # what one group allows has to be allowed by the other port's as well
    networks.rule("fw-ping", "--protocol icmp --action allow")
    openstack("firewall group policy create --firewall-rule fw-ping fw-ping")
    openstack(
        "firewall group create --ingress-firewall-policy fw-ping --egress-firewall-policy fw-ping"
        f" --port {networks.ports['a']} fw2"
    )
    networks.await_status("fw2", "ACTIVE")
    passing(SHUT)
    openstack("firewall group policy add rule fw-in fw-ping")
    openstack("firewall group policy add rule fw-out fw-ping")
    passing({"ping"})
    openstack("firewall group unset --all-port fw2")
    openstack("firewall group delete fw2")
    passing({"ping", "22"})


def refused(networks: Networks, port: int) -> bool:
    command = f"nc -w 4 {ADDRESSES['b']} {port} </dev/null 2>&1; true"
    return "refused" in networks.inside("a", command)


def switched(networks: Networks) -> None:
    """The service off and on again: without it nothing is stopped, with it all as before."""
    cloud = networks.cloud
    pids = {p["name"]: p["pid"] for p in cloud.status()}
    supervisor = (cloud.root / "run" / "supervisor" / "lock").read_text()
    networks.await_passing({"ping", "22"})
    answer(cloud, "n")
    networks.await_passing(OPEN)
    refusal = cloud.inside("openstack firewall group list", expect=None)
    assert "404" in refusal.stderr
    answer(cloud, "y")
    networks.await_passing({"ping", "22"})
    changed = {p["name"] for p in cloud.status() if p["pid"] != pids[p["name"]]}
    assert changed
    # the dashboard shows its panel, or no longer
    assert all(name.startswith("neutron-") for name in changed - {"horizon"}), changed
    # It is what runs commands in network namespaces.
    assert (cloud.root / "run" / "supervisor" / "lock").read_text() == supervisor


def answer(cloud: CloudUnderTest, text: str) -> None:
    """The others are the cloud's own by now."""
    place = ("--netns",) if cloud.netns else ()
    cloud.onestack("up", *place, "--set", f"CONFIG_NEUTRON_FWAAS={text}", timeout=900)


def lifted(networks: Networks) -> None:
    """Without its ports and then without the group, all passes again."""
    networks.openstack("firewall group unset --all-port fw1")
    networks.await_passing(OPEN)
    networks.await_passing({"ping", "22"}, "b", "a")
    networks.openstack("firewall group delete fw1")
    networks.await_passing(OPEN)
