"""ifupdown itself, with its file edited; and a DHCP client that somebody started for the NIC."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError, PreflightRefused
from onestack.network.nic import clients, kernel, plan
from onestack.network.nic.facts import gather
from onestack.network.nic.journal import KEPT, Journal
from onestack.network.nic.managers.ifupdown import Ifupdown, edit
from onestack.network.nic.managers.told import Handover
from onestack.network.nic.operations import Terms, attach, detach
from tests.support.managed import dhcp_server, empty_run, needs_networkd, own_places
from tests.support.needs import needs_root
from tests.support.networks import soon
from tests.unit.network.nic.wire import GATEWAY, MAC, NIC, Wire, addresses, ip, show, wire

BRIDGE = "br-eno1"
NEW = f"link set {NIC} address {MAC} mtu 1400"
MAIN = Path("/etc/network/interfaces")
FIRST = """# by the installer
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

allow-hotplug eno1
iface eno1 inet static
    address 192.0.2.5/24
    gateway 192.0.2.1
    dns-nameservers 192.0.2.53
    up ip route add 10.0.0.0/8 via 192.0.2.254 dev eno1
    up ip rule add iif $IFACE lookup 100 priority 1000

# by hand
auto eno1.100
iface eno1.100 inet manual
"""
SECOND = """iface eno1 inet6 static
    address 2001:db8::5/64
    dad-attempts 0
"""
WANTED = Handover(NIC, BRIDGE, MAC, 1400)


def test_the_stanzas_of_the_nic_are_edited_where_they_stand() -> None:
    text = edit(FIRST, WANTED)
    assert "# by the installer" in text and "auto lo\niface lo inet loopback" in text
    assert "allow-hotplug eno1\nauto br-eno1\niface eno1 inet manual\n" in text
    assert "\niface br-eno1 inet static\n" in text and "test -e /sys/class/net/eno1" in text
    assert "dev br-eno1\n" in text and "iif $IFACE" in text
    assert text.endswith("# by hand\nauto eno1.100\niface eno1.100 inet manual\n")
    both = edit("auto eth0 eno1 eno1:1\niface eno1:1 inet static\n  address 192.0.2.9/24\n", WANTED)
    assert both.startswith("auto eth0 eno1 br-eno1 br-eno1:1\niface br-eno1:1 inet static\n")
    assert edit("iface eth0 inet dhcp\n", WANTED) == "iface eth0 inet dhcp\n"


@contextmanager
def written(place: Path, text: str, **more: str) -> Iterator[Path]:
    """A root directory with that file, and others beside it."""
    for name, said in {"interfaces": text, **more}.items():
        path = place / "etc/network" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(said)
    yield place


def told(root: Path, nic: str) -> str:
    wanted = Handover(nic, plan.bridge_name(nic), MAC, 1400)
    (text,) = Ifupdown().lasting(wanted, root).files.values()
    return text or ""


def of_a_boot(text: str, place: Path) -> list[str]:
    """What ifup would do for all that is started, in order."""
    place.write_text(text)
    words = ["ifup", "--no-act", "--all", "--no-scripts", "--force", "--interfaces", str(place)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line.strip() for line in done.stderr.splitlines() if line.strip()]


BONDED = """auto lo bond0 {vlan} eno9
iface lo inet loopback
iface bond0 inet static
    address 192.0.2.5/24
    gateway 192.0.2.1
    bond-slaves eno1 eno2
    bond_mode active-backup
    pre-up ethtool -K $IFACE gro off
    pre-up sysctl -w net.ipv6.conf.bond0.accept_ra=0
    up ip link set dev bond0 txqueuelen 500
    pre-up echo 1 > /sys/class/net/bond0/bonding/all_slaves_active
    up ip route add 10.0.0.0/8 dev bond0
iface bond0 inet6 static
    address 2001:db8::5/64
    bond_mode active-backup
iface bond0.100 inet static
    address 198.51.100.5/24
    vlan-raw-device bond0
iface bond0.100:1 inet static
    address 198.51.100.6/24
iface eno9 inet manual
""".format(vlan="bond0.100 bond0.100:1")


def test_a_bond_is_made_by_a_boot_before_its_bridge(tmp_path: Path, with_tools: Path) -> None:
    with written(tmp_path, BONDED) as root:
        text = told(root, "bond0")
    own = text.partition("iface bond0 inet manual\n")[2].partition("\n\n")[0]
    assert [line.strip() for line in own.splitlines()] == [
        "bond-slaves eno1 eno2",
        "bond_mode active-backup",
        "pre-up ethtool -K $IFACE gro off",
        "up ip link set dev bond0 txqueuelen 500",
        "pre-up echo 1 > /sys/class/net/bond0/bonding/all_slaves_active",
    ]
    rest = text.partition("iface br-bond0 inet static\n")[2]
    assert "bond-slaves" not in rest and "ethtool" not in rest
    assert "net.ipv6.conf.br-bond0.accept_ra=0" in rest
    done = of_a_boot(text, tmp_path / "read")
    order = [
        "ethtool -K $IFACE gro off",
        "ip link set dev bond0 mtu 1400 up master br-bond0",
        "ip route add default via 192.0.2.1  dev br-bond0 onlink",
        "ip route add 10.0.0.0/8 dev br-bond0",
    ]
    at = [done.index(line) for line in order]
    assert at == sorted(at)
    # what is started after the bond comes after its bridge
    assert at[-1] < next(n for n, line in enumerate(done) if "name bond0.100" in line)
    assert not any("192.0.2.5" in line and "dev bond0 " in line for line in done)


def test_a_vlan_is_made_by_a_boot_before_its_bridge(tmp_path: Path, with_tools: Path) -> None:
    with written(tmp_path, BONDED) as root:
        text = told(root, "bond0.100")
    done = of_a_boot(text, tmp_path / "read")
    made = next(n for n, line in enumerate(done) if "name bond0.100 type vlan" in line)
    joins = done.index("ip link set dev bond0.100 mtu 1400 up master br-bond0-100")
    one = next(n for n, line in enumerate(done) if line.startswith("ip addr add 198.51.100.5"))
    two = next(n for n, line in enumerate(done) if line.startswith("ip addr add 198.51.100.6"))
    assert made < joins < one < two and "dev br-bond0-100 " in done[one]
    assert "auto lo bond0 bond0.100 br-bond0-100 br-bond0-100:1 eno9\n" in text


@pytest.mark.parametrize(
    "start",
    [
        "auto lo \\\n  eno2 eno1 \\\n  eno3\n",
        "allow-hotplug eno2 eno1 eno3\nauto lo\n",
        "auto lo\nauto /eno*\n",
        "auto lo\n# auto eno1 \\\n",
    ],
)
def test_the_bridge_is_started_however_the_nic_was(
    tmp_path: Path, with_tools: Path, start: str
) -> None:
    rest = "iface lo inet loopback\niface eno1 inet static\n  address \\\n    192.0.2.5/24\n"
    rest += "iface eno2 inet manual\niface eno3 inet manual\n"
    with written(tmp_path, start + rest) as root:
        text = told(root, "eno1")
    done = of_a_boot(text, tmp_path / "read")
    assert "ip link set dev eno1 mtu 1400 up master br-eno1" in done
    assert any(line.startswith("ip addr add 192.0.2.5/255.255.255.0") for line in done)
    assert not any("dev eno1 label" in line for line in done)
    # others are started as before
    for other in ("eno2", "eno3"):
        assert (other in start) == (other in text.partition("iface lo")[0])


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        ("up\tip route add 10.0.0.0/8 dev lan", False),
        ("pre-up\tethtool -K lan gro off", True),
        ("hwaddress\t02:00:00:00:00:05", True),
        ("bond-slaves\teno1", True),
        ("pre-up iptables-restore < /etc/rules", False),
        # the NIC may be made by such a line
        ("pre-up ip link add link eno1 name lan type vlan id 5", True),
        ("pre-up vconfig add eno1 5", True),
        ("pre-up /usr/local/sbin/make", False),
        ("up echo 2 > /proc/sys/net/ipv4/conf/lan/rp_filter", False),
        ("up ifconfig lan txqueuelen 5", True),
        ("up ifconfig lan:1 192.0.2.9", False),
        ("up tune $IFACE", False),
        ("pre-up tune $IFACE || true", False),
        ("dns-nameservers 192.0.2.53", False),
    ],
)
def test_what_is_about_the_nic_stays_with_it(line: str, stays: bool) -> None:
    text = f"auto lan\niface lan inet dhcp\n\t{line}\n\n# the end\n"
    made = edit(text, Handover("lan", "br-lan", MAC, 1400))
    own, bridge = made.partition("iface br-lan inet dhcp\n")[::2]
    word = line.split()[0]
    assert (line in own) == stays and (f"\t{word}" in bridge) == (not stays)
    lines = [each.strip() for each in bridge.splitlines()]
    assert lines[-1] == "# the end" and "ip link add br-lan" in lines[1]
    # joined once the operator's lines are done
    joins = lines.index("pre-up ip link set dev lan mtu 1400 up master br-lan")
    assert (
        stays or lines.index(next(x for x in lines if x.startswith(word) and x != lines[1])) < joins
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("auto eno1\niface eno1 inet dhcp inherits all\n", "inherits all"),
        ("iface eno1 inet dhcp\nmapping eth0 eno*\n  script x\n", "another name"),
        ("iface eno1 inet dhcp\n  pre-up tune eno1\n", "not known here: pre-up tune eno1"),
        ("iface eno1 inet dhcp\n  up tc q add dev eno1; ip r add x dev eno1\n", "one line about"),
        ("iface eno1\n  address 192.0.2.5/24\n", "the line: iface eno1"),
        ("iface eno1 inet dhcp\niface eno1:12345678 inet dhcp\n", "longer than names may be"),
        ("iface eno1 nonsense dhcp\n", "failed"),
        ("auto eno1=home\niface home inet dhcp\niface eno1 inet6 auto\n", "eno1=home gives it"),
        ("auto /eno*=home\niface eno1 inet6 auto\n", "another name"),
        (
            "iface eno1 inet dhcp\niface eno2 inet dhcp\n  up ip r add 10.0.0.0/8 dev eno1\n",
            "stanza of eno2 names it: up ip r add",
        ),
    ],
)
def test_what_ifupdown_cannot_be_told_is_refused(
    tmp_path: Path, with_tools: Path, text: str, why: str
) -> None:
    with written(tmp_path, text) as root, pytest.raises(OnestackError, match=why):
        told(root, "eno1")


def test_what_others_say_of_themselves_is_no_matter(tmp_path: Path, with_tools: Path) -> None:
    text = "auto eno1\niface eno1 inet dhcp\nauto eno2=home /wl*=home\niface eno2 inet dhcp\n"
    text += "  up ip route add 10.0.0.0/8 dev $IFACE; ip link set eno1 up\n"
    with written(tmp_path, text + "iface eno1.5 inet dhcp\n  vlan-raw-device eno1\n") as root:
        assert "br-eno1" in told(root, "eno1")


def test_two_files_are_refused_as_they_cannot_be_changed_at_once(
    tmp_path: Path, with_tools: Path
) -> None:
    with written(tmp_path, FIRST, **{"interfaces.d/six": SECOND}) as root:
        place = root / "etc/network/interfaces"
        place.write_text(FIRST.replace("/etc/network/", ""))
        with pytest.raises(OnestackError, match=r"interfaces and .*/six"):
            told(root, "eno1")
        # (what an editor has open is none of them)
        (place.parent / "interfaces.d" / ".six.swp").write_text(SECOND)
        # started in one and configured in the other is as good as one
        (place.parent / "interfaces.d" / "six").write_text("auto eno1\n")
        assert "br-eno1" in told(root, "eno1")


def test_what_is_written_at_each_boot_is_refused(tmp_path: Path, with_tools: Path) -> None:
    """As images for clouds have it."""
    place = tmp_path / "run/network/interfaces.d/eno1"
    place.parent.mkdir(parents=True)
    place.write_text("auto eno1\niface eno1 inet dhcp\n")
    with (
        written(tmp_path, "source-directory /run/network/interfaces.d\n") as root,
        pytest.raises(OnestackError, match="writes that file anew at each boot"),
    ):
        told(root, "eno1")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with written(tmp_path, "") as root:
        (root / "etc/network/interfaces").write_bytes(b"# caf\xe9\niface eno1 inet dhcp\n")
        with pytest.raises(OnestackError, match="no text of UTF-8"):
            told(root, "eno1")


def test_without_ifupdown_its_file_makes_nothing_last(tmp_path: Path) -> None:
    with written(tmp_path, FIRST) as root, pytest.raises(OnestackError, match="is not there"):
        told(root, "eno1")


def test_cloud_init_does_not_write_the_file_anew(tmp_path: Path, with_tools: Path) -> None:
    with written(tmp_path, FIRST) as root:
        (root / "etc/cloud").mkdir()
        (root / "etc/cloud/cloud.cfg").touch()
        files = list(Ifupdown().lasting(WANTED, root).files.items())
    assert [path.name for path, _ in files] == ["99-onestack-eno1.cfg", "interfaces"]
    assert "\nnetwork: {config: disabled}\n" in (files[0][1] or "")


@contextmanager
def machine(place: Path) -> Iterator[tuple[Wire, Cloud]]:
    cloud = Cloud("test", place / "cloud", None)
    cloud.etc.mkdir(parents=True)
    with wire(NEW) as far, own_places(place):
        Path("/run/network").mkdir()
        (MAIN.parent / "interfaces.d").mkdir(parents=True)
        yield far, cloud


def ping() -> bool:
    words = ["ping", "-c", "1", "-W", "2", GATEWAY]
    return subprocess.run(words, capture_output=True).returncode == 0


@needs_root
@needs_networkd
@pytest.mark.parametrize("start", ["auto", "allow-hotplug"])
def test_addresses_move_stay_and_come_back(tmp_path: Path, with_tools: Path, start: str) -> None:
    def ifup(*more: str) -> None:
        words = ["ifup", "--all", "--no-scripts", "--verbose", *more]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    with machine(tmp_path) as (_, cloud):
        MAIN.write_text(FIRST.replace("allow-hotplug", start).partition("# by hand")[0] + SECOND)
        before = MAIN.read_text()
        ifup("--allow", start.removeprefix("allow-"))
        had = kernel.look(NIC)
        assert len(had.texts) == 2 and len(had.rules) == 1
        attach(cloud, NIC, Terms())
        record = Journal.of(cloud, NIC).read()
        assert record and (record.state, record.manager) == (KEPT, "ifupdown")
        assert plan.difference(had, kernel.look(BRIDGE)) == [] and ping()
        # a boot
        ip(f"link delete {BRIDGE}")
        ip(f"link set {NIC} down")
        ip("rule delete priority 1000")
        empty_run()
        Path("/run/network").mkdir()
        ifup()
        assert soon(ping)
        # what the kernel calls a route made by hand is the same in both
        assert plan.difference(had, kernel.look(BRIDGE)) == []
        (link,) = show(f"-details link show dev {BRIDGE}")
        assert (link["address"], link["mtu"]) == (MAC, 1400)
        # ifdown and ifup of the bridge, as an operator types them
        subprocess.run(["ifdown", "--no-scripts", BRIDGE], check=True)
        assert gather().link(BRIDGE) is None
        # (the operator's own lines have no way back)
        ip("rule delete priority 1000")
        subprocess.run(["ifup", "--no-scripts", BRIDGE], check=True)
        assert soon(ping)
        assert detach(cloud, NIC, Terms())
        assert MAIN.read_text() == before
        assert plan.difference(had, kernel.look(NIC)) == [] and ping()


HOT = "auto lo\niface lo inet loopback\nallow-hotplug eno1\n"
PLAIN = "iface eno1 inet static\n  address 192.0.2.5/24\n  gateway 192.0.2.1\n"


@needs_root
@needs_networkd
@pytest.mark.parametrize("apart", [False, True])
def test_a_nic_that_comes_late_or_once_more_has_its_network(
    tmp_path: Path, with_tools: Path, apart: bool
) -> None:
    """udev starts it then. It may have been up by itself, and have heard a router."""
    texts = {MAIN: HOT + PLAIN}
    if apart:
        sourced = MAIN.parent / "interfaces.d" / "eno1"
        texts = {MAIN: HOT + "source interfaces.d/*\n", sourced: PLAIN}

    def ifup(*words: str) -> None:
        subprocess.run(["ifup", "--no-scripts", *words], capture_output=True)

    with machine(tmp_path):
        # ifup has a PATH of its own for what it runs
        subprocess.run(["mount", "--bind", str(with_tools), "/usr/local/sbin"], check=True)
        for path, text in texts.items():
            path.write_text(text)
        for path, made in Ifupdown().lasting(WANTED, Path("/")).files.items():
            path.write_text(made or "")
        ip(f"link set {NIC} down")
        ip(f"link set {NIC} name late0")
        ifup("--all")
        assert not ping()
        ip(f"link set late0 name {NIC}")
        ip(f"link set {NIC} up")
        ip(f"-6 address add 2001:db8::77/64 dev {NIC} nodad")
        ifup("--allow=hotplug", NIC)
        assert soon(ping) and "192.0.2.5/24" in addresses(BRIDGE)
        assert addresses(NIC) == []
        # unplugged and plugged
        subprocess.run(["ifdown", "--no-scripts", NIC], capture_output=True)
        ip(f"link set {NIC} nomaster down")
        assert not ping()
        ifup("--allow=hotplug", NIC)
        assert soon(ping)


@needs_root
@needs_networkd
def test_what_it_believes_is_up_is(tmp_path: Path, with_tools: Path) -> None:
    """So that the network can be restarted."""

    def restarted() -> None:
        for word in ("ifdown", "ifup"):
            done = subprocess.run([word, "--no-scripts", "-a"], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        assert soon(ping)

    with machine(tmp_path) as (_, cloud):
        text = "auto eno1\niface eno1 inet static\n  address 192.0.2.5/24\n  gateway 192.0.2.1\n"
        MAIN.write_text(text)
        state = Path("/run/network/ifstate")
        restarted()
        for _ in range(2):
            attach(cloud, NIC, Terms())
            assert state.read_text().count(f"{BRIDGE}={BRIDGE}\n") == 1
            detach(cloud, NIC, Terms())
            assert BRIDGE not in state.read_text()
            assert not list(state.parent.glob("ifstate.br-*"))
        restarted()
        attach(cloud, NIC, Terms())
        restarted()


@needs_root
@needs_networkd
def test_what_was_edited_since_is_not_thrown_away(tmp_path: Path, with_tools: Path) -> None:
    with machine(tmp_path) as (_, cloud):
        MAIN.write_text("auto eno1\niface eno1 inet static\n  address 192.0.2.5/24\n")
        ip(f"link set {NIC} up")
        ip(f"address add 192.0.2.5/24 dev {NIC}")
        attach(cloud, NIC, Terms())
        MAIN.write_text(MAIN.read_text().replace("192.0.2.5/24", "192.0.2.7/24"))
        with pytest.raises(OnestackError, match="interfaces was changed since"):
            detach(cloud, NIC, Terms())
        assert "192.0.2.5/24" in kernel.look(BRIDGE).texts
        edited = MAIN.read_text()
        assert detach(cloud, NIC, Terms(keep_files=True))
        assert "192.0.2.5/24" in kernel.look(NIC).texts and MAIN.read_text() == edited


@needs_root
@needs_networkd
def test_the_dhcp_client_goes_on_for_the_bridge(tmp_path: Path, with_tools: Path) -> None:
    """As Debian's boot scripts start it; it has the same address, and asks for it from now on."""
    root = with_tools.parent / "root"
    with machine(tmp_path) as (far, cloud), dhcp_server(far.pid, tmp_path / "leases"):
        MAIN.write_text("auto eno1\niface eno1 inet dhcp\n")
        client = str(with_tools / "dhclient")
        places = ["-pf", "/run/dhclient.eno1.pid", "-lf", "/run/dhclient.eno1.leases"]
        script = ["-sf", str(root / "sbin/dhclient-script")]
        subprocess.run([client, "-4", "-v", *places, *script, NIC], check=True, capture_output=True)
        try:
            (had,) = kernel.look(NIC).texts
            attach(cloud, NIC, Terms())
            assert clients.of(NIC) == []
            (now,) = clients.of(BRIDGE)
            assert now.argv[-1] == BRIDGE and "/run/dhclient.br-eno1.leases" in now.argv
            assert kernel.look(BRIDGE).texts == (had,)
            assert soon(lambda: 'interface "br-eno1"' in leases())
            assert "iface br-eno1 inet dhcp" in MAIN.read_text()
            detach(cloud, NIC, Terms())
            (now,) = clients.of(NIC)
            assert kernel.look(NIC).texts == (had,) and clients.of(BRIDGE) == []
        finally:
            clients.stop([*clients.of(NIC), *clients.of(BRIDGE)])
        assert len((tmp_path / "leases").read_text().splitlines()) == 1


def leases() -> str:
    place = Path("/run/dhclient.br-eno1.leases")
    return place.read_text() if place.exists() else ""


@needs_root
@needs_networkd
def test_a_dhcpcd_that_runs_is_noticed(tmp_path: Path, with_tools: Path) -> None:
    """It makes a title of its command line."""
    with machine(tmp_path) as (far, cloud), dhcp_server(far.pid, tmp_path / "leases"):
        MAIN.write_text("auto eno1\niface eno1 inet dhcp\n")
        Path("/var/lib/dhcpcd").mkdir()
        ip(f"link set {NIC} up")
        words = ["dhcpcd", "-4", "--noarp", "--nohook", "resolv.conf", NIC]
        subprocess.run(words, check=True, capture_output=True, timeout=60)
        try:
            assert soon(lambda: bool(kernel.look(NIC).texts))
            with pytest.raises(PreflightRefused, match=r"dhcpcd \(process \d+\) configures eno1"):
                attach(cloud, NIC, Terms())
            assert clients.daemon("eno7") is None
        finally:
            clients.stop([daemon] if (daemon := clients.daemon(NIC)) else [])


@pytest.mark.parametrize(
    ("argv", "follows"),
    [
        ("dhcpcd: eno1 [ip4]", True),
        ("dhcpcd: eno11 [ip4] [ip6]", False),
        ("dhcpcd: [manager] [ip4] [ip6]", True),
        ("dhcpcd: [privileged proxy] eno1 [ip4]", True),
        ("/usr/sbin/dhcpcd\0-w\0-q", True),
        ("/sbin/dhcpcd\0eno1", True),
        ("/sbin/dhcpcd\0eno2", False),
    ],
)
def test_whom_a_dhcpcd_follows(argv: str, follows: bool) -> None:
    words = tuple(argv.split("\0"))
    assert clients.program_of(words[0]) == "dhcpcd"
    assert clients.follows(words, NIC) is follows
