"""The very program that a service guest runs first: what it makes of its configuration drive."""

from __future__ import annotations

import base64
import gzip
import importlib.machinery
import importlib.util
import json
import subprocess
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from onestack.images import service_guest
from tests.support.service_guest import in_parts

PROGRAM = service_guest.HERE / "service/usr/lib/guest/configure"


@pytest.fixture
def configure() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("configure", str(PROGRAM))
    spec = importlib.util.spec_from_loader("configure", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


# -- files -------------------------------------------------------------------------

AMPHORAS = """#cloud-config
# vim: syntax=yaml
write_files:
-   path: /etc/octavia/amphora-agent.conf
    content: |
        [DEFAULT]
        debug = False

        [amphora_agent]
        amphora_id = 11
-   path: /etc/octavia/certs/server.pem
    content: |
        -----BEGIN CERTIFICATE-----
        MIID
        -----END CERTIFICATE-----

runcmd:
-   systemctl restart rsyslog

timezone: UTC
"""


def test_files_that_nova_was_given(configure: ModuleType) -> None:
    meta = {
        "uuid": "1",
        "files": [
            {"path": "/etc/octavia/certs/server.pem", "content_path": "/content/0000"},
            {"path": "/etc/octavia/amphora-agent.conf", "content_path": "/content/0001"},
        ],
    }
    drive = {"/content/0000": b"pem", "/content/0001": b"conf"}
    assert configure.injected(meta, drive.__getitem__) == [
        ("/etc/octavia/certs/server.pem", b"pem", 0o600, "root:root", False),
        ("/etc/octavia/amphora-agent.conf", b"conf", 0o600, "root:root", False),
    ]
    assert configure.injected({}, drive.__getitem__) == []


def test_a_balancers_files(configure: ModuleType) -> None:
    conf = b"[DEFAULT]\ndebug = False\n\n[amphora_agent]\namphora_id = 11\n"
    pem = b"-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----\n"
    assert configure.files_of(AMPHORAS.encode()) == [
        ("/etc/octavia/amphora-agent.conf", conf, 0o644, "root:root", False),
        ("/etc/octavia/certs/server.pem", pem, 0o644, "root:root", False),
    ]


def packed(raw: bytes) -> str:
    return base64.b64encode(gzip.compress(raw, mtime=0)).decode()


@pytest.mark.parametrize(
    ("entry", "content"),
    [
        ("content: plain", b"plain"),
        ("content: 12", b"12"),
        ("content: ''", b""),
        ("encoding: b64", b""),
        ("content: !!binary aGVsbG8=", b"hello"),
        ("encoding: b64\n  content: aGVsbG8=", b"hello"),
        ("encoding: base64\n  content: |\n    aGVs\n    bG8=", b"hello"),
        (f"encoding: gz+base64\n  content: {packed(b'hello')}", b"hello"),
        (f"encoding: gzip+b64\n  content: {packed(b'hello')}", b"hello"),
        ("encoding: text/plain\n  content: hello", b"hello"),
        (f"encoding: gz\n  content: !!binary {packed(b'hello')}", b"hello"),
    ],
)
def test_contents_in_each_encoding(configure: ModuleType, entry: str, content: bytes) -> None:
    text = f"#cloud-config\nwrite_files:\n- path: /f\n  {entry}\n"
    ((_, found, *_),) = configure.files_of(text.encode())
    assert found == content


@pytest.mark.parametrize(
    ("told", "mode"),
    [("'0600'", 0o600), ("0640", 0o640), ("0o755", 0o755), ("'755'", 0o755), ("", 0o644)],
)
def test_permissions(configure: ModuleType, told: str, mode: int) -> None:
    text = f"#cloud-config\nwrite_files:\n- {{path: /f, permissions: {told}, append: true}}\n"
    assert configure.files_of(text.encode()) == [("/f", b"", mode, "root:root", True)]


def test_the_whole_may_be_packed_or_in_parts(configure: ModuleType) -> None:
    one = "#cloud-config\nwrite_files:\n- {path: /one, content: first}\n"
    other = "write_files:\n- {path: /other, content: second}\n"
    message = MIMEMultipart()
    message.attach(MIMEText("#!/bin/sh\nexit 1\n", "x-shellscript"))
    message.attach(MIMEText(one, "plain"))
    message.attach(MIMEText(other, "cloud-config"))
    names = [file[0] for file in configure.files_of(message.as_bytes())]
    assert names == ["/one", "/other"]
    assert [f[0] for f in configure.files_of(gzip.compress(one.encode(), mtime=0))] == ["/one"]


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\necho hello\n", b"#cloud-config\n", b"\n"])
def test_nothing_is_told(configure: ModuleType, data: bytes) -> None:
    assert configure.files_of(data) == []


@pytest.mark.parametrize(
    "text",
    [
        "#cloud-config\nsecret: [word\n",
        "#cloud-config\n- secret word\n",
        "#cloud-config\nwrite_files:\n- {content: secret word}\n",
        "#cloud-config\nwrite_files:\n- {path: /f, encoding: b64, content: 'secret word'}\n",
        "#cloud-config\nwrite_files:\n- {path: /f, encoding: gz, content: 'secret word'}\n",
        "#cloud-config\nwrite_files:\n- {path: /f, permissions: rwx}\n",
        "#cloud-config\nwrite_files:\n- /f\n",
    ],
)
def test_what_is_wrong_is_said_without_its_content(configure: ModuleType, text: str) -> None:
    with pytest.raises(configure.Wrong) as caught:
        configure.files_of(text.encode())
    assert "secret" not in str(caught.value)


def test_files_are_written_with_their_mode(configure: ModuleType, tmp_path: Path) -> None:
    configure.write("/etc/deep/file", b"one", 0o640, "root:root", False, str(tmp_path))
    place = tmp_path / "etc/deep/file"
    assert (place.read_bytes(), place.stat().st_mode & 0o7777) == (b"one", 0o640)
    configure.write("/etc/deep/file", b"two", 0o600, "root", True, str(tmp_path))
    assert (place.read_bytes(), place.stat().st_mode & 0o7777) == (b"onetwo", 0o600)
    configure.write("/etc/deep/file", b"3", 0o600, "root", False, str(tmp_path))
    assert place.read_bytes() == b"3"
    with pytest.raises(configure.Wrong, match="no user or group nobody-here"):
        configure.write("/f", b"", 0o600, "nobody-here", False, str(tmp_path))


# -- networks ----------------------------------------------------------------------


def network(kind: str, **more: Any) -> dict[str, Any]:
    return {"id": "network0", "type": kind, "link": "tap1", **more}


def networks(*entries: dict[str, Any], **link: Any) -> dict[str, Any]:
    first = {"id": "tap1", "type": "ovs", "ethernet_mac_address": "FA:16:3E:00:00:11", **link}
    return {"links": [first], "networks": list(entries), "services": []}


def test_a_fixed_address(configure: ModuleType) -> None:
    default = {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}
    told = network("ipv4", ip_address="192.0.2.9", netmask="255.255.255.0", routes=[default])
    ((name, text),) = configure.units_of(networks(told, mtu=1442)).items()
    assert name.endswith(".network")
    lines = text.splitlines()
    for line in (
        "MACAddress=fa:16:3e:00:00:11",
        "MTUBytes=1442",
        "DHCP=no",
        "Address=192.0.2.9/24",
        "Destination=0.0.0.0/0",
        "Gateway=192.0.2.1",
        "LinkLocalAddressing=no",
    ):
        assert line in lines, text


@pytest.mark.parametrize(
    ("kinds", "lines"),
    [
        (("ipv4_dhcp",), ("DHCP=ipv4", "IPv6AcceptRA=no", "LinkLocalAddressing=no")),
        (("ipv6_slaac",), ("DHCP=no", "IPv6AcceptRA=yes", "LinkLocalAddressing=ipv6")),
        (("ipv4_dhcp", "ipv6_dhcpv6-stateful"), ("DHCP=yes", "IPv6AcceptRA=yes")),
        ((), ("DHCP=ipv4",)),
    ],
)
def test_addresses_by_asking(
    configure: ModuleType, kinds: tuple[str, ...], lines: tuple[str, ...]
) -> None:
    (text,) = configure.units_of(networks(*(network(kind) for kind in kinds))).values()
    assert set(lines) <= set(text.splitlines())
    assert "Address=" not in text.replace("MACAddress=", "")


def test_a_fixed_address_of_the_sixth_kind(configure: ModuleType) -> None:
    told = network("ipv6", ip_address="2001:db8::9", netmask="ffff:ffff:ffff:ffff::")
    (text,) = configure.units_of(networks(told)).values()
    assert "Address=2001:db8::9/64" in text.splitlines()


def test_a_nic_of_somebody_elses_is_left_alone(configure: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "eth1.json"
    file.write_text(json.dumps({"mac_address": "fa:16:3e:00:00:11"}))
    declared = f"{file} mac_address\n{tmp_path}/absent.json mac_address\n{file} no_such_key\n"
    alone = configure.left_alone(declared)
    assert alone == {"fa:16:3e:00:00:11"}
    (text,) = configure.units_of(networks(network("ipv4_dhcp")), alone).values()
    assert "Unmanaged=yes" in text
    assert "DHCP" not in text


# -- the whole ---------------------------------------------------------------------


@pytest.fixture
def guest(configure: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root of its own, in which the drive is mounted already."""
    root, drive = tmp_path / "root", tmp_path / "drive"
    latest = drive / "openstack/latest"
    latest.mkdir(parents=True)
    (latest / "meta_data.json").write_text(json.dumps({"uuid": "one", "hostname": "a.novalocal"}))
    (latest / "user_data").write_text(AMPHORAS)
    (latest / "network_data.json").write_text(json.dumps(networks(network("ipv4_dhcp"))))
    write = configure.write
    monkeypatch.setattr(configure, "write", lambda *what: write(*what, str(root)))
    monkeypatch.setattr(configure, "PLACE", str(drive))
    monkeypatch.setattr(configure, "DRIVE", str(drive))
    monkeypatch.setattr(configure, "run", lambda *words: 0)
    monkeypatch.setattr(configure.socket, "sethostname", lambda name: None)
    real = open
    inside = lambda name, *how, **more: real(  # noqa: E731
        root / "etc/hostname" if name == "/etc/hostname" else name, *how, **more
    )
    monkeypatch.setattr(configure, "open", inside, raising=False)
    monkeypatch.setattr(configure, "known", lambda: _text(root / configure.DONE.lstrip("/")))
    monkeypatch.setattr(configure.os, "sync", lambda: None)
    return root


def _text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def test_once_per_instance(
    configure: ModuleType, guest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert configure.main() == 0
    conf = guest / "etc/octavia/amphora-agent.conf"
    assert "amphora_id = 11" in conf.read_text()
    assert (guest / "etc/hostname").read_text() == "a\n"
    assert "DHCP=ipv4" in (guest / "etc/systemd/network/10-guest-0.network").read_text()
    assert "a, instance one: wrote 2 files" in capsys.readouterr().out

    conf.write_text("changed by the guest\n")
    assert configure.main() == 0
    assert conf.read_text() == "changed by the guest\n"
    assert "is known already" in capsys.readouterr().out

    # Another instance from the same disk.
    meta = Path(configure.PLACE) / "openstack/latest/meta_data.json"
    meta.write_text(json.dumps({"uuid": "two", "hostname": "b"}))
    assert configure.main() == 0
    assert "amphora_id = 11" in conf.read_text()
    assert (guest / "etc/hostname").read_text() == "b\n"


def test_killed_in_the_middle_it_begins_anew(
    configure: ModuleType, guest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = configure.write

    def cut(path: str, *what: Any) -> None:
        if path == "/etc/hosts":
            raise KeyboardInterrupt
        write(path, *what)

    with monkeypatch.context() as patch:
        patch.setattr(configure, "write", cut)
        with pytest.raises(KeyboardInterrupt):
            configure.main()
    assert configure.known() == ""
    assert configure.main() == 0
    assert (guest / "etc/hosts").exists()
    assert configure.known() == "one"


def test_nobody_gives_up_before_the_program_does(configure: ModuleType) -> None:
    unit = (PROGRAM.parents[1] / "systemd/system/guest-config.service").read_text()
    (limit,) = (line for line in unit.splitlines() if line.startswith("TimeoutStartSec="))
    assert float(limit.partition("=")[2]) > configure.PATIENCE + 60


def test_without_a_drive_it_says_so(
    configure: ModuleType,
    guest: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(configure, "DRIVE", str(guest / "absent"))
    monkeypatch.setattr(configure, "PATIENCE", 0.0)
    assert configure.main() == 0
    assert "no configuration drive; nothing is told" in capsys.readouterr().out


# -- whose the guest is ------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"#!/bin/sh\ntrue\n", [b"#!/bin/sh\ntrue\n"]),
        (in_parts("#!/bin/sh\ntrue\n").encode(), [b"#!/bin/sh\ntrue\n"]),
        (in_parts("no script\n").encode(), []),
        (b"#cloud-config\n", []),
        (b"", []),
    ],
)
def test_which_script_is_run(configure: ModuleType, data: bytes, found: list[bytes]) -> None:
    assert configure.scripts(data) == found


@pytest.mark.parametrize("allowed", [True, False])
def test_keys_and_a_script_are_taken_only_where_the_guest_is_its_owners(
    configure: ModuleType,
    guest: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    allowed: bool,
) -> None:
    guest.mkdir()
    mark, kept = guest / "mark", guest / "root/.ssh/authorized_keys"
    meta = {"uuid": "one", "hostname": "a", "public_keys": {"k": "ssh-rsa AAAA k\n", "l": "l"}}
    (Path(configure.PLACE) / "openstack/latest/meta_data.json").write_text(json.dumps(meta))
    read = configure.read
    text = in_parts(f"#!/bin/sh\necho done >>{mark}\necho sahara >>{kept}\nexit 3\n").encode()
    monkeypatch.setattr(configure, "read", lambda n: text if n == "user_data" else read(n))
    monkeypatch.setattr(configure, "OWNER", str(guest / "owner"))
    monkeypatch.setattr(configure.os.path, "expanduser", lambda path: path.replace("~", "/"))
    monkeypatch.setattr(
        configure.os, "system", lambda path: subprocess.call([f"{guest}{path}"]) << 8
    )
    if allowed:
        (guest / "owner").write_text("root\n")
    assert configure.main() == 0
    assert mark.exists() is allowed
    assert ("ended with 3" in capsys.readouterr().out) is allowed
    # Once: not at the next start of the same instance.
    assert configure.main() == 0
    if allowed:
        assert mark.read_text() == "done\n"
        assert kept.read_text() == "ssh-rsa AAAA k\nl\nsahara\n"
        assert kept.stat().st_mode & 0o777 == 0o600
