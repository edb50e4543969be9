"""A controller and a compute, each a host of its own: it joins, and servers run on both.

The release and all packages must be there: hosts of namespaces have no way to mirrors.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from onestack.release.release import release
from tests.support.clouds import LAUNCHER, CommandFailed, run, wait_until
from tests.support.hosts import Hosts, TestHost, hosts
from tests.support.needs import needs_root

pytestmark = [needs_root, pytest.mark.timeout(3600)]
ROOT = Path("/var/lib/onestack-hosts/cloud")
CONTROLLERS_LOGS = (
    *("supervisor", "door", "door-front", "nova-api", "nova-novncproxy", "nova-compute"),
    *("libvirtd", "neutron-api", "rabbitmq", "cinder-volume", "cinder-nbd-web1"),
)
COMPUTES_LOGS = (
    *("supervisor", "passage", "nova-compute", "libvirtd", "ovn-controller", "neutron-ovn-agent"),
)
ANSWERS = {
    "CONFIG_ONESTACK_JOIN": "y",
    "CONFIG_NEUTRON_L2_AGENT": "ovn",
    "CONFIG_ONESTACK_IMAGE": "y",
    "CONFIG_PROVISION_DEMO": "y",
    "CONFIG_CINDER_VOLUMES_SIZE": "4G",
}


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with hosts(tmp_path_factory.mktemp("hosts"), ROOT) as made:
        yield made


@pytest.fixture(scope="module")
def controller(machines: Hosts) -> TestHost:
    made = machines.host("head")
    made.onestack("up", *(w for k, v in ANSWERS.items() for w in ("--set", f"{k}={v}")))
    return made


@pytest.fixture(scope="module")
def ticket(controller: TestHost) -> tuple[str, str]:
    return token(controller)


@pytest.fixture(scope="module")
def compute(machines: Hosts, controller: TestHost, ticket: tuple[str, str]) -> TestHost:
    made = machines.host("web1")
    with telling(controller, made):
        made.onestack("join", *ticket)
    return made


def token(controller: TestHost) -> tuple[str, str]:
    """The door, and what one machine may join with."""
    _, _, door, made = controller.onestack("token", "create").split()
    return door, made


@contextmanager
def telling(controller: TestHost, compute: TestHost) -> Iterator[None]:
    """What fails says what both hosts logged last."""
    try:
        yield
    except AssertionError as error:
        texts = [str(error)]
        for host, names in ((controller, CONTROLLERS_LOGS), (compute, COMPUTES_LOGS)):
            logs = [f"{ROOT}/log/{name}.log" for name in names]
            texts.append(f"=== {host.name}\n" + host.run("tail", "-n", "40", *logs, expect=None))
        raise CommandFailed("\n".join(texts)) from error


def openstack(controller: TestHost, *words: str) -> str:
    shell = f". {ROOT}/etc/admin-openrc; exec {ROOT}/bin/openstack {shlex.join(words)}"
    return controller.run("/bin/sh", "-ec", shell)


def listed(controller: TestHost, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(openstack(controller, *words, "-f", "json"))
    return found


def start_server(controller: TestHost, host: TestHost) -> str:
    name = f"on-{host.name}"
    openstack(
        controller,
        *("server", "create", "--wait", "--image", "cirros", "--flavor", "m1.nano"),
        *("--network", "private", "--host", host.name),
        *("--os-compute-api-version", "2.74", name),
    )
    shown = json.loads(openstack(controller, "server", "show", "-f", "json", name))
    assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", host.name)
    return name


def known_at(controller: TestHost, name: str) -> list[str]:
    """Where the controller still has something of a host."""
    services = listed(controller, "compute", "service", "list")
    agents = listed(controller, "network", "agent", "list")
    found = [s["Binary"] for s in services if s["Host"] == name]
    found += [a["Agent Type"] for a in agents if a["Host"] == name]
    users = listed(controller, "user", "list")
    found += [u["Name"] for u in users if u["Name"] == f"onestack-host-{name}"]
    rows = controller.run(
        *(f"{ROOT}/bin/ovn-sbctl", "--bare", "--columns=hostname", "list", "Chassis")
    )
    return found + [row for row in rows.split() if row == name]


def is_there(controller: TestHost) -> None:
    (one,) = json.loads(controller.onestack("host", "list", "--json"))
    assert (one["name"], one["admitted"]) == ("web1", True)
    services = listed(controller, "compute", "service", "list")
    up = {(s["Binary"], s["Host"]) for s in services if s["State"] == "up"}
    assert ("nova-compute", "web1") in up and ("nova-compute", "head") in up
    agents = listed(controller, "network", "agent", "list")
    assert {a["Host"] for a in agents if a["Alive"]} == {"head", "web1"}


def test_the_host_is_there(controller: TestHost, compute: TestHost) -> None:
    with telling(controller, compute):
        is_there(controller)


def test_joining_again_changes_nothing(
    controller: TestHost, compute: TestHost, ticket: tuple[str, str]
) -> None:
    with telling(controller, compute):
        follows(controller, "web1", 120)
        before = controller.onestack("host", "list", "--json")
        assert ": 0 changes in " in compute.onestack("join", *ticket)
    assert controller.onestack("host", "list", "--json") == before


def state_of(controller: TestHost, name: str) -> str:
    return str(json.loads(controller.onestack("host", "show", name, "--json"))["state"])


def follows(controller: TestHost, name: str, seconds: float) -> None:
    """With all that its controller says now."""
    current = f"{name} is up to date"
    wait_until(current, lambda: state_of(controller, name) == "current", seconds, pause=3)


RATIO = "CONFIG_NOVA_SCHED_RAM_ALLOC_RATIO"
"""An answer that is in the files of nova's processes alone, on each host."""


def ratio(compute: TestHost) -> str:
    found = compute.run("grep", "-w", "ram_allocation_ratio", f"{ROOT}/etc/nova/nova-compute.conf")
    return found.split()[-1]


def processes(host: TestHost) -> dict[str, int]:
    """Their pids, by name."""
    found = json.loads(host.onestack("status", "--json"))["processes"]
    return {one["name"]: one["pid"] for one in found}


def typed(host: TestHost, code: int, *words: str) -> tuple[str, str]:
    """What a verb that ends with ``code`` prints, and its errors."""
    command = host.command(str(LAUNCHER), *words, "--root", str(ROOT))
    done = run(command, expect=code, timeout=600)
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def test_verbs_are_typed_on_the_controller(controller: TestHost, compute: TestHost) -> None:
    """And say what they would say on that host."""
    with telling(controller, compute):
        follows(controller, "web1", 300)
        lines = controller.onestack("status", "--host", "all").splitlines()
        assert lines[0] == "head (this machine):"
        there = lines[lines.index("web1:") + 1 :]
        assert there and all(line.startswith("  ") for line in there)
        assert {"nova-compute", "passage", "follower"} <= {line.split()[0] for line in there}
        found = json.loads(controller.onestack("status", "--json", "--host", "all"))
        assert set(found) == {"head", "web1"} and all(one["ready"] for one in found.values())
        before, own = processes(compute), processes(controller)
        assert {one["name"]: one["pid"] for one in found["web1"]["processes"]} == before
        here = compute.onestack("doctor", expect=None).splitlines()
        said = controller.onestack("doctor", "--host", "web1", expect=None).splitlines()
        (ready,) = (line for line in here if line.startswith("Processes: "))
        assert said[0].startswith("Machine:") and ready in said
        log = controller.onestack("logs", "nova/compute", "-n", "5", "--host", "web1").splitlines()
        kept = compute.run("tail", "-n", "200", f"{ROOT}/log/nova-compute.log").splitlines()
        assert len(log) == 5 and set(log) <= set(kept)
        assert "ended" in controller.onestack("blame", "--host", "web1").splitlines()[0]
        _, refused = typed(controller, 2, "status", "--host", "web9")
        assert "there are: head, web1" in refused
        _, refused = typed(compute, 1, "status", "--host", "all")
        assert "not its controller" in refused
        said = controller.onestack("restart", "nova/compute", "--host", "web1").splitlines()
        assert [line.split()[0] for line in said] == ["nova-compute"]
        after = processes(compute)
        assert {name for name in after if after[name] != before[name]} == {"nova-compute"}
        assert processes(controller) == own
        wait_until("it is up again", lambda: not is_down(controller, "web1"), 300, pause=5)


def test_a_host_follows_by_itself(controller: TestHost, compute: TestHost) -> None:
    """A new answer, there within a minute, and nothing is started anew that has no part in it."""
    with telling(controller, compute):
        follows(controller, "web1", 120)
        before = processes(compute)
        assert ratio(compute) == "1.5"
        assert "Host:         web1 " in controller.onestack("up", "--set", f"{RATIO}=1.25")
        wait_until("the answer is there", lambda: ratio(compute) == "1.25", 60, pause=3)
        follows(controller, "web1", 300)
        after = processes(compute)
        assert {name for name in after if after[name] != before[name]} == {"nova-compute"}
        assert "as its controller" not in compute.onestack("status")
        is_there(controller)


def test_a_host_that_was_away_follows_when_it_is_back(
    controller: TestHost, compute: TestHost
) -> None:
    with telling(controller, compute):
        before = processes(compute)["passage"]
        compute.unplug()
        _, said = typed(controller, 1, "restart", "passage", "--host", "web1")
        assert "web1 does not come" in said, "which nobody knows yet"
        away = "it is known to be away"
        wait_until(away, lambda: state_of(controller, "web1") == "away", 240, pause=5)
        assert "web1 is away since" in controller.onestack("up", "--set", f"{RATIO}=1.5")
        out, said = typed(controller, 1, "status", "--host", "all")
        assert "web1 is away since" in said and out.startswith("head (this machine):")
        typed(controller, 1, "restart", "passage", "--host", "web1")
        compute.plug()
        follows(controller, "web1", 600)
        assert ratio(compute) == "1.5"
        assert processes(compute)["passage"] == before, "what was not done then is not done later"
        wait_until("it is up again", lambda: not is_down(controller, "web1"), 300, pause=5)
        assert ": 0 changes in " in compute.onestack("up", "--wait")


def test_servers_run_on_both(controller: TestHost, compute: TestHost) -> None:
    with telling(controller, compute):
        for host in (controller, compute):
            start_server(controller, host)


def test_the_compute_has_no_secret_of_the_controllers(
    controller: TestHost, compute: TestHost
) -> None:
    """In no file, of whatever kind."""
    kept = json.loads(controller.run("cat", f"{ROOT}/etc/secrets.json"))
    allowed = {kept["neutron_metadata"]}
    for value in {*kept.values()} - allowed:
        found = compute.run("grep", "-rlaF", "--", value, str(ROOT), expect=None)
        assert not found.strip(), found


def test_a_host_leaves_and_joins_again(controller: TestHost, compute: TestHost) -> None:
    with telling(controller, compute):
        openstack(controller, "server", "delete", "--wait", "on-web1")
        compute.onestack("leave", "--yes", "--keep-cache")
        assert json.loads(controller.onestack("host", "list", "--json")) == []
        # the controller's `up` goes on after it has let the host go
        wait_until(
            "nothing of the host is left", lambda: not known_at(controller, "web1"), 600, pause=5
        )
        compute.onestack("join", *token(controller))
        is_there(controller)
        start_server(controller, compute)


def test_a_removed_host_is_locked_out_at_once_and_may_join_again(
    controller: TestHost, compute: TestHost
) -> None:
    with telling(controller, compute):
        words = (str(LAUNCHER), "host", "remove", "--yes", "web1", "--root", str(ROOT))
        removed = run(controller.command(*words), timeout=1800)
        tried = (str(LAUNCHER), "up", "--wait", "--root", str(ROOT))
        said = run(compute.command(*tried), expect=None)
        assert said.returncode == 1 and "none of the cloud's any more" in said.stderr
        assert "Traceback" not in said.stderr
        # nova keeps what has servers, and that is said
        assert "nova has 1 server there" in removed.stderr
        assert known_at(controller, "web1") == ["nova-compute"]
        wait_until("nova takes the host for dead", lambda: is_down(controller, "web1"), 300)
        openstack(controller, "server", "delete", "--wait", "on-web1")
        controller.onestack("host", "remove", "--yes", "web1")
        assert known_at(controller, "web1") == []
        compute.onestack("leave", "--yes", "--keep-cache")
        compute.onestack("join", *token(controller))
        is_there(controller)
        start_server(controller, compute)


def is_down(controller: TestHost, name: str) -> bool:
    services = listed(controller, "compute", "service", "list")
    return {s["State"] for s in services if s["Host"] == name} == {"down"}


# -- servers move: the last tests, the last of all cuts the host's power ------------------


COUNTS = """\
trap "" HUP; i=0; while :; do i=$((i+1)); echo $i >/tmp/count; sleep 1; done
"""
"""What a guest does meanwhile, when who had it done is gone; its image has no nohup."""
SCREEN = """
import ssl, sys, urllib.parse
from websockify import websocket

ssl.create_default_context = ssl._create_unverified_context
url = urllib.parse.urlsplit(sys.argv[1])
asked = urllib.parse.parse_qs(urllib.parse.parse_qs(url.query)["path"][0].lstrip("?"))["token"][0]
ws = websocket.WebSocket()
# nova takes the token from a cookie, too, and that client sends no query
send = ws.send_header
ws.send_header = lambda name, value: (
    send(name, value), name == "Host" and send("Cookie", f"token={asked}")
)
ws.connect(f"wss://{url.netloc}/websockify", protocols=["binary"])
heard = b""

def need(count):
    global heard
    while len(heard) < count:
        part = ws.recv()
        # nova also sends a message with nothing in it
        assert part is not None, "the proxy hung up"
        heard += part
    found, heard = heard[:count], heard[count:]
    return found

assert need(12) == b"RFB 003.008\\n"
ws.send(b"RFB 003.008\\n")
assert need(2) == b"\\x01\\x01"
ws.send(b"\\x01")
assert need(4) == bytes(4), "the proxy was not let in"
ws.send(b"\\x01")
print("a screen of", int.from_bytes(need(2), "big"))
"""


def server(controller: TestHost, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(openstack(controller, "server", "show", "-f", "json", name))
    return found


def is_on(controller: TestHost, name: str, host: str) -> None:
    shown = server(controller, name)
    assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", host), shown


def has_a_screen(controller: TestHost, name: str) -> None:
    """All the way: the front, nova's proxy, and QEMU on the server's host."""
    url = json.loads(openstack(controller, "console", "url", "show", "-f", "json", name))["url"]
    said = controller.run(str(release().services.python), "-c", SCREEN, url, timeout=120)
    assert said.startswith("a screen of")


def test_servers_stay_where_nobody_said_that_they_may_move(
    controller: TestHost, compute: TestHost
) -> None:
    with telling(controller, compute):
        words = (str(LAUNCHER), "host", "drain", "web1", "--root", str(ROOT))
        said = run(controller.command(*words), expect=None, timeout=300)
        assert said.returncode == 1 and "CONFIG_ONESTACK_MOVE=y" in said.stderr, said.stderr
        assert "Traceback" not in said.stderr
        with pytest.raises(AssertionError, match="migrate_live"):
            migrate(controller, "on-web1", "head")
        is_on(controller, "on-web1", "web1")
        # begun by nova, and given up by the host that it is on before anything is done to it
        openstack(controller, *COLD, "--host", "head", "on-web1")
        wait_until("nova gives up", lambda: not server(controller, "on-web1")[TASK], 120, 2)
        assert "CONFIG_ONESTACK_MOVE=n" in why_not(controller, "on-web1")
        is_on(controller, "on-web1", "web1")
        for host in (controller, compute):
            assert not host.run("ss", "-Hltn", "sport = 16514").strip()
        for name in ("on-web1", "on-head"):
            has_a_screen(controller, name)


TASK = "OS-EXT-STS:task_state"
COLD = ("--os-compute-api-version", "2.84", "server", "migrate")


def why_not(controller: TestHost, name: str) -> str:
    """What nova says of the newest thing that was asked of a server."""
    version = ("--os-compute-api-version", "2.84")
    newest = listed(controller, *version, "server", "event", "list", name)[0]["Request ID"]
    return openstack(controller, *version, "server", "event", "show", "-f", "json", name, newest)


def migrate(controller: TestHost, name: str, host: str) -> None:
    words = ("--os-compute-api-version", "2.68", "--live-migration", "--host", host, "--wait")
    openstack(controller, "server", "migrate", *words, name)


@pytest.fixture(scope="module")
def moving(controller: TestHost, compute: TestHost) -> None:
    with telling(controller, compute):
        controller.onestack("up", "--set", "CONFIG_ONESTACK_MOVE=y")
        # by itself, and nobody types anything there
        follows(controller, "web1", 600)
        assert compute.run("ss", "-Hltn", "sport = 16514").strip()
        assert ": 0 changes in " in compute.onestack("up", "--wait")
        is_there(controller)


JOIN_ALONE = """
import sys
from pathlib import Path
from onestack.cluster.client import Place
from onestack.cluster.tokens import JoinToken
from onestack.deploy.joining import joining
from onestack.engine.progress import Progress
from onestack.engine.runner import Runner
from onestack.model.cloud import Cloud
from onestack.release.release import release

door, token, name, address, root = sys.argv[1:]
(Path(root) / "etc").mkdir(parents=True, exist_ok=True)
cloud = Cloud.named("onestack", Path(root))
wanted = joining(cloud, Place.read(door), JoinToken.read(token), name, address, release().name)
Runner(Progress([])).execute(wanted.steps())
"""
"""A host of the cloud, of which nothing runs."""
HEARD = """
import socket, ssl, sys
folder, address = sys.argv[1:]
tls = ssl.create_default_context(cafile=f"{folder}/peers-ca.pem")
tls.load_cert_chain(f"{folder}/libvirt.pem", f"{folder}/libvirt.key")
with socket.create_connection((address, 16514), 20) as plain:
    try:
        with tls.wrap_socket(plain, server_hostname=address) as sock:
            print("heard" if sock.recv(1) == b"\\1" else "refused")
    except (ssl.SSLError, ConnectionError):
        print("refused")
"""
"""A libvirtd says a byte to whom it hears."""


def test_a_removed_host_is_refused_by_the_others_libvirtds(
    machines: Hosts, controller: TestHost, compute: TestHost, moving: None
) -> None:
    """Nobody types anything on the other."""
    third = machines.host("web2")
    python = ("env", f"PYTHONPATH={LAUNCHER.parent / 'src'}", sys.executable, "-c")
    folder = f"{ROOT}/etc/joined"

    def heard() -> str:
        return third.run(*python, HEARD, folder, compute.address).strip()

    with telling(controller, compute):
        joins = (*token(controller), "web2", third.address, str(ROOT))
        third.run(*python, JOIN_ALONE, *joins, timeout=900)
        assert heard() == "heard"
        said = controller.onestack("host", "remove", "--yes", "web2")
        assert "web1 refuses it, too, within a minute" in said
        wait_until("it is refused", lambda: heard() == "refused", 60, pause=3)
        follows(controller, "web1", 300)
        is_on(controller, "on-web1", "web1")
        is_there(controller)


class Guest:
    """A server that is reached from the controller while it is there."""

    def __init__(self, controller: TestHost, place: Path) -> None:
        self.controller, self.key, self.address = controller, place / "key", ""

    def make(self) -> None:
        head = self.controller
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)])
        openstack(head, "keypair", "create", "--public-key", f"{self.key}.pub", "mine")
        openstack(head, "security", "group", "create", "open")
        rule = ("--proto", "tcp", "--dst-port", "22", "open")
        openstack(head, "security", "group", "rule", "create", *rule)
        openstack(
            head,
            *("server", "create", "--wait", "--image", "cirros", "--flavor", "m1.nano"),
            *("--network", "private", "--key-name", "mine", "--security-group", "open"),
            *("--host", head.name, "--os-compute-api-version", "2.74", "mover"),
        )
        made = json.loads(openstack(head, "floating", "ip", "create", "-f", "json", "public"))
        self.address = made["floating_ip_address"]
        openstack(head, "server", "add", "floating", "ip", "mover", self.address)
        wait_until("ssh", lambda: self.ssh("hostname").strip() == "mover", 300, 3)

    def ssh(self, command: str) -> str:
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=10")
        words = [w for o in (*options, "BatchMode=yes") for w in ("-o", o)]
        return self.controller.run(
            "ssh", "-i", str(self.key), *words, f"cirros@{self.address}", command
        )


@pytest.fixture(scope="module")
def guest(
    controller: TestHost, compute: TestHost, tmp_path_factory: pytest.TempPathFactory
) -> Guest:
    made = Guest(controller, tmp_path_factory.mktemp("guest"))
    with telling(controller, compute):
        made.make()
    return made


def test_a_server_moves_while_it_runs_and_comes_back(
    controller: TestHost, compute: TestHost, moving: None, guest: Guest
) -> None:
    with telling(controller, compute):
        # the same kernel, and what runs there, to the end
        boot = guest.ssh("cat /proc/sys/kernel/random/boot_id")
        guest.ssh(f"sh -c {shlex.quote(COUNTS)} >/dev/null 2>&1 </dev/null &")
        migrate(controller, "mover", "web1")
        is_on(controller, "mover", "web1")
        has_a_screen(controller, "mover")
        openstack(controller, "console", "log", "show", "mover")
        migrate(controller, "mover", "head")
        is_on(controller, "mover", "head")
        has_a_screen(controller, "mover")
        wait_until("ssh", lambda: guest.ssh("hostname").strip() == "mover", 120, 3)
        assert guest.ssh("cat /proc/sys/kernel/random/boot_id") == boot
        before = int(guest.ssh("cat /tmp/count"))
        wait_until("it counts on", lambda: int(guest.ssh("cat /tmp/count")) > before, 60)
        done = listed(controller, "server", "migration", "list", "--server", "mover")
        assert [one["Status"] for one in done] == ["completed"] * 2


# -- volumes: of the controller, for servers on the other host -----------------------------

TELLS = """#!/bin/sh
(
    count=0 size=none
    while sleep 1; do
        count=$((count + 1))
        echo $count >/root/count && sync
        before=$size
        size=$(cat /sys/block/vdb/size 2>/dev/null || echo none)
        if [ $before = none ] && [ $size != none ]; then
            echo from-the-other-host | dd of=/dev/vdb conv=fsync bs=512 2>/dev/null
        fi
        boot=$(cat /proc/sys/kernel/random/boot_id)
        echo "tells count=$count size=$size boot=$boot kept=$(cat /root/count) end"
    done
) >/dev/console 2>&1 </dev/null &
"""
"""A guest there has no wire to here, where the kernel has no Geneve: it says on its console what it
does each second. That it writes to its disk, which is a volume, and to another once that comes."""


def told(controller: TestHost, name: str) -> dict[str, str]:
    """The last that it told; empty before that."""
    log = openstack(controller, "console", "log", "show", name)
    assert "I/O error" not in log
    whole = re.findall(r"tells (.*) end", log)
    return dict(word.split("=", 1) for word in whole[-1].split()) if whole else {}


def counts_on(controller: TestHost, name: str, seconds: float) -> dict[str, str]:
    """From where it is now, and what it wrote is read. What it tells then."""
    before = int(told(controller, name).get("count", 0))

    def found() -> dict[str, str]:
        now = told(controller, name)
        return now if int(now.get("count", 0)) > before + 5 else {}

    now: dict[str, str] = wait_until("it counts on", found, seconds, 3)
    assert now["kept"] == now["count"]
    return now


def make_volume(controller: TestHost, name: str, *more: str) -> None:
    openstack(controller, "volume", "create", "--size", "1", *more, name)

    def made() -> bool:
        shown = json.loads(openstack(controller, "volume", "show", "-f", "json", name))
        assert shown["status"] != "error", shown
        return bool(shown["status"] == "available")

    wait_until("the volume is there", made, 300, 2)


def attach(controller: TestHost, server: str, volume: str) -> None:
    openstack(controller, "server", "add", "volume", server, volume)
    wait_until("it is attached", lambda: volume_is(controller, volume, "in-use"), 120, 2)


def detach(controller: TestHost, server: str, volume: str) -> None:
    openstack(controller, "server", "remove", "volume", server, volume)
    wait_until("it is detached", lambda: volume_is(controller, volume, "available"), 120, 2)


def volume_is(controller: TestHost, name: str, status: str) -> bool:
    shown = json.loads(openstack(controller, "volume", "show", "-f", "json", name))
    return bool(shown["status"] == status)


def served(controller: TestHost) -> list[str]:
    """What hosts may open of the controller's volumes."""
    return controller.run("find", f"{ROOT}/data/cinder/exports", "-name", "*.json").split()


@pytest.fixture(scope="module")
def there(controller: TestHost, compute: TestHost, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a server on the joined host, booted from a volume; it tells of itself."""
    script = tmp_path_factory.mktemp("there") / "tells"
    script.write_text(TELLS)
    with telling(controller, compute):
        make_volume(controller, "root", "--image", "cirros", "--bootable")
        openstack(
            controller,
            *("server", "create", "--wait", "--volume", "root", "--flavor", "m1.nano"),
            *("--network", "private", "--config-drive", "true", "--user-data", str(script)),
            *("--host", "web1", "--os-compute-api-version", "2.74", "there"),
        )
        is_on(controller, "there", "web1")
        assert len(served(controller)) == 1
        counts_on(controller, "there", 300)
    return "there"


def test_a_server_on_the_other_host_has_volumes(
    controller: TestHost, compute: TestHost, there: str, guest: Guest
) -> None:
    """What one has written there a server on the controller reads."""
    with telling(controller, compute):
        make_volume(controller, "data")
        attach(controller, there, "data")

        def seen(gib: int) -> bool:
            return told(controller, there)["size"] == str(gib << 21)

        wait_until("the disk is seen", lambda: seen(1), 120, 2)
        counts_on(controller, there, 60)
        # it grows as the guest has it
        version = ("--os-volume-api-version", "3.42")
        openstack(controller, *version, "volume", "set", "--size", "2", "data")
        wait_until("the guest sees it", lambda: seen(2), 120, 2)
        detach(controller, there, "data")
        assert len(served(controller)) == 1
        attach(controller, "mover", "data")
        wait_until("the disk is seen", lambda: "vdb" in guest.ssh("ls /dev"), 60, 2)
        assert "from-the-other-host" in guest.ssh("sudo head -c 512 /dev/vdb")
        # a file on the controller: nothing is served for it
        assert len(served(controller)) == 1
        detach(controller, "mover", "data")
        openstack(controller, "volume", "delete", "data")


def test_a_guest_waits_for_its_controller(
    controller: TestHost, compute: TestHost, there: str
) -> None:
    """Its disk is a volume: while the controller is away it stands still, and goes on then."""
    with telling(controller, compute):
        boot = counts_on(controller, there, 60)["boot"]
        controller.onestack("down")
        controller.onestack("up")
        assert counts_on(controller, there, 300)["boot"] == boot
        # killed, too: what it serves it has from its files
        pid = controller.run("pgrep", "-f", "^qemu-storage-daemon").split()[0]
        controller.run("kill", "-KILL", pid)
        assert counts_on(controller, there, 120)["boot"] == boot


def test_a_server_moves_with_its_volume_and_comes_back(
    controller: TestHost, compute: TestHost, moving: None, there: str
) -> None:
    """What is served on one host is a file on the other; then off it goes."""
    with telling(controller, compute):
        boot = counts_on(controller, there, 60)["boot"]
        for host, files in (("head", 0), ("web1", 1)):
            migrate(controller, there, host)
            is_on(controller, there, host)
            assert len(served(controller)) == files
            assert counts_on(controller, there, 120)["boot"] == boot
        # off it goes, too: what was served is a file then
        openstack(controller, *COLD, "--host", "head", "--wait", there)
        waits(controller, there, "head")
        assert served(controller) == []
        confirm(controller, there)
        is_on(controller, there, "head")
        openstack(controller, "server", "delete", "--wait", there)
        wait_until("nothing is served", lambda: served(controller) == [], 60, 2)


def is_off(controller: TestHost, name: str) -> bool:
    return bool(server(controller, name)["status"] == "SHUTOFF")


def waits(controller: TestHost, name: str, host: str) -> None:
    """To be confirmed or reverted, on that host."""
    shown = server(controller, name)
    assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == ("VERIFY_RESIZE", host), shown


def folders(host: TestHost, identity: str) -> list[str]:
    """What a host has of a server, and of one that may come back."""
    found = host.run("find", f"{ROOT}/data/nova/instances", "-name", f"{identity}*").split()
    return [Path(path).name for path in found]


def test_servers_go_while_they_are_off(
    controller: TestHost, compute: TestHost, moving: None, guest: Guest
) -> None:
    """One that ran, and is started there; one that is stopped, and stays so; and one that is given
    another flavor on the other host, and is taken back."""
    with telling(controller, compute):
        identity = server(controller, "mover")["id"]
        guest.ssh("echo kept >kept; sync")
        openstack(controller, *COLD, "--host", "web1", "--wait", "mover")
        waits(controller, "mover", "web1")
        assert folders(compute, identity) == [identity]
        assert folders(controller, identity) == [f"{identity}_resize"]
        confirm(controller, "mover")
        is_on(controller, "mover", "web1")
        has_a_screen(controller, "mover")
        assert folders(controller, identity) == []

        openstack(controller, "server", "stop", "mover")
        wait_until("it is off", lambda: is_off(controller, "mover"), 120, 2)
        openstack(controller, *COLD, "--host", "head", "--wait", "mover")
        waits(controller, "mover", "head")
        confirm(controller, "mover")
        shown = server(controller, "mover")
        assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == ("SHUTOFF", "head"), shown
        assert folders(compute, identity) == []
        openstack(controller, "server", "start", "mover")
        wait_until("ssh", lambda: guest.ssh("cat kept").strip() == "kept", 300, 3)

        service = ("compute", "service", "set")
        openstack(controller, *service, "--disable", "head", "nova-compute")
        try:
            openstack(controller, "server", "resize", "--flavor", "m1.tiny", "--wait", "mover")
        finally:
            openstack(controller, *service, "--enable", "head", "nova-compute")
        waits(controller, "mover", "web1")
        openstack(controller, "server", "resize", "revert", "mover")
        wait_until("it is back", lambda: server(controller, "mover")["status"] == "ACTIVE", 180, 2)
        is_on(controller, "mover", "head")
        assert "m1.nano" in str(server(controller, "mover")["flavor"])
        assert folders(compute, identity) == []
        wait_until("ssh", lambda: guest.ssh("cat kept").strip() == "kept", 300, 3)


def confirm(controller: TestHost, name: str) -> None:
    openstack(controller, "server", "migration", "confirm", name)

    def done() -> bool:
        shown = server(controller, name)
        return shown["status"] != "VERIFY_RESIZE" and not shown[TASK]

    wait_until("it is confirmed", done, 120, 2)


def test_a_host_is_drained(controller: TestHost, compute: TestHost, moving: None) -> None:
    with telling(controller, compute):
        openstack(controller, "server", "delete", "--wait", "mover")
        openstack(
            controller,
            "server",
            "create",
            "--wait",
            "--image",
            "cirros",
            "--flavor",
            "m1.nano",
            "--network",
            "private",
            "--host",
            "web1",
            "--os-compute-api-version",
            "2.74",
            "off",
        )
        openstack(controller, "server", "stop", "off")
        wait_until("it is off", lambda: is_off(controller, "off"), 120)
        said = controller.onestack("host", "drain", "web1")
        assert "on-web1 is on head" in said and "off is on head" in said
        assert "has no servers" in said
        is_on(controller, "on-web1", "head")
        # and nobody has to confirm anything
        shown = server(controller, "off")
        assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == ("SHUTOFF", "head"), shown
        (service,) = (
            s for s in listed(controller, "compute", "service", "list") if s["Host"] == "web1"
        )
        assert service["Status"] == "disabled"
        openstack(controller, "server", "delete", "--wait", "off")
        controller.onestack("host", "undrain", "web1")
        migrate(controller, "on-web1", "web1")
        is_on(controller, "on-web1", "web1")


def test_servers_of_a_dead_host_are_made_anew(
    controller: TestHost, compute: TestHost, moving: None
) -> None:
    with telling(controller, compute):
        words = (str(LAUNCHER), "host", "evacuate", "--yes", "web1", "--root", str(ROOT))
        said = run(controller.command(*words), expect=None, timeout=300)
        assert said.returncode == 1 and "is alive" in said.stderr
    compute.cut()
    wait_until("nova takes the host for dead", lambda: is_down(controller, "web1"), 300)
    assert "has no servers" in controller.onestack("host", "evacuate", "--yes", "web1")
    is_on(controller, "on-web1", "head")
    has_a_screen(controller, "on-web1")
    controller.onestack("host", "remove", "--yes", "web1")
    assert known_at(controller, "web1") == []
    # what was its is heard by no libvirtd any more
    revoked = controller.run("cat", f"{ROOT}/etc/door/pki/CA/cacrl.pem")
    assert len(x509.load_pem_x509_crl(revoked.encode())) >= 3
