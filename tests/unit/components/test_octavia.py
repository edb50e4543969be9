"""Octavia's room: what it asks for, and where it will not go."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from onestack.answers.registry import registry
from onestack.components import openstack
from onestack.components.neutron import Neutron
from onestack.components.octavia import Octavia, authority, keys, layout
from onestack.components.octavia.amphorae import AmphoraProvider
from onestack.components.octavia.providers import LISTENERS
from onestack.model.change import Change
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from onestack.model.declarations import Flavor, TempestResources
from onestack.model.errors import NotYet
from onestack.model.findings import Severity
from onestack.model.ini import Ini
from onestack.model.process import Process
from onestack.network.management import Management
from tests.support import machines
from tests.support.ini import Parser
from tests.support.needs import needs_root
from tests.unit.components.rooms import answered, content, context, context_on, machine

FOUND = TempestResources("i", "f", "g", "tiny", "small", "p", "public")


@pytest.fixture
def octavia() -> Octavia:
    return Octavia()


def api(ctx: Context, octavia: Octavia) -> Process:
    return next(p for p in octavia.processes(ctx) if p.name == "octavia-api")


def options(ctx: Context, octavia: Octavia) -> dict[str, dict[str, str]]:
    parser = Parser(default_section="", delimiters=("=",))
    parser.read_string(content(ctx, octavia, "octavia.conf"))
    return {name: dict(parser[name]) for name in parser.sections()}


OVN = {"CONFIG_LBAAS_INSTALL": "y", "CONFIG_NEUTRON_L2_AGENT": "ovn"}
OPENVSWITCH = {**OVN, "CONFIG_NEUTRON_L2_AGENT": "openvswitch"}
BOTH = {**OVN, "CONFIG_ONESTACK_OCTAVIA_PROVIDERS": "amphora,ovn"}


def problems(**given: str) -> list[str]:
    answers, wrong = answered(**given)
    return wrong or (list(Octavia().validate(answers)) if answers is not None else [])


@pytest.mark.parametrize("given", [OVN, OPENVSWITCH, BOTH])
def test_everything_is_below_the_clouds_root(
    tmp_path: Path, octavia: Octavia, given: dict[str, str]
) -> None:
    ctx = context(tmp_path, octavia, name="a", **given)
    text = content(ctx, octavia, "octavia.conf")
    for path in re.findall(r"(?<![\w:/.])/[\w./-]+", text):
        if path.startswith(("/v3", "/octavia")):
            continue
        assert path.startswith(str(tmp_path)), path
    assert ctx.internal in text
    assert "127.77.0.1" not in text
    process = api(ctx, octavia)
    for address in process.sockets.values():
        assert address.startswith((f"unix:{tmp_path}/", f"tcp:{ctx.internal}:")), address


def test_the_drivers_sockets_are_where_it_looks(tmp_path: Path, octavia: Octavia) -> None:
    """OVN's driver knows them as /run/octavia/NAME.sock only."""
    ctx = context(tmp_path, octavia, **OVN)
    process = api(ctx, octavia)
    private = Path(process.mounts["/run"])
    made = {directory.path for directory in octavia.directories(ctx)}
    assert {private, private / "octavia"} <= made
    for name in LISTENERS:
        assert process.sockets[name] == f"unix:{private}/octavia/{name}.sock"


def test_with_ovn_one_unprivileged_process_that_reaches_its_databases(
    tmp_path: Path, octavia: Octavia
) -> None:
    ctx = context(tmp_path, octavia, **OVN)
    (process,) = ctx.model["octavia"].processes
    assert process.user == "onestack-octavia"
    assert process.groups == ("onestack-ovn",)
    assert not process.capabilities
    assert {"northbound", "southbound", "network", "identity"} <= set(process.needs)
    assert process.arguments["providers"] == ["ovn"]
    # No driver here sends anything over the bus.
    assert "messaging" not in process.needs
    text = content(ctx, octavia, "octavia.conf")
    assert ctx.secrets["rabbitmq"] not in text
    assert re.search(r"^enabled_provider_drivers = ovn:[^,]+$", text, re.MULTILINE)
    assert "default_provider_driver = ovn\n" in text


def test_with_openvswitch_amphorae(tmp_path: Path, octavia: Octavia) -> None:
    ctx = context(tmp_path, octavia, **OPENVSWITCH)
    process = api(ctx, octavia)
    assert not process.groups and not process.capabilities
    assert {"messaging", "compute", "image", "network"} <= set(process.needs)
    assert not {"northbound", "southbound"} & set(process.needs)
    assert process.arguments["providers"] == ["amphora"]
    assert process.services == ("octavia-worker", "octavia-health-manager", "octavia-housekeeping")
    assert str(layout.management(ctx).ids_file) == process.arguments["config"][1]
    # It begins anew with another certificate, or other IDs.
    assert {str(authority.client(ctx)), str(layout.management(ctx).ids_file)} <= set(process.files)
    ini = options(ctx, octavia)
    assert ini["api_settings"]["default_provider_driver"] == "amphora"
    assert ini["DEFAULT"]["transport_url"] == openstack.transport_url(ctx)
    assert "ovn" not in ini
    place = layout.management(ctx).address
    assert ini["health_manager"]["bind_ip"] == place
    assert ini["health_manager"]["controller_ip_port_list"] == f"{place}:5555"
    # An amphora must not be able to command another: its own certificate is by another authority.
    believed, signed = ini["controller_worker"]["client_ca"], ini["certificates"]["ca_certificate"]
    assert believed != signed == ini["haproxy_amphora"]["server_ca"]


def test_both_the_named_first_by_default(tmp_path: Path, octavia: Octavia) -> None:
    ctx = context(tmp_path, octavia, **BOTH)
    ini = options(ctx, octavia)
    drivers = ini["api_settings"]["enabled_provider_drivers"].split(",")
    assert [driver.partition(":")[0] for driver in drivers] == ["amphora", "ovn"]
    assert ini["api_settings"]["default_provider_driver"] == "amphora"
    assert {"ovn", "controller_worker"} <= set(ini)
    process = api(ctx, octavia)
    assert process.arguments["providers"] == ["amphora", "ovn"]
    assert len(process.needs) == len(set(process.needs))
    tested = ctx.model["octavia"].tempest(FOUND)
    assert tested["load_balancer"]["provider"] == "amphora"
    assert "l7_protocol_enabled" not in tested["loadbalancer-feature-enabled"]


def test_an_emulated_amphora_gets_time(tmp_path: Path, octavia: Octavia) -> None:
    host = machines.machine(kvm=True, kvm_reason="said by a test")
    emulated = context(tmp_path, octavia, **OPENVSWITCH)
    real = context_on(host, tmp_path, octavia, **OPENVSWITCH)
    slow, quick = options(emulated, octavia), options(real, octavia)

    def seconds(ini: dict[str, dict[str, str]]) -> tuple[int, int]:
        worker = ini["controller_worker"]
        return (
            int(worker["amp_active_retries"]) * int(worker["amp_active_wait_sec"]),
            int(ini["health_manager"]["heartbeat_timeout"]),
        )

    assert seconds(slow) == (900, 180)
    graces = [api(ctx, octavia).arguments["grace"] for ctx in (emulated, real)]
    assert graces == [600, 120]
    tested = [ctx.model["octavia"].tempest(FOUND)["load_balancer"] for ctx in (emulated, real)]
    assert [each["check_timeout"] for each in tested] == [600, 120]
    assert seconds(quick) == (300, 60)


@pytest.mark.parametrize(("kvm", "boots", "silent"), [(False, 900, 180), (True, 300, 60)])
def test_an_agent_is_waited_for_by_the_clock(
    tmp_path: Path, octavia: Octavia, kvm: bool, boots: int, silent: int
) -> None:
    """Upstream counts tries, each a pause and, at a host that is silent, a time-out."""
    host = machines.machine(kvm=kvm, kvm_reason="said by a test")
    ctx = context_on(host, tmp_path, octavia, **OPENVSWITCH)
    ini = options(ctx, octavia)["haproxy_amphora"]
    timeout = int(ini["rest_request_conn_timeout"])

    def waited(kind: str) -> tuple[int, int]:
        """Seconds at a port that refuses, and at a host that is silent."""
        tries = int(ini[f"{kind}_max_retries"])
        pause = int(ini[f"{kind}_retry_interval"])
        return tries * pause, tries * (pause + timeout)

    refusing, mute = waited("connection")
    assert mute == boots and refusing >= boots / 2
    refusing, mute = waited("active_connection")
    # No shorter than upstream's own.
    assert mute == silent and refusing >= 30
    if not kvm:
        # It refuses for long while it boots.
        assert waited("connection")[0] == 600


@needs_root
def test_certificates(tmp_path: Path, octavia: Octavia, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = context(tmp_path, octavia, **OPENVSWITCH)
    monkeypatch.setattr(Cloud, "user", lambda cloud, component: "nogroup")
    authority.directory(ctx).mkdir(parents=True)

    def made() -> list[str]:
        whats = []
        for change in authority.ensure_certificates(ctx):
            whats.append(change.what)
            change.do()
        return whats

    assert len(made()) == 3 and made() == []
    modes = {path.name: path.stat().st_mode & 0o777 for path in authority.directory(ctx).iterdir()}
    # Whose key is its group's: the service signs for amphorae; its own authority is root's.
    assert modes["server_ca.key"] == modes["client.pem"] == 0o640
    assert modes["client_ca.key"] == 0o600
    own = x509.load_pem_x509_certificate(authority.client(ctx).read_bytes())
    ca = x509.load_pem_x509_certificate(authority.client_ca(ctx).read_bytes())
    other = x509.load_pem_x509_certificate(authority.server_ca(ctx).read_bytes())
    own.verify_directly_issued_by(ca)
    with pytest.raises(ValueError):
        own.verify_directly_issued_by(other)
    kinds = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(kinds) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]
    authority.key_of(authority.client_ca(ctx)).unlink()
    assert made() == [
        "make the authority for Octavia's service",
        "make the certificate of Octavia's service",
    ]


def test_it_is_asked_for(octavia: Octavia) -> None:
    assert not octavia.enabled(registry().answers())
    assert octavia.enabled(registry().answers({"CONFIG_LBAAS_INSTALL": "y"}))


@pytest.mark.parametrize("name", ["CONFIG_NEUTRON_LBAAS", "CONFIG_OCTAVIA_INSTALL"])
def test_other_spellings(name: str) -> None:
    answers, wrong = answered(**{name: "y"})
    assert answers is not None and not wrong
    assert answers["CONFIG_LBAAS_INSTALL"] is True


def test_what_is_chosen() -> None:
    def names(agent: str, text: str = "") -> tuple[str, ...]:
        answers, wrong = answered(CONFIG_ONESTACK_OCTAVIA_PROVIDERS=text)
        assert answers is not None, wrong
        return keys.chosen(answers, agent)

    assert names("ovn") == ("ovn",)
    assert names("openvswitch") == ("amphora",)
    assert names("ovn", "ovn,amphora") == ("ovn", "amphora")
    assert answered(CONFIG_ONESTACK_OCTAVIA_PROVIDERS="octavia")[1]
    assert answered(CONFIG_ONESTACK_OCTAVIA_PROVIDERS="ovn,ovn")[1]


def test_either_layout_will_do() -> None:
    assert not problems(**OVN)
    assert not problems(**OPENVSWITCH)
    assert not problems(CONFIG_LBAAS_INSTALL="y")
    (problem,) = problems(**OPENVSWITCH, CONFIG_ONESTACK_OCTAVIA_PROVIDERS="ovn")
    assert "openvswitch carries the networks" in problem


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("CONFIG_NEUTRON_INSTALL", "n", "CONFIG_NEUTRON_INSTALL"),
        ("CONFIG_NOVA_INSTALL", "n", "CONFIG_NOVA_INSTALL"),
        ("CONFIG_GLANCE_INSTALL", "n", "CONFIG_GLANCE_INSTALL"),
    ],
)
def test_amphorae_are_guests(key: str, value: str, says: str) -> None:
    assert [says in problem for problem in problems(**OPENVSWITCH, **{key: value})] == [True]


@pytest.mark.parametrize(
    ("given", "with_what"),
    [
        ({"CONFIG_ONESTACK_EXTERNAL_ADDRESS": "198.18.9.1/24"}, "CONFIG_ONESTACK_EXTERNAL_ADDRESS"),
        (
            {"CONFIG_PROVISION_DEMO": "y", "CONFIG_ONESTACK_OCTAVIA_SUBNET": "10.0.0.0/16"},
            "the demo's private network",
        ),
        (
            {"CONFIG_PROVISION_DEMO": "y", "CONFIG_ONESTACK_OCTAVIA_SUBNET": "172.24.4.0/22"},
            "CONFIG_PROVISION_DEMO_FLOATRANGE",
        ),
    ],
)
def test_a_network_of_its_own(given: dict[str, str], with_what: str) -> None:
    (problem,) = problems(**OPENVSWITCH, **given)
    assert with_what in problem
    # Without amphorae there is no such network.
    assert not problems(**OVN, **given)


@pytest.mark.parametrize("text", ["198.18.8.0/29", "198.18.8.1/22", "fd00::/64", "x"])
def test_what_is_no_network_for_amphorae(text: str) -> None:
    assert answered(CONFIG_ONESTACK_OCTAVIA_SUBNET=text)[1]


def test_a_network_that_the_machine_has(tmp_path: Path, octavia: Octavia) -> None:
    devices = {"eth0": ("192.0.2.5/24", "198.18.8.7/22")}
    host = dataclasses.replace(machines.machine(), cloud_devices=devices)
    ctx = context_on(host, tmp_path, octavia, **OPENVSWITCH)
    (finding,) = octavia.preflight_checks(ctx)
    assert finding.severity is Severity.REFUSE and "eth0" in finding.what
    own = {layout.management(ctx).device: ("198.18.8.2/22",)}
    again = context_on(dataclasses.replace(host, cloud_devices=own), tmp_path, octavia)
    assert not list(octavia.preflight_checks(again))


def test_not_without_networks() -> None:
    (problem,) = problems(**{**OVN, "CONFIG_NEUTRON_INSTALL": "n"})
    assert "CONFIG_NEUTRON_INSTALL" in problem


@pytest.mark.parametrize(("kernel", "stateless"), [(True, "false"), (False, "true")])
def test_floating_ips_reach_each_other(tmp_path: Path, kernel: bool, stateless: str) -> None:
    """A userspace datapath has too few passes for their translations with connection tracking."""
    neutron = Neutron()
    ctx = context_on(machine(kernel=kernel), tmp_path, neutron, CONFIG_NEUTRON_L2_AGENT="ovn")
    assert f"stateless_nat_enabled = {stateless}\n" in content(ctx, neutron, "ml2.ini")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "OVS database connection to OVN_Northbound failed with error: 'Could not retrieve "
            "schema'. Verify that the OVS and OVN services are available",
            "onestack status ovn",
        ),
        ("Error creating Neutron client.", "onestack status neutron"),
        (
            "PENDING_CREATE of 37c1b318-fb52-4cec-ad44-c447dd96a491 (members) was interrupted",
            "delete it",
        ),
        ("Access denied for user 'octavia'@'localhost'", "run up again"),
        ("Failed to retrieve image with amphora tag.", "builds and uploads"),
        ("No valid host was found. There are not enough hosts available.", "nova-compute"),
        (
            "Connection retries (currently set to 180) exhausted.  The amphora is unavailable.",
            "at which hop",
        ),
        ("Quota exceeded for cores: Requested 1, but already used 20 of 20", "lifts it"),
        ("something else", None),
    ],
)
def test_explanations(tmp_path: Path, octavia: Octavia, line: str, says: str | None) -> None:
    text = context(tmp_path, octavia, **BOTH).model.likely("octavia", line)
    assert (says in text) if says and text else text is None and says is None


def test_a_provider_that_left_with_the_service(
    tmp_path: Path, octavia: Octavia, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told by its marker, as the answers do not tell any more."""
    gone = Change("amphorae go", lambda: None)
    monkeypatch.setattr(AmphoraProvider, "purge", lambda self, ctx: iter((gone,)))
    ctx = context(tmp_path, octavia, **OVN)
    assert list(octavia.purge(ctx)) == []
    marker = layout.management(ctx).port_file
    marker.parent.mkdir(parents=True)
    marker.write_text("port mac 1442\n")
    assert list(octavia.purge(ctx)) == [gone]


def test_what_amphorae_are_made_from(
    tmp_path: Path, octavia: Octavia, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service is told of it last, and is told nothing that is not there."""
    from onestack.components.octavia import machines

    made: list[str] = []
    flavors: dict[str, str] = {}

    class Compute:
        def flavors(self) -> dict[str, str]:
            return flavors

        def make_flavor(self, wanted: Flavor, *, public: bool) -> None:
            made.append(f"{wanted.name} {wanted.cpus, wanted.memory, wanted.disk} {public}")
            flavors[wanted.name] = "f"

    class Known:
        network, group = "n", "g"

    def step(what: str) -> Callable[..., Iterator[Change]]:
        return lambda *_, **__: iter((Change(what, lambda: made.append(what)),))

    monkeypatch.setattr(machines, "compute_of", lambda ctx: Compute())
    monkeypatch.setattr(machines, "service_project", lambda ctx: "p")
    for name in ("ensure_unlimited", "ensure_service_image", "remove_older"):
        monkeypatch.setattr(machines, name, step(name))
    told: list[Ini] = []
    monkeypatch.setattr(Management, "known", lambda self: Known())

    def ensure_ids(place: Management, ini: Ini) -> Iterator[Change]:
        told.append(ini)
        return step("ids")()

    monkeypatch.setattr(Management, "ensure_ids", ensure_ids)
    ctx = context(tmp_path, octavia, **OPENVSWITCH)
    for change in machines.ensure_machines(ctx):
        change.do()
    assert made == [
        "octavia-amphora (1, 1024, 2) False",
        *("ensure_unlimited", "ensure_service_image", "remove_older", "ids"),
    ]
    assert told == [
        {
            "controller_worker": {
                "amp_flavor_id": "f",
                "amp_image_owner_id": "p",
                "amp_boot_network_list": ["n"],
                "amp_secgroup_list": ["g"],
            }
        }
    ]
    # A dry run makes no flavor, and says what else there is to do before it gives up.
    flavors.clear()
    with pytest.raises(NotYet):
        list(machines.ensure_machines(ctx))
